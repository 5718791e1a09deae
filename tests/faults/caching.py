"""An episode of processes that cache data sets in one file: at once, killed, with damaged files and failing sources."""

import hashlib
import json
import random
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

from cache_rows import DEFAULTS
from damage import damage
from jobs import Job
from journal import Journal, require

_SOURCES = [(1000, 700), (0, 700), (5, 257), (0, 3)]  # the last row of each has a text, which tells them apart


class _Outcome(NamedTuple):
    status: int
    numbers: list[int] | None
    errors: str
    reads_source: bool


class Caching:
    """The state of an episode; for the arguments see `Training`."""

    def __init__(self, rng: random.Random, folder: Path, journal: Journal):
        self._rng, self._journal, self._folder = rng, journal, folder
        self._path = folder / "cache" / "rows.tfrecord"
        self._description = self._path.with_name("rows.tfrecord.json")

    def run(self) -> None:
        """Do some actions, and cache undisturbed."""
        self._journal.log("caching")
        actions = [self._damage, self._damage, self._cache, self._kill, self._kill, self._two, self._fail]
        actions += [self._limited, self._damage_meanwhile, self._other_spec]
        for _ in range(self._rng.randint(4, 10)):
            self._rng.choice(actions)()
        self._cache()

    def _damage(self):
        files = [path for path in (self._path, self._description) if path.exists()]
        if files:
            path = self._rng.choice(files)
            self._log("damages", f"{damage(self._rng, path)} {path.name}")

    def _cache(self):
        config = self._drawn()
        before, both_exist = self._whole(), self._both_exist()
        outcome = self._ended(self._start(config), "cache")
        require(outcome.status == 0, f"Caching failed: {outcome.errors[-1500:]}")
        if before is not None:
            require(not outcome.reads_source, "The source is read although the cache is whole.")
            require("damaged" not in outcome.errors, f"A whole cache is called damaged: {outcome.errors[-1500:]}")
        else:
            require(outcome.numbers == _numbers(config), f"Other rows were read: {_shown(outcome.numbers)}.")
            require("damaged" in outcome.errors or not both_exist, "Damaged files are replaced, which is not told.")
        self._check(before, [config], [outcome])

    def _fail(self):
        config = self._drawn()
        config["fails_at"] = self._rng.randrange(config["count"])
        before = self._whole()
        outcome = self._ended(self._start(config), f"fail at {config['fails_at']}")
        if before is None:
            told = f"failed at element {config['fails_at']}," in outcome.errors
            require(outcome.status == 1 and told, f"Not told: {outcome.errors[-1500:]}")
        else:
            require(outcome.status == 0, f"A whole cache was not used: {outcome.errors[-1500:]}")
        self._check(before, [config], [outcome])

    def _limited(self):
        config = self._drawn() | {"largest_file": self._rng.choice([0, 50, 5000])}
        before = self._whole()
        outcome = self._ended(self._start(config), f"largest file {config['largest_file']}")
        if before is not None:
            require(outcome.status == 0, f"A whole cache was not used: {outcome.errors[-1500:]}")
        self._check(before, [config], [outcome])

    def _other_spec(self):
        config = self._drawn() | {"dtype": "int32"}
        before = self._whole()
        if before is None:
            return
        outcome = self._ended(self._start(config), "another spec")
        require(outcome.status == 1 and "holds elements of" in outcome.errors, f"Not told: {outcome.errors[-1500:]}")
        self._check(before, [config], [outcome])

    def _kill(self):
        config = self._drawn()
        number = self._rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        delay, before = self._rng.random() ** 2, self._whole()
        job = self._start(config)
        job.wait_for(self._rng.choice(["row", "cached"]))
        time.sleep(delay)
        job.signal(number)
        outcome = self._ended(job, f"{number.name} {delay:.2f} s", number.name)
        self._check(before, [config], [outcome])

    def _two(self):
        """Two processes with two sources; one may be killed."""
        configs, before = [self._drawn(), self._drawn()], self._whole()
        jobs = [self._start(config, index) for index, config in enumerate(configs)]
        if kills := self._rng.random() < 0.4:
            jobs[0].wait_for(self._rng.choice(["row", "cached"]))
            time.sleep(self._rng.random() * 0.3)
            jobs[0].signal(signal.SIGKILL)
        outcomes = [self._ended(job, f"two at once, {kills=}", "two at once", i) for i, job in enumerate(jobs)]
        if not kills:
            require(any(outcome.status == 0 for outcome in outcomes), "Both have failed.")
            sources_differ = configs[0]["first"] != configs[1]["first"] or configs[0]["count"] != configs[1]["count"]
            for outcome in outcomes:
                told = "damaged while" in outcome.errors or "OutOfRange" in outcome.errors
                told |= "Error" in outcome.errors and sources_differ
                require(outcome.status == 0 or told, f"Caching failed: {outcome.errors[-1500:]}")
        self._check(before, configs, outcomes)

    def _damage_meanwhile(self):
        config, before = self._drawn(), self._whole()
        job = self._start(config)
        job.wait_for("cached")
        time.sleep(self._rng.random() * config["pause"] * 1.5)
        files = [path for path in (self._path, self._description) if path.exists()]
        if files:
            path = self._rng.choice(files)
            self._log("damages", f"meanwhile: {damage(self._rng, path)} {path.name}")
        outcome = self._ended(job, "cache")
        rows = [_numbers(config), before and before[0]]
        if outcome.status == 0:
            require(outcome.numbers in rows, f"Other rows were read: {_shown(outcome.numbers)}.")

    def _drawn(self):
        first, count = self._rng.choice(_SOURCES)
        return DEFAULTS | {"first": first, "count": count, "pause": self._rng.choice([0.0, 0.05])}

    def _start(self, config, index=0):
        self._journal.count("starts")
        out = self._folder / f"out-{index}"
        out.unlink(missing_ok=True)
        return Job("cache_rows.py", self._path, out, json.dumps(config))

    def _ended(self, job, text, kind="caches", index=0):
        status, out = job.finish(), self._folder / f"out-{index}"
        numbers = json.loads(out.read_text()) if out.exists() else None
        reads_source = any(line.startswith("row") for line in job.out)
        lines = [line for line in job.errors.splitlines() if "Error" in line]
        self._log(kind, f"{text}: {status} {_shown(numbers)} {lines[-1][:100] if lines else ''}")
        return _Outcome(status, numbers, job.errors, reads_source)

    def _check(self, before, configs, outcomes):
        """Rows that were read are all those of one source, and a whole cache stays."""
        after = self._whole()
        if before is not None:
            require(after == before, "A whole cache is gone, or replaced.")
        allowed = [before[0]] if before is not None else [_numbers(config) for config in configs]
        for outcome in outcomes:
            if outcome.numbers is not None:
                require(outcome.numbers in allowed, f"Other rows were read: {_shown(outcome.numbers)}.")
            elif outcome.status > 0:
                require("Error" in outcome.errors or "Interrupt" in outcome.errors, "Failed without a message.")
        if after is not None:
            require(after[0] in allowed, f"The cache holds {_shown(after[0])}.")

    def _both_exist(self):
        return self._path.exists() and self._description.exists()

    def _whole(self) -> tuple[list[int], bytes] | None:
        """Return the rows and bytes of a cache that its description fits; None for any other."""
        if not self._both_exist():
            return None
        content = self._path.read_bytes()
        try:
            description: dict[str, Any] = json.loads(self._description.read_bytes())
            specs = json.dumps([description["rows"], description["element_spec"]], sort_keys=True)
            if hashlib.sha256(content + specs.encode()).hexdigest() != description["checksum"]:
                return None
        except (ValueError, TypeError, KeyError):
            return None
        return _rows_in(content, description["rows"]), content

    def _log(self, kind, text):
        self._journal.count(kind)
        self._journal.log(f"  {kind}: {text}")


def _numbers(config):
    return list(range(config["first"], config["first"] + config["count"]))


def _rows_in(content, count):
    """The rows of a cache: the source whose number of rows and last row it holds."""
    for first, size in _SOURCES:
        if size == count and str(first + size - 1).encode() in content:
            return list(range(first, first + size))
    return []


def _shown(numbers):
    return None if numbers is None else f"{numbers[:1]}..{numbers[-1:]}, {len(numbers)} rows"
