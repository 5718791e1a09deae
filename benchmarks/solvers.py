"""Time and accuracy of the weightings' solvers, beside TorchJD's, on the same Gramians.

    pip install -e '.[benchmarks]'
    python benchmarks/solvers.py

The Jacobians [T, T + 5] are normal, with some pair of rows in conflict, and the logarithms of the rows' norms have the
given spread. The Gramian is that of the Jacobian rounded to its type. Times are per Gramian: ours of a loop over
Gramians in a graph, plain and compiled by XLA, TorchJD's of a loop in Python; all take turns. Errors are measured from
the Jacobian in float64 (see `solver_errors.py`); weights of 0, or none, have the error inf.
"""

import argparse
import itertools
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import solver_errors as errors
import tensorflow as tf
import torch
from torchjd import aggregation as torchjd

from tf_mtl import balancing
from tf_mtl.report import table

HEADER = ["method", "T", "spread", "type", "ms", "XLA ms", "TorchJD ms", "error", "p95, max", "XLA", "TorchJD"]
PATIENCE = 10_000  # milliseconds after which a way is not run again on the same Gramians


class Nash(torch.nn.Module):
    """TorchJD's NashMTL on a Gramian, from the same start at each call."""

    def __init__(self):
        super().__init__()
        self.weighting = None

    def forward(self, gramian: torch.Tensor) -> torch.Tensor:
        """Return the weights."""
        tasks = len(gramian)
        self.weighting = self.weighting or torchjd.NashMTL(tasks, max_norm=0.0).weighting
        self.weighting.prvs_alpha = np.ones(tasks, np.float32)
        values, vectors = torch.linalg.eigh(gramian.double())
        return self.weighting(vectors * values.clamp(min=0).sqrt())


# Ours, TorchJD's, and the errors; none for methods that draw or keep state.
METHODS: dict[str, tuple[Callable, Callable, dict[str, Callable]]] = {
    "MGDA": (balancing.MGDA, torchjd.MGDAWeighting, {"excess norm": errors.excess_norm}),
    "UPGrad": (balancing.UPGrad, torchjd.UPGradWeighting, {"distance": errors.upgrad, "conflict": errors.conflict}),
    "DualProj": (
        balancing.DualProj,
        torchjd.DualProjWeighting,
        {"distance": errors.dual_proj, "conflict": errors.conflict},
    ),
    "CAGrad": (
        partial(balancing.CAGrad, c=0.4, rescale=0),
        partial(torchjd.CAGradWeighting, c=0.4),
        {"gain": partial(errors.cagrad, c=0.4)},
    ),
    "NashMTL": (partial(balancing.NashMTL, max_norm=None), Nash, {"residual": partial(errors.unfairness, alpha=1)}),
    "FairGrad": (
        partial(balancing.FairGrad, alpha=2.0),
        partial(torchjd.FairGradWeighting, alpha=2.0),
        {"residual": partial(errors.unfairness, alpha=2)},
    ),
    "AlignedMTL": (balancing.AlignedMTL, torchjd.AlignedMTLWeighting, {"distance": errors.aligned_mtl}),
    "IMTLGrad": (balancing.IMTLGrad, torchjd.IMTLGWeighting, {"distance": errors.imtl_grad}),
    "PCGrad": (balancing.PCGrad, torchjd.PCGradWeighting, {}),
    "GradVac": (balancing.GradVac, torchjd.GradVacWeighting, {}),
    "SDMGrad": (balancing.SDMGrad, torchjd.SDMGradWeighting, {}),
    "MoDo": (balancing.MoDo, partial(torchjd.MoDoWeighting, gamma=0.1, rho=0.1), {}),
}


def jacobians(tasks: int, spread: float, count: int) -> np.ndarray:
    """Return Jacobians with a conflict, [N, T, T + 5]."""
    rng, found = np.random.default_rng(0), []
    while len(found) < count:
        jacobian = rng.normal(size=(tasks, tasks + 5)) * np.exp(spread * rng.normal(size=(tasks, 1)))
        if (jacobian @ jacobian.T).min() < 0:
            found.append(jacobian)
    return np.stack(found)


