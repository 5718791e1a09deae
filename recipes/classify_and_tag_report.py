"""The table of the joint model beside the single-task models."""

from collections.abc import Mapping
from typing import Any

import tf_mtl as mtl

METRICS = {
    "domain": ("accuracy", "macro_f1"),
    "polarity": ("accuracy", "macro_f1"),
    "entities": ("span_f1",),
    "pos": ("accuracy",),
}


def print_results(
    rates: str, joint: Mapping[str, Any], single: Mapping[str, float], fractions: Mapping[str, float], steps: int
) -> None:
    """Print the test results.

    Args:
        rates: How the sources were mixed.
        joint: The joint model's `test` results and `train_seconds`.
        single: The single-task models' test results; {} without such models.
        fractions: The fraction of the joint model's rows that came from each source.
        steps: Updates of each model.
    """
    sources = ", ".join(f"{source} {fraction:.1%}" for source, fraction in fractions.items())
    print(
        f"\n{steps:,} updates in {joint['train_seconds']:.0f} s; rows drawn ({rates}): {sources}. On the test data:\n"
    )
    if single and all(single.values()):
        print(mtl.report.compare(_by_task(joint["test"]), _by_task(single)))
    else:  # a gain relative to 0 is not defined
        rows = [
            [task, metric, joint["test"][f"{task}_{metric}"], single.get(f"{task}_{metric}", "")]
            for task, metrics in METRICS.items()
            for metric in metrics
        ]
        print(mtl.report.table(["task", "metric", "multi-task", "single-task"], rows, digits=4))


def _by_task(results: Mapping[str, float]) -> dict[str, dict[str, float]]:
    return {task: {metric: results[f"{task}_{metric}"] for metric in metrics} for task, metrics in METRICS.items()}
