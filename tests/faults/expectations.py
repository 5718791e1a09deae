"""What a training run must give: the outcome of an undisturbed one, and counts that follow from its configuration."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from checkpoints import Saved, readable
from jobs import Job
from journal import require
from train_model import DEFAULTS

HARMLESS = {"epochs", "steps_per_execution", "replicas"}  # weights are still those of one run, but for dropout
NOT_DECIDING = {
    "on_change", "every", "keep", "pause", "slow_writes", "full", "space", "largest_file", "ignores_interrupts"
}  # fmt: skip
_UNDISTURBED = {"every": "3 steps", "keep": 9, "pause": 0, "slow_writes": 0, "full": [], "largest_file": None}
_TOLERANCE = 1e-4


class Outcome(NamedTuple):
    """How a process has ended.

    Attributes:
        status: The exit status.
        results: What it has written; None if nothing.
        errors: Its standard error.
        steps: The steps that it has printed.
    """

    status: int
    results: dict[str, Any] | None
    errors: str
    steps: list[int]

    @property
    def error(self) -> str:
        """The kind of exception that has ended it."""
        lines = [line for line in self.errors.splitlines() if line and not line.startswith((" ", "\t"))]
        kinds = [line.split(":")[0] for line in lines if line.split(":")[0].endswith(("Error", "Interrupt"))]
        return kinds[-1] if kinds else ""


class Expectation(NamedTuple):
    """What a run must give.

    Attributes:
        config: Its configuration.
        outcome: The outcome of an undisturbed run.
        harmless: Whether the configuration has changed only in what leaves the weights those of one run.
    """

    config: dict[str, Any]
    outcome: Outcome
    harmless: bool


def key(config: dict[str, Any]) -> str:
    """Identify what decides the results of a run."""
    return json.dumps({name: value for name, value in sorted(config.items()) if name not in NOT_DECIDING})


def start(config: dict[str, Any], directory: Path, out: Path) -> Job:
    """Start a training run."""
    out.unlink(missing_ok=True)
    return Job("train_model.py", directory, out, json.dumps(config))


def ended(job: Job, out: Path) -> Outcome:
    """Wait for a training run."""
    status = job.finish()
    results = pickle.loads(out.read_bytes()) if out.exists() else None
    return Outcome(status, results, job.errors, steps_in(job))


def steps_in(job: Job) -> list[int]:
    """Return the steps that a training run has printed."""
    return [int(line.split()[1]) for line in list(job.out) if line.startswith("step")]


class Undisturbed:
    """Undisturbed runs, each made once.

    Attributes:
        folders: The checkpoints of runs from scratch, with what a run that resumes from them must give.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self.folders: list[tuple[Path, Expectation]] = []
        self._from_scratch: dict[str, Expectation] = {}
        self._resumed: dict[tuple[str, str, str], Expectation] = {}

    def from_scratch(self, config: dict[str, Any]) -> Expectation:
        """Return what a run without checkpoints must give."""
        if key(config) not in self._from_scratch:
            directory = self._folder / f"run-{len(self._from_scratch)}"
            expectation = Expectation(config, self._run(config, directory), harmless=True)
            _check_told(expectation.outcome, config)
            self._from_scratch[key(config)] = expectation
            self.folders.append((directory, expectation))
        return self._from_scratch[key(config)]

    def resumed(self, config: dict[str, Any], directory: Path, saved: Saved, origin: Expectation) -> Expectation:
        """Return what a run must give that resumes from a checkpoint; one of another configuration runs in a copy."""
        if key(config) == key(origin.config):
            return origin
        cached = saved.digest, key(config), config["on_change"]
        if cached not in self._resumed:
            copy = self._folder / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(directory, copy)
            outcome = self._run(config, copy)
            changes = {name for name in DEFAULTS if config[name] != origin.config[name]} - NOT_DECIDING
            harmless = HARMLESS - ({"replicas"} if config["dropout"] else set())
            expectation = Expectation(config, outcome, origin.harmless and changes <= harmless)
            _check_change(expectation, saved, origin.config, changes)
            if expectation.harmless and outcome.results and config["huge_label"] is None:
                self._compare_with_one_run(expectation, saved)
            self._resumed[cached] = expectation
        return self._resumed[cached]

    def _run(self, config, directory):
        out = self._folder / "out"
        return ended(start(config | _UNDISTURBED, directory, out), out)

    def _compare_with_one_run(self, expectation, saved):
        results = expectation.outcome.results
        is_beyond = (saved.values["epoch"], saved.values["epoch_batches"]) > (expectation.config["epochs"], 0)
        if is_beyond or len(results["epochs"]) != expectation.config["epochs"] or saved.values["stopped"]:
            return  # it had trained longer, or was stopped, before the change
        expected = self.from_scratch(expectation.config).outcome.results
        for one, other in zip(results["weights"], expected["weights"], strict=True):
            require(
                np.allclose(one, other, _TOLERANCE, _TOLERANCE),
                f"After a harmless change, weights differ from one run's by {np.abs(one - other).max()}.",
            )


