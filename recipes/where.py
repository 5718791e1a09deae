"""Options of all recipes: where to train, and whether to go on with a run that was interrupted."""

import argparse
import shutil
from pathlib import Path

import keras
import tensorflow as tf

import tf_mtl as mtl

OPTIONS = ("strategy", "virtual_devices", "resume")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --strategy, --virtual-devices and --resume."""
    parser.add_argument("--strategy", default="auto", help="auto, one_device, mirrored or multi_worker")
    parser.add_argument("--virtual-devices", type=int, metavar="N", help="split the CPU into N logical devices")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint of an interrupted run")


def choose(args: argparse.Namespace, checkpoints: Path) -> tf.distribute.Strategy:
    """Return the strategy that was asked for, and say which; delete old checkpoints unless they are to be resumed."""
    if not args.resume:
        shutil.rmtree(checkpoints, ignore_errors=True)
    strategy = mtl.distribute.strategy(args.strategy, virtual_devices=args.virtual_devices)
    print(f"Training on {mtl.distribute.describe(strategy)}.")
    return strategy


def checkpoint(folder: Path) -> keras.callbacks.Callback:
    """Return the callback that saves a run, at most once in two minutes, and goes on from where it was."""
    return mtl.callbacks.Checkpoint(folder, every="2 minutes")


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Return whether this process is the one that writes results."""
    return mtl.distribute.is_chief(strategy)
