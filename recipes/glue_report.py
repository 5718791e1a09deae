"""The table of GLUE's metrics, and the gains over single-task models."""

from collections.abc import Mapping

from glue_metrics import METRICS

import tf_mtl as mtl

Results = Mapping[str, float]


def print_results(joint: Results, tuned: Results, single: Results) -> None:
    """Print the results on the development sets.

    Args:
        joint: Those of the joint model, `{"<task>_<metric>": value}`.
        tuned: Those of the models that were tuned further; {} without such models.
        single: Those of single-task models; {} without such models.
    """
    columns = {"joint": joint, "tuned": tuned, "single-task": single}
    columns = {name: results for name, results in columns.items() if results}
    rows = [
        [task, metric, *(results[f"{task}_{metric}"] for results in columns.values())]
        for task, metrics in METRICS.items()
        for metric in metrics
    ]
    print(mtl.report.table(["task", "metric", *columns], rows, digits=4))
    if single and all(single.values()):  # a gain relative to 0 is not defined
        for name in columns.keys() - {"single-task"}:
            comparison = mtl.report.compare(_by_task(columns[name]), _by_task(single))
            print(f"\ndelta-m of {name} models, mean relative gain over tasks: {comparison.gain_per_task:+.2%}")


def _by_task(results: Results) -> dict[str, dict[str, float]]:
    return {task: {metric: results[f"{task}_{metric}"] for metric in metrics} for task, metrics in METRICS.items()}
