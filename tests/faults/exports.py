"""An episode of processes that export versions to one folder: at once, killed, and with damaged files."""

import contextlib
import hashlib
import io
import json
import random
import shutil
import signal
import threading
import time
from pathlib import Path

import damage
import keras
import numpy as np
from export_model import build
from jobs import SECONDS, Job
from journal import Journal, require

import tf_mtl as mtl
from tf_mtl.export import _check

_WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"
_DATA, _INDEX = (Path("variables") / f"variables.{end}" for end in ("data-00000-of-00001", "index"))
_GRAPH, _CARD = Path("saved_model.pb"), Path("model_card.json")
_FILES = [_GRAPH, _CARD, _WARMUP, _DATA, _INDEX]
_EXAMPLES = np.random.default_rng(5).normal(size=(16, 4)).astype("float32")


class Exporting:
    """The state of an episode; for the arguments see `Training`."""

    def __init__(self, rng: random.Random, folder: Path, journal: Journal):
        self._rng, self._journal = rng, journal
        self._directory = folder / "model"
        self._seeds: dict[str, int] = {}

    def run(self) -> None:
        """Do some actions, and check all versions."""
        self._journal.log("exporting")
        actions = [self._export, self._kill, self._kill, self._two, self._two, self._again, self._limited]
        actions += [self._damage_and_check, self._damage_and_check]
        for _ in range(self._rng.randint(3, 7)):
            self._rng.choice(actions)()
        self._export()
        for version in self._versions():
            self._require_sound(version)

    def _export(self):
        before = self._versions()
        job, seed = self._start(check=self._rng.random() < 0.1)
        self._ended(job, before, [seed], "exports")
        require(len(self._versions()) == len(before) + 1, f"Not exported: {job.errors[-1500:]}")

    def _again(self):
        """Export a version that exists."""
        before = self._versions()
        if before:
            job, _ = self._start(version=int(self._rng.choice(sorted(before))))
            status = self._ended(job, before, [], "exports again")
            require(status == 1 and "already exists" in job.errors, f"Not told: {job.errors[-1500:]}")

    def _limited(self):
        before, largest = self._versions(), self._rng.choice([0, 3000, 40_000])
        job, seed = self._start(largest_file=largest)
        status = self._ended(job, before, [seed], "full disks")
        created = len(self._versions()) > len(before)
        require(created == (status == 0), f"Status {status}, created: {created}")

    def _kill(self):
        before = self._versions()
        number = self._rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        job, seed = self._start()
        job.wait_for("built")
        time.sleep(self._rng.random() * 2)
        job.signal(number)
        self._ended(job, before, [seed], number.name)

    def _two(self):
        """Two processes export at once, perhaps the same version; one may be killed."""
        before = self._versions()
        version = self._rng.choice([None, max(map(int, before), default=0) + 1])
        jobs, seeds = zip(*(self._start(version=version) for _ in range(2)), strict=True)
        kills = self._rng.random() < 0.3
        if kills:
            jobs[0].wait_for("built")
            time.sleep(self._rng.random() * 2)
            jobs[0].signal(signal.SIGKILL)
        statuses = [self._ended(job, before, seeds, "two at once") for job in jobs]
        for job, status in zip(jobs, statuses, strict=True):
            told = "already exists" in job.errors or "Another process has written version" in job.errors
            require(status in (0, -9) or told, f"Not told: {job.errors[-1500:]}")
        require(kills or 0 in statuses, "Both exports have failed.")

    def _damage_and_check(self):
        """Damage a copy of a version, whose check must fail unless the outputs are right."""
        versions = self._versions()
        if not versions:
            return
        version = self._rng.choice(sorted(versions))
        folder = self._directory.with_name("damaged") / "1"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._directory / version, folder)
        name = self._rng.choice(_FILES)
        content = (folder / name).read_bytes()
        way = damage.damage(self._rng, folder / name)
        is_gone = not (folder / name).exists() or not (folder / name).read_bytes()
        fault = self._fault(folder)
        self._log("damages", f"{way} {name} of {version}: {str(fault)[:100]!r}")
        if fault is None and (is_gone or (folder / name).read_bytes() != content):
            require(not is_gone, f"{name} is missing, which is not noticed.")
            added = len((folder / name).read_bytes()) - len(content)
            may_be_harmless = name in (_GRAPH, _CARD)
            if way == "lengthen":  # by less than the header of a record, or by the same requests
                may_be_harmless |= name != _WARMUP or added < 12 or added == len(content)
            require(may_be_harmless, f"{way} of {name} is not noticed.")
            fault = self._fault(folder, self._seeds[version])
            require(fault is None, f"{way} of {name} changes outputs, and the check has not noticed: {fault}")

    def _require_sound(self, version):
        fault = self._fault(self._directory / version, self._seeds[version])
        require(fault is None, f"Version {version} is not sound: {fault}")

    def _fault(self, folder, seed=None):
        """The error of a check, also against the model of a seed if one is given."""
        self._journal.count("checks")
        is_late = threading.Event()
        watchdog = threading.Timer(SECONDS, lambda: [is_late.set(), _check.subprocess.close()])
        watchdog.start()
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                if seed is None:
                    mtl.export.check(folder)
                else:
                    mtl.export.check(folder, build(seed), _EXAMPLES)
        except (ValueError, RuntimeError) as error:
            return error
        finally:
            watchdog.cancel()
            require(not is_late.is_set(), "The check did not end in bounded time.")
            keras.utils.clear_session()
        return None

    def _start(self, version=None, check=False, largest_file=None):
        self._journal.count("starts")
        seed = self._rng.randrange(10**6)
        config = {"seed": seed, "version": version, "check": check, "largest_file": largest_file}
        return Job("export_model.py", self._directory, json.dumps(config)), seed

    def _ended(self, job, before, seeds, kind):
        """Wait for an export, and check that earlier versions are unchanged and new ones are whole."""
        status = job.finish()
        after = self._versions()
        lines = [line for line in job.errors.splitlines() if "Error" in line]
        self._log(kind, f"{status}, versions {sorted(after)} {lines[-1][:100] if lines else ''}")
        for version, digest in before.items():
            require(after.get(version) == digest, f"Version {version} is gone or changed.")
        require(status != 0 or any(line.startswith("exported") for line in job.out), "No version was returned.")
        for version in set(after) - set(before):
            for name in _FILES:
                require((self._directory / version / name).is_file(), f"Version {version} has no {name}.")
            self._seeds.setdefault(version, self._seed_of(version, seeds))
        return status

    def _seed_of(self, version, seeds):
        """The seed of the model of a version."""
        if len(seeds) == 1:
            return seeds[0]
        matching = [seed for seed in seeds if self._fault(self._directory / version, seed) is None]
        require(len(matching) == 1, f"Version {version} is that of none of two models.")
        return matching[0]

    def _versions(self):
        """The digest of each version's files."""
        return {
            folder.name: hashlib.sha256(
                b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
            ).hexdigest()
            for folder in self._directory.glob("[0-9]*")
        }

    def _log(self, kind, text):
        self._journal.count(kind)
        self._journal.log(f"  {kind}: {text}")
