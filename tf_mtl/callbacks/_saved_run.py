"""What a checkpoint holds, and how a run differs from the one that saved it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tf_mtl._pipeline.data_description import changes
from tf_mtl._pipeline.stream import Position, Stream
from tf_mtl.callbacks._callback_states import CallbackStates, States
from tf_mtl.callbacks._checkpoint_files import CheckpointFiles, Content
from tf_mtl.callbacks._run_variables import Arrays, RunVariables

_MOST_NAMES = 4


class SavedRun(NamedTuple):
    """A checkpoint.

    Attributes:
        values: JSON values by name.
        metrics: The values of the metrics' variables on each replica.
        callbacks: The states of other callbacks.
        shared: The values of the variables that all workers share.
    """

    values: dict[str, Any]
    metrics: Arrays
    callbacks: States
    shared: Arrays

    @classmethod
    def from_content(cls, content: Content, files: CheckpointFiles, stream: Stream) -> "SavedRun":
        """Return the checkpoint in the newest file; version 0.1 wrote one file per worker, and described nothing."""
        values, arrays = content
        end_of_metrics = values["sizes"][0]
        end_of_callbacks = end_of_metrics + values["sizes"][1]
        metrics: Sequence[np.ndarray] = arrays[:end_of_metrics]
        if "calls" in values:
            passes, batches = values["place"]
            values |= {
                "epoch_batches": values["calls"],
                "place": [passes, batches * stream.batch_elements],
                "data": None,
                "variables": None,
                "learning_rates": None,
            }
            of_workers = [files.read(values["steps"], worker).arrays for worker in range(1, values["workers"])]
            metrics = [np.concatenate(parts) for parts in zip(metrics, *of_workers, strict=True)]
        states = States(values["companions"], arrays[end_of_metrics:end_of_callbacks])
        return cls(values, metrics, states, arrays[end_of_callbacks:])

    @property
    def position(self) -> Position:
        """The position in the data."""
        return Position(*self.values["place"])

    def changed_data(self, stream: Stream) -> list[str]:
        """Return why training cannot continue exactly where the checkpoint was saved; [] if it can."""
        data = self.values["data"]
        return [] if data is None else changes(data, self.position, self.values["epoch_batches"], stream)

    def changed_metrics(self, variables: RunVariables) -> list[str]:
        """Return how the metrics differ, if the checkpoint holds values of them that count in its epoch."""
        saved = self.values["variables"]
        if saved is None or not self.values["epoch_batches"]:
            return []
        return _differences("metrics", saved["metrics"], variables.description["metrics"])

    def changed_state(self, variables: RunVariables, callbacks: CallbackStates) -> list[str]:
        """Return how weights, optimizer, balancing method and callbacks differ."""
        saved, current = self.values["variables"], variables.description
        if saved is None:
            return []
        found = [
            change
            for group in ("weights", "optimizer", "balancing")
            for change in _differences(group, saved[group], current[group])
        ]
        missing = callbacks.missing(self.callbacks)
        return found + ([f"callbacks: only in the checkpoint: {', '.join(missing)}"] if missing else [])

    def has_weights_of(self, variables: RunVariables) -> bool:
        """Return whether the model has the weights that the checkpoint has; False if their names or shapes differ."""
        saved = self.values["variables"]
        return saved is None or list(saved["weights"]) == variables.description["weights"]

    def changed_rates(self, variables: RunVariables) -> list[str]:
        """Return how the learning rates differ from those that the run began with, and those that it had last."""
        saved = self.values["learning_rates"]
        last = variables.learning_rates_in(self.shared, self.values["variables"])
        if saved is None or variables.learning_rates in (saved, last) or len(variables.learning_rates) != len(saved):
            return []
        here, there = (", ".join(f"{rate:.6g}" for rate in rates) for rates in (variables.learning_rates, saved))
        return [f"learning rate: {here}, in the checkpoint {there}"]


def _differences(group: str, saved: Sequence[str], current: Sequence[str]) -> list[str]:
    if list(saved) == list(current):
        return []
    sides = (("only in the checkpoint", saved, current), ("only in this run", current, saved))
    found = [f"{text}: {_listed(only)}" for text, own, other in sides if (only := Counter(own) - Counter(other))]
    return [f"{group}: {'; '.join(found) or 'in another order'}"]


def _listed(names: Counter) -> str:
    first = ", ".join(list(names)[:_MOST_NAMES])
    return first + (f" and {names.total() - _MOST_NAMES} more" if names.total() > _MOST_NAMES else "")
