"""The command-line options that all recipes have."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Options that do not change the results of a run.
_WITHOUT_EFFECT = ("workdir", "export", "seeds", "strategy", "virtual_devices", "resume", "no_single_task")


def parser(recipe: str, description: str, several_seeds: bool = False) -> argparse.ArgumentParser:
    """Return a parser with the options of all recipes.

    Args:
        recipe: The recipe's name, which is that of its folders for results and exports.
        description: The first line of the help.
        several_seeds: Whether the recipe repeats its runs: it then has `--seeds` instead of `--seed`.
    """
    workdir, export = Path("runs", recipe), Path("saved_models", recipe)
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument_group("options of all recipes").add_argument
    add("--data", type=Path, metavar="FOLDER", help="read the data files from here (default: download them)")
    add("--workdir", type=Path, metavar="FOLDER", default=workdir, help=f"results, checkpoints (default: {workdir})")
    add("--export", type=Path, metavar="FOLDER", default=export, help=f"versions of the model (default: {export})")
    if several_seeds:
        add("--seeds", type=int, metavar="N", help="train with the seeds 0 to N - 1")
    else:
        add("--seed", type=int, metavar="N", default=0, help="random seed (default: 0)")
    add("--smoke", action="store_true", help="try the whole recipe: a few hundred rows, one epoch")
    add("--strategy", default="auto", help="auto (default), one_device, mirrored or multi_worker")
    add("--virtual-devices", type=int, metavar="N", help="split the CPU into N logical devices")
    add("--resume", action="store_true", help="continue an interrupted run from its last checkpoint")
    add("--epochs", type=int, metavar="N", help="passes over the training data")
    add("--batch-size", type=int, metavar="N", help="rows of a batch, on all devices together")
    add("--learning-rate", type=float, metavar="RATE", help="the highest of the schedule")
    return parser


def add_balancing(parser: argparse.ArgumentParser) -> None:
    """Add `--balancing`."""
    parser.add_argument("--balancing", default="equal", metavar="NAME", help="method of tf_mtl.balancing")


def add_alignment(parser: argparse.ArgumentParser) -> None:
    """Add `--measure-alignment`."""
    parser.add_argument(
        "--measure-alignment",
        action="store_true",
        help="measure how far the optimizer turns away from the balanced direction",
    )


def add_no_single_task(parser: argparse.ArgumentParser, models: str = "the single-task models") -> None:
    """Add `--no-single-task`."""
    parser.add_argument("--no-single-task", action="store_true", help=f"do not train {models}")


def require_data(parser: argparse.ArgumentParser, args: argparse.Namespace, files: str) -> None:
    """End with a message unless `--data` was given.

    Args:
        parser: The parser.
        args: The parsed options.
        files: What the data are.
    """
    if args.data is None:
        parser.error(f"--data is required: {files}")


def set_defaults(args: argparse.Namespace, defaults: Mapping[str, Any], smoke: Mapping[str, Any]) -> None:
    """Set the options that were not given.

    Args:
        args: The parsed options, None where one was not given.
        defaults: Values by option.
        smoke: Those that differ with `--smoke`.
    """
    for name, value in {**defaults, **(smoke if args.smoke else {})}.items():
        if getattr(args, name) is None:
            setattr(args, name, value)


def as_json(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options by name, with paths as strings."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}


def of_a_run(args: argparse.Namespace, *others: str) -> dict[str, Any]:
    """Return the options that determine the results of a run, without those named in `others`."""
    return {name: value for name, value in as_json(args).items() if name not in (*_WITHOUT_EFFECT, *others)}
