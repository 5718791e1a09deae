"""Time of a training step with each balancing method, beside TorchJD's on the same model.

    pip install -e '.[benchmarks]'
    python benchmarks/balancing.py --trunks mlp transformer --tasks 3 10

TensorFlow and PyTorch each have a process of their own and as many threads. They take turns: one step of each method at
a time, all methods in each round. A ratio is the median over rounds of a step's time and that of its own framework's
plain step (sum of the losses, SGD) just before it, so it does not compare the frameworks; "plain" is that step once
more, the noise. "1F + TB" is one forward pass and T backward passes: F + T (S - F), where S is the plain step and F its
forward pass. TorchJD runs in the fastest of its ways on the model.
"""

import argparse
import importlib
import itertools
import json
import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # PyTorch's threads would otherwise spin on cores that others use

SCALARIZERS = ["equal", "gls", "dwa", "uncertainty", "famo"]
WEIGHTINGS = ["mgda", "pcgrad", "gradvac", "imtl_grad", "cagrad", "nash_mtl", "fair_grad", "aligned_mtl", "upgrad"]
WEIGHTINGS += ["dual_proj", "krum"]
AGGREGATORS = ["graddrop", "config", "trimmed_mean"]
METHODS = [*SCALARIZERS, *WEIGHTINGS, *AGGREGATORS, "mgda/features", "upgrad/features"]
SIDES = ("tf", "torch")
COLUMNS = ("ms", "/ plain", "quartiles", "/ (1F + TB)", "MB")


class Setting(NamedTuple):
    """What both frameworks build."""

    trunk: str
    tasks: int
    methods: tuple[str, ...]
    batch: int
    length: int = 32
    vocabulary: int = 30_000
    dim: int = 256
    units: tuple[int, ...] = (1024, 1024)
    layers: int = 2
    heads: int = 4
    feedforward: int = 512
    classes: int = 5
    threads: int = len(os.sched_getaffinity(0))


class Side:
    """A process that holds the steps of one framework and runs one when asked."""

    def __init__(self, module: str, setting: Setting):
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, module, setting), daemon=True)
        self.process.start()
        other.close()
        self.megabytes: dict[str, int] = self.pipe.recv()

    def seconds(self, name: str) -> tuple[float, float]:
        """Run the plain step, then another one, and return their times."""
        self.pipe.send(name)
        return self.pipe.recv()

    def close(self) -> None:
        """End the process."""
        self.pipe.send(None)
        self.process.join()


def serve(pipe, module_name: str, setting: Setting) -> None:
    """Send the memory that each step of a module needs, then run the steps that are asked for and send their times."""
    module = importlib.import_module(module_name)
    steps = module.steps(setting)
    for _, step in itertools.product(range(2), steps.values()):
        step()
    pipe.send({name: round(module.megabytes(step)) for name, step in steps.items()})
    for name in iter(pipe.recv, None):
        pipe.send((timed(steps["plain"]), timed(steps[name])))


def timed(step: Callable[[], object]) -> float:
    """Run a step and return its seconds."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def measure(setting: Setting, rounds: int) -> dict[str, dict[str, Any]]:
    """Return both sides' seconds, [plain, step] of each step and round, and megabytes; each round has a new order."""
    sides = {name: Side(f"balancing_{name}", setting) for name in SIDES}
    found = {
        side: {"seconds": {name: [] for name in sides[side].megabytes}, "megabytes": sides[side].megabytes}
        for side in sides
    }
    turns = [(side, name) for side in sides for name in sides[side].megabytes]
    order = random.Random(0)
    for _ in range(rounds):
        for side, name in order.sample(turns, len(turns)):
            found[side]["seconds"][name].append(sides[side].seconds(name))
    for side in sides.values():
        side.close()
    return found


def columns(seconds: dict[str, list[tuple[float, float]]], megabytes: dict[str, int], tasks: int) -> dict[str, list]:
    """Return one side's columns for each step."""
    quartiles = {name: statistics.quantiles([b / a for a, b in pairs], n=4) for name, pairs in seconds.items()}
    forward = quartiles["forward"][1]
    passes = forward + tasks * (1 - forward)
    found = {}
    for name, (low, ratio, high) in quartiles.items():
        middle = 1000 * statistics.median(step for _, step in seconds[name])
        found[name] = [middle, ratio, f"{low:.2f} - {high:.2f}", ratio / passes, megabytes[name]]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=METHODS, help="names; '/features' balances those gradients")
    parser.add_argument("--trunks", nargs="+", choices=["mlp", "transformer"], default=["mlp", "transformer"])
    parser.add_argument("--tasks", nargs="+", type=int, default=[3, 10])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"))
    args = parser.parse_args()
    from tf_mtl.report import table  # not at the top, which PyTorch's process runs, too

    texts, records = [], []
    for trunk, tasks in itertools.product(args.trunks, args.tasks):
        setting = Setting(trunk, tasks, tuple(args.methods), batch={"mlp": 128, "transformer": 32}[trunk])
        record = measure(setting, args.rounds)
        ours, theirs = (columns(*record[side].values(), tasks) for side in SIDES)
        rows = []
        for name, cells in ours.items():
            other = theirs.get(name, [None] * len(cells))
            rows.append(
                [name, *cells, *other, cells[1] / other[1] if name in args.methods and name in theirs else None]
            )
        header = ["method", *COLUMNS, *(f"TorchJD {column}" for column in COLUMNS), "tf_mtl / TorchJD"]
        title = f"{trunk}, {tasks} tasks, batch {setting.batch}, {args.rounds} rounds, {setting.threads} threads"
        texts.append(f"## {title}\n\n{table(header, rows, digits=2)}\n")
        records.append({"setting": setting._asdict(), **record})
        print(texts[-1], flush=True)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "balancing.md").write_text("\n".join(texts))
    (args.output / "balancing.json").write_text(json.dumps(records))


if __name__ == "__main__":
    main()
