"""The table of models that share more or fewer layers, and the joint model beside the pipeline."""

from collections.abc import Mapping
from typing import Any

import tf_mtl as mtl

METRICS = {"entities": ("micro_f1", "macro_f1"), "relations": ("micro_f1", "macro_f1")}


def print_results(results: Mapping[int | str, Mapping[str, Any]], pipeline: str) -> None:
    """Print the test results.

    Args:
        results: Each model's `test` results and `train_seconds`, by its number of own layers.
        pipeline: The key of the model that shares nothing.
    """
    names = [f"{task}_{metric}" for task, metrics in METRICS.items() for metric in metrics]
    rows = [
        [own, *(entry["test"][name] for name in names), round(entry["train_seconds"])] for own, entry in results.items()
    ]
    header = ["own layers", *(name.replace("_", " ").replace("f1", "F1") for name in names), "seconds"]
    print("\nStrict F1 on the test data:\n")
    print(mtl.report.table(header, rows, digits=4))
    single = _by_task(results[pipeline]["test"]) if pipeline in results else {}
    if single and all(value for metrics in single.values() for value in metrics.values()):
        joint = _by_task(next(iter(results.values()))["test"])
        print(f"\nThe first of them beside the pipeline:\n\n{mtl.report.compare(joint, single)}")


def _by_task(results: Mapping[str, float]) -> dict[str, dict[str, float]]:
    return {task: {metric: results[f"{task}_{metric}"] for metric in metrics} for task, metrics in METRICS.items()}
