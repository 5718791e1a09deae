"""Where a recipe trains, and the checkpoints and the history of its runs."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import tf_mtl as mtl


def choose_strategy(args: argparse.Namespace) -> tf.distribute.Strategy:
    """Return the strategy of `--strategy`, and print it; delete old checkpoints unless `--resume` is given."""
    if not args.resume:
        shutil.rmtree(_checkpoints(args), ignore_errors=True)
    strategy = mtl.distribute.strategy(args.strategy, virtual_devices=args.virtual_devices)
    print(f"Training on {mtl.distribute.describe(strategy)}.")
    return strategy


def alignment(args: argparse.Namespace) -> list[keras.callbacks.Callback]:
    """Return the callback that `--measure-alignment` asks for, if it was given."""
    return [mtl.callbacks.UpdateAlignment()] if args.measure_alignment else []


def checkpoint(args: argparse.Namespace, run: str = "") -> keras.callbacks.Callback:
    """Return the callback that saves a run at most every two minutes, and resumes it from its last checkpoint.

    Args:
        args: The recipe's options.
        run: Name of the run, where a recipe has several.
    """
    return mtl.callbacks.Checkpoint(_checkpoints(args) / run, every="2 minutes")


def callbacks(args: argparse.Namespace, run: str = "", is_reported: bool = True) -> list[keras.callbacks.Callback]:
    """Return the callbacks of a run: `checkpoint`, and `HistoryFile` if the report is to show its curves.

    Args:
        args: The recipe's options.
        run: See `checkpoint`.
        is_reported: Whether the run is the one that metrics.json is about.
    """
    history = [HistoryFile(args.workdir / "history.json")] if is_reported else []
    return [checkpoint(args, run), *history]


class HistoryFile(keras.callbacks.Callback):
    """Writes the history of a run to a file when training ends."""

    def __init__(self, path: Path):
        super().__init__()
        self._path = path

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Write the file."""
        if mtl.distribute.is_chief(self.model.distribute_strategy):
            history = {name: list(map(float, values)) for name, values in self.model.history.history.items()}
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(history, indent=2) + "\n")


def _checkpoints(args: argparse.Namespace) -> Path:
    return args.workdir / "checkpoints"