def solvers(name: str, tasks: int) -> list[Callable[[np.ndarray], np.ndarray]]:
    """Return the ways from Gramians [N, T, T] to weights [N, T]: our graph, that compiled by XLA, and TorchJD's."""
    make_ours, make_theirs, _ = METHODS[name]
    ours, theirs = make_ours(), make_theirs()
    ours.build((tasks, tasks))

    def in_graph(gramians):
        return tf.map_fn(lambda gramian: ours(gramian), gramians, parallel_iterations=1)

    def in_python(gramians):
        return [attempt(theirs, torch.from_numpy(gramian), tasks) for gramian in gramians]

    return [tf.function(in_graph), tf.function(in_graph, jit_compile=True), in_python]


def attempt(solve: Callable, given: Any, shape: Any) -> np.ndarray:
    """Return the weights in float64, NaN if there is an exception of any kind."""
    try:
        return np.asarray(solve(given), "float64")
    except Exception:
        return np.full(shape, np.nan)


def measure(name: str, dtype: str, problems: np.ndarray, ways: list[Callable], rounds: int) -> dict[str, Any]:
    """Return the ways' milliseconds per Gramian, the median over rounds, and by name their errors on each problem."""
    rounded = problems.astype(dtype)
    gramians = rounded @ rounded.swapaxes(1, 2)
    weights, milliseconds = [None] * len(ways), [[] for _ in ways]
    for compiles in ways[:2]:
        attempt(compiles, gramians, problems.shape[:2])
    for _, (i, way) in itertools.product(range(rounds), enumerate(ways)):
        if sum(milliseconds[i]) * len(gramians) < PATIENCE:
            started = time.perf_counter()
            weights[i] = attempt(way, gramians, problems.shape[:2])
            milliseconds[i].append(1000 * (time.perf_counter() - started) / len(gramians))
    with np.errstate(all="ignore"):
        found = {
            measured: [[error(j, w) for j, w in zip(problems, by_way, strict=True)] for by_way in weights]
            for measured, error in METHODS[name][2].items()
        }
    return {
        "milliseconds": [statistics.median(times) for times in milliseconds],
        "errors": {measured: np.nan_to_num(e, nan=np.inf, posinf=np.inf).tolist() for measured, e in found.items()},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--tasks", nargs="+", type=int, default=[2, 3, 10, 40])
    parser.add_argument("--spreads", nargs="+", type=float, default=[0.0, 1.0, 2.0])
    parser.add_argument("--types", nargs="+", choices=["float32", "float64"], default=["float32", "float64"])
    parser.add_argument("--count", type=int, default=20, help="Gramians of each kind")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"))
    args = parser.parse_args()

    warnings.filterwarnings("ignore", module="torchjd|cvxpy")
    texts, records = [], []
    for name in args.methods:
        rows = []
        for tasks, dtype in itertools.product(args.tasks, args.types):
            ways = solvers(name, tasks)
            for spread in args.spreads:
                found = measure(name, dtype, jacobians(tasks, spread, args.count), ways, args.rounds)
                records.append({"method": name, "tasks": tasks, "spread": spread, "type": dtype, **found})
                for measured, by_way in found["errors"].items() or [("", [])]:
                    worst = ["{:.0e}, {:.0e}".format(*np.quantile(e, [0.95, 1], method="inverted_cdf")) for e in by_way]
                    rows.append([name, tasks, spread, dtype, *found["milliseconds"], measured, *(worst or [""] * 3)])
        texts.append(table(HEADER, rows, digits=2) + "\n")
        print(texts[-1], flush=True)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "solvers.md").write_text("\n".join(texts))
    (args.output / "solvers.json").write_text(json.dumps(records))


if __name__ == "__main__":
    main()