def require_equal(outcome: Outcome, expected: Outcome) -> None:
    """A run must end as an undisturbed one."""
    require(
        (outcome.status, outcome.error) == (expected.status, expected.error),
        f"The run ended with {outcome.status} {outcome.error}, an undisturbed one with {expected.status} "
        f"{expected.error}.\n{outcome.errors[-1500:]}",
    )
    if expected.results is None:
        return
    require(outcome.results is not None, "The run has no results.")
    results = outcome.results
    for name in ("epochs", "updates"):
        require(
            results[name] == expected.results[name],
            f"{name} are {results[name]}, of an undisturbed run {expected.results[name]}.",
        )
    for one, other in zip(results["values"], expected.results["values"], strict=True):
        if not np.array_equal(one, other, equal_nan=True):
            require(False, f"Values of {one.shape} differ from an undisturbed run's by {np.abs(one - other).max()}.")
    require(results["history"].keys() == expected.results["history"].keys(), "The history has other names.")
    for name, values in expected.results["history"].items():
        require(
            np.array_equal(results["history"][name], values, equal_nan=True),
            f"{name} is {results['history'][name]}, in an undisturbed run {values}.",
        )


def _check_told(outcome, config):
    """What a label of 1e30 does to weights is told."""
    if config["huge_label"] is None:
        require(outcome.status == 0, f"An undisturbed run fails: {outcome.errors[-1500:]}")
        return
    told = {"skip": "The step is left out", "raise": "The loss is NaN or infinite", "keep": "NaN or infinity"}
    words = "Training was stopped after" if "nan" in config["callbacks"] else told[config["non_finite"]]
    if config["non_finite"] in ("skip", "raise"):
        words = told[config["non_finite"]]
    require(words in outcome.errors, f"Not told: {words}. {outcome.errors[-1500:]}")


def _check_change(expectation, saved, before, changes):
    """A change must be told where it is not allowed, and taken where it is; rows and updates are counted."""
    config, outcome, values = expectation.config, expectation.outcome, saved.values
    reasons = _reasons_to_tell(config, before, changes, values)
    words = "are those of a different run" if config["on_change"] == "error" else "although these differ"
    text = f"{sorted(changes)} changed at step {values['steps']}, {values['place']}"
    if reasons:
        require(words in outcome.errors, f"{text}: not told. {outcome.errors[-1500:]}")
        for reason in reasons:
            require(f"- {reason}" in outcome.errors, f"{text}: {reason!r} is not named. {outcome.errors[-1500:]}")
    elif changes <= HARMLESS | {"seed", "huge_label"} or changes == {"rows"} or changes == {"batch_size"}:
        require(words not in outcome.errors, f"{text}: refused. {outcome.errors[-1500:]}")
    if config["huge_label"] is not None:
        return
    is_beyond = (values["epoch"], values["epoch_batches"]) > (config["epochs"], 0)
    told = "lies beyond" in outcome.errors
    require(told == is_beyond or outcome.status, f"{text}: epochs={config['epochs']} at epoch {values['epoch']}")
    failed = bool(reasons) and config["on_change"] == "error"
    require((outcome.status != 0) == failed or not reasons, f"{text}: status {outcome.status}")
    if outcome.status == 0:
        restarts = "although" in outcome.errors and "\n- `x` " in outcome.errors
        _check_counts(outcome.results, config, saved, "\n- optimizer:" in outcome.errors, restarts)


def _reasons_to_tell(config, before, changes, values):
    mid_pass = values["place"][1] > 0
    reasons = [name for name in ("optimizer", "balancing") if name in changes]
    if "tasks" in changes:
        reasons.append("weights")
    if "learning_rate" in changes and "optimizer" not in changes and "plateau" not in before["callbacks"]:
        reasons.append("learning rate")
    if set(before["callbacks"].split()) - set(config["callbacks"].split()) - {"nan"}:
        reasons.append("callbacks")
    if mid_pass and ({"rows", "data"} & changes or ("batch_size" in changes and config["data"] == "batches")):
        reasons.append("`x` ")
    return reasons


def _check_counts(results, config, saved, new_optimizer, restarts_epoch):
    values, size = saved.values, config["batch_size"]
    elements = values["place"][1]
    epochs_left = config["epochs"] - values["epoch"]
    whole = -(-config["rows"] // size)
    if restarts_epoch or not (elements or values["epoch_batches"]):
        first = whole
    elif elements:
        first = -(-(config["rows"] - elements) // size) if config["data"] == "arrays" else whole - elements
    else:
        first = 0
    steps = first + (epochs_left - 1) * whole
    if epochs_left <= 0 or values["stopped"]:
        steps, epochs = 0, values["history"][0]
    elif len(results["epochs"]) < config["epochs"] and "stop" in config["callbacks"]:
        return
    else:
        epochs = list(range(config["epochs"]))
    updates = steps + (0 if new_optimizer else saved.updates)
    require(results["epochs"] == epochs, f"Epochs are {results['epochs']}, not {epochs}.")
    require(
        results["updates"] == updates,
        f"{results['updates']} updates, not {updates}, after {values['steps']} steps, {values['place']}.",
    )
    for name, row in results["history"].items():
        require(len(row) <= len(epochs), f"{name} has {len(row)} values in {len(epochs)} epochs.")


def newest(directory: Path) -> Saved | None:
    """Return the checkpoint that the next run resumes from."""
    return next(iter(readable(directory)), None)
