"""An episode of training runs in one folder: started, killed, damaged, changed and restarted."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import checkpoints
import expectations
from damage import damage
from expectations import Expectation, Undisturbed
from journal import Journal, require
from train_model import DEFAULTS

_BASES: list[dict[str, Any]] = [
    {},
    {"data": "batches"},
    {"data": "batches", "dropout": 0.2},
    {"balancing": "ema", "callbacks": "stop plateau", "dropout": 0.2},
    {"balancing": "ema", "callbacks": "stop plateau"},
    {"data": "batches", "callbacks": "stop", "steps_per_execution": 4},
    {"replicas": 2, "dropout": 0.2},
    {"steps_per_execution": 3, "optimizer": "sgd"},
    {"huge_label": 20},
    {"huge_label": 20, "optimizer": "sgd", "data": "batches"},
    {"huge_label": 20, "callbacks": "nan"},
    {"huge_label": 20, "non_finite": "skip", "data": "batches"},
    {"huge_label": 20, "non_finite": "raise"},
]
_CHANGES: dict[str, list[Any]] = {
    "batch_size": [5, 8, 16, 48],
    "steps_per_execution": [1, 3, 4],
    "epochs": [2, 3, 4, 5],
    "rows": [40, 48, 57],
    "optimizer": ["adam", "sgd", "rmsprop"],
    "learning_rate": [0.01, 0.002],
    "tasks": ["ab", "abc", "ac"],
    "balancing": ["equal", "ema"],
    "callbacks": ["", "stop", "stop plateau", "nan"],
    "replicas": [1, 2],
    "non_finite": ["keep", "skip", "raise"],
    "data": ["arrays", "batches"],
}
_FOREIGN = [{}, {"seed": 2}, {"tasks": "abc"}, {"data": "batches"}, {"batch_size": 16}]
_LAST_STEP = 24


class Training:
    """The state of an episode.

    Args:
        rng: A generator of random numbers, which decides everything but the moments at which processes are met.
        folder: An empty folder.
        journal: The journal.
        undisturbed: Undisturbed runs.
    """

    def __init__(self, rng: random.Random, folder: Path, journal: Journal, undisturbed: Undisturbed):
        self._rng, self._journal, self._undisturbed = rng, journal, undisturbed
        self._directory, self._out = folder / "run", folder / "out"
        self._second_out = folder / "second"
        self._origins: dict[str, Expectation] = {}
        every = rng.choice(["1 step", "3 steps", "5 steps", "1 epoch", "100 minutes"])
        self._config = DEFAULTS | rng.choice(_BASES) | {"every": every, "keep": rng.choice([2, 3])}
        self._runs = 0

    def run(self) -> None:
        """Do some actions, and finish undisturbed."""
        base = {name: value for name, value in self._config.items() if value != DEFAULTS[name]}
        self._journal.log(f"training {base}")
        between = [self._damage, self._damage, self._damage_lock, self._fill, self._change, self._change, self._pass]
        runs = [*[self._kill] * 6, *[self._interrupt] * 4, self._finish, self._two, self._suspend]
        runs += [self._damage_meanwhile]
        for _ in range(self._rng.randint(3, 8)):
            self._rng.choice(between)()
            self._extend()
            self._disturb()
            self._rng.choice(runs)()
        self._calm()
        self._finish()
        self._finish()

    # between runs

    def _pass(self):
        pass

    def _damage(self):
        files = checkpoints.paths(self._directory)
        for _ in range(self._rng.choice([1, 1, 2, 5])):
            if files:
                self._damage_file(self._rng.choice([*files, files[-1]]))

    def _damage_file(self, path):
        if not path.exists():
            return
        way = damage(self._rng, path)
        self._log("damages", f"{way} {path.name}")
        checkpoints.require_only_known(checkpoints.readable(self._directory), self._origins)

    def _damage_lock(self):
        contents = [
            b'{"process": 1',
            b"\xff\xfe\x90",
            b"[1, 2]",
            b"7",
            b'{"process": 1, "host": "other", "boot": "other"}',
            b"\x00" * 512,
            b'{"process": "?", "host": 5, "boot": null}',
        ]
        lock = self._directory / ".lock"
        if self._directory.exists():
            content = self._rng.choice(contents)
            lock.write_bytes(content)
            if content.startswith(b'{"process"') and self._rng.random() < 0.8:  # else a run waits for its heartbeat
                os.utime(lock, (1e9, 1e9))
            self._log("damages", f"lock := {content[:50]!r}")

    def _fill(self):
        """Replace a checkpoint by one of another run, or of another step."""
        files = sorted(self._directory.glob("step-*"))
        if not files:
            return
        target = self._rng.choice([files[-1], self._rng.choice(files)])
        if self._rng.random() < 0.3:
            target.write_bytes(self._rng.choice(files).read_bytes())
            self._log("damages", f"fill {target.name} with another step")
            return
        foreign = self._undisturbed.from_scratch(DEFAULTS | self._rng.choice(_FOREIGN))
        (folder,) = [folder for folder, expectation in self._undisturbed.folders if expectation is foreign]
        step = self._rng.choice([3, 12, _LAST_STEP])
        source = next((path for path in sorted(folder.glob("step-*")) if int(path.name[5:15]) >= step), None)
        if source is None:
            return
        target.write_bytes(source.read_bytes())
        (saved,) = [saved for saved in checkpoints.readable(folder) if saved.step == int(source.name[5:15])]
        self._origins[saved.digest] = foreign
        self._log("damages", f"fill {target.name} with {source.name} of {expectations.key(foreign.config)}")

    def _change(self):
        name = self._rng.choice(sorted(_CHANGES))
        value = self._rng.choice(_CHANGES[name])
        self._config |= {name: value, "on_change": self._rng.choice(["error", "keep_weights", "keep_weights"])}
        self._log("changes", f"{name} := {value}, on_change := {self._config['on_change']}")

    def _extend(self):
        """Train for longer if training has ended."""
        newest = expectations.newest(self._directory)
        if newest is not None and newest.values["epoch"] >= self._config["epochs"] < 9 and self._rng.random() < 0.8:
            self._config["epochs"] += 2
            self._log("changes", f"epochs := {self._config['epochs']}")

    def _disturb(self):
        """Let the disk of the next run be slow or full."""
        self._calm()
        self._config["ignores_interrupts"] = self._rng.random() < 0.2
        if self._rng.random() < 0.3:
            self._config["slow_writes"] = self._rng.choice([0.001, 0.005])
        disturbance = self._rng.random()
        if disturbance < 0.12:
            full = sorted(self._rng.sample(range(10), self._rng.randint(1, 6)))
            self._config |= {"full": full, "space": self._rng.choice([0, 100, 20_000])}
        elif disturbance < 0.22 and self._config["steps_per_execution"] == 1:  # else functions are traced late
            self._config["largest_file"] = self._rng.choice([0, 1000, 20_000])
        if self._config["full"] or self._config["largest_file"] is not None:
            self._log("full disks", f"full {self._config['full']}, largest file {self._config['largest_file']}")

    def _calm(self):
        self._config |= {"slow_writes": 0, "full": [], "space": 0, "largest_file": None}

    # runs

    def _finish(self):
        expectation, before = self._expected()
        outcome = expectations.ended(self._start(), self._out)
        self._judge(outcome, expectation, before)

    def _kill(self):
        self._signalled(signal.SIGKILL)

    def _interrupt(self):
        self._signalled(self._rng.choice([signal.SIGTERM, signal.SIGTERM, signal.SIGINT]))

    def _signalled(self, number):
        """Send a signal at a random moment, twice at times."""
        expectation, before = self._expected()
        moment, delay = self._rng.choice(["start", "built", "step", "step", "step"]), self._rng.random()
        twice = number != signal.SIGKILL and self._rng.random() < 0.3
        job = self._start()
        started = moment != "start" and job.wait_for(moment)
        time.sleep(delay)
        steps = expectations.steps_in(job)
        sent = job.signal(number)
        if sent and twice:
            time.sleep(self._rng.random() * 0.1)
            job.signal(number)
        outcome = expectations.ended(job, self._out)
        self._log(
            number.name, f"{'twice ' * twice}{delay:.2f} s after {moment}{'' if started else '?'}, step {steps[-1:]}"
        )
        ends = {signal.SIGKILL: (-9, ""), signal.SIGTERM: (-15, ""), signal.SIGINT: (1, "KeyboardInterrupt")}
        end = (outcome.status, "" if outcome.status < 0 else outcome.error)
        is_cut = number == signal.SIGINT and twice and end == (1, "")  # the second came while the error was printed
        if end == ends[number] or is_cut:
            after = self._record(expectation, before)
            if steps and number != signal.SIGKILL:
                told = any(
                    text in outcome.errors
                    for text in ("No checkpoint was saved", "Training ended with", "Training was stopped")
                )
                saved = max((saved.values["steps"] for saved in after), default=0)
                require(
                    told or saved >= steps[-1],
                    f"Step {steps[-1]} was taken, {saved} saved, and that was not told.\n{outcome.errors[-1500:]}",
                )
        else:
            self._judge(outcome, expectation, before)

    def _two(self):
        """Start two runs at once: one at a time may use the folder."""
        expectation, before = self._expected()
        first = self._start()
        if self._rng.random() < 0.7:
            first.wait_for("step")
        second = self._start(self._second_out)
        outcomes = [expectations.ended(first, self._out), expectations.ended(second, self._second_out)]
        refused = ["is in use by another run" in outcome.errors for outcome in outcomes]
        self._log("two at once", f"refused {refused}")
        require(not all(refused), "Both runs are refused.")
        for outcome, was_refused in zip(outcomes, refused, strict=True):
            if was_refused:
                require(outcome.status == 1, f"A refused run ended with {outcome.status}.")
            else:
                self._judge(outcome, expectation, before)

    def _suspend(self):
        """Suspend a run, start a second, which must be refused, and let the first continue."""
        expectation, before = self._expected()
        job = self._start()
        if not job.wait_for("step"):
            self._judge(expectations.ended(job, self._out), expectation, before)
            return
        time.sleep(self._rng.random() * 0.3)
        job.signal(signal.SIGSTOP)
        time.sleep(0.05)
        alive, steps_before = job.alive, expectations.steps_in(job)[-1]
        second = expectations.ended(self._start(self._second_out), self._second_out)
        job.signal(signal.SIGCONT)
        outcome = expectations.ended(job, self._out)
        self._log("suspended", f"second: {second.status} {second.error}")
        if alive and outcome.steps[-1] > steps_before:  # it trained on, so it owned the folder
            require("is in use by another run" in second.errors, "The second run was not refused.")
        self._judge(outcome, expectation, before)

    def _damage_meanwhile(self):
        """Damage files of a run that is alive."""
        expectation, _ = self._expected()
        job = self._start()
        job.wait_for("step")
        for _ in range(self._rng.choice([1, 1, 3])):
            time.sleep(self._rng.random() * 0.3)
            files = checkpoints.paths(self._directory)
            if files:
                path = self._rng.choice([*files, files[-1]])
                try:
                    way = damage(self._rng, path)
                except FileNotFoundError:  # deleted or renamed meanwhile
                    continue
                self._log("damages", f"meanwhile: {way} {path.name}")
        outcome = expectations.ended(job, self._out)
        self._record(expectation, [])
        expectations.require_equal(outcome, expectation.outcome)

    # what all have in common

    def _start(self, out=None):
        self._journal.count("starts")
        self._journal.count("restarts" if self._runs else "runs")
        self._runs += 1
        return expectations.start(self._config, self._directory, out or self._out)

    def _log(self, kind, text):
        self._journal.count(kind)
        self._journal.log(f"  {kind}: {text}")

    def _expected(self):
        """Return what the next run must give, and the readable checkpoints before it."""
        before = checkpoints.readable(self._directory)
        config = dict(self._config)
        if not before:
            return self._undisturbed.from_scratch(config), before
        origin = self._origins[before[0].digest]
        return self._undisturbed.resumed(config, self._directory, before[0], origin), before

    def _record(self, expectation, before):
        """Note what made the new checkpoints, and check that none is lost."""
        after = checkpoints.readable(self._directory)
        for saved in after:
            self._origins.setdefault(saved.digest, expectation)
        checkpoints.require_none_lost(before, after, self._config["keep"])
        return after

    def _judge(self, outcome, expectation, before):
        """Compare a run that has ended by itself with an undisturbed one."""
        after = self._record(expectation, before)
        self._log("ends", f"{outcome.status} {outcome.error} after step {outcome.steps[-1:]}, {len(after)} checkpoints")
        expectations.require_equal(outcome, expectation.outcome)
        if outcome.status == 0 and outcome.steps:
            told = "No checkpoint was saved" in outcome.errors or "Training was stopped after" in outcome.errors
            saved = max((saved.values["steps"] for saved in after), default=0)
            require(
                told or saved >= outcome.steps[-1],
                f"Step {outcome.steps[-1]} was taken, {saved} saved, and that was not told.\n{outcome.errors[-1500:]}",
            )
        if outcome.status and self._config["on_change"] == "error" and "different run" in outcome.errors:
            self._config["on_change"] = "keep_weights"
