"""Where a recipe trains, and the checkpoints of its runs."""

import argparse
import shutil
from pathlib import Path

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


def checkpoint(args: argparse.Namespace, run: str = "") -> keras.callbacks.Callback:
    """Return the callback that saves a run at most every two minutes, and resumes it from its last checkpoint.

    Args:
        args: The recipe's options.
        run: Name of the run, where a recipe has several.
    """
    return mtl.callbacks.Checkpoint(_checkpoints(args) / run, every="2 minutes")


def _checkpoints(args: argparse.Namespace) -> Path:
    return args.workdir / "checkpoints"
