"""Whether higher or lower values of a metric in the logs are better."""

from collections.abc import Iterable

from tf_mtl.report._compare import compare


def direction(name: str, tasks: Iterable[str]) -> float:
    """Return 1 if higher is better and -1 if lower is, by the metric's name, as `tf_mtl.report.compare` does.

    Args:
        name: The name of the metric in the logs, such as "val_ner_loss".
        tasks: The names of the tasks; `name` may begin with one of them.
    """
    metric = name.removeprefix("val_")
    prefixes = [f"{task}_" for task in tasks if metric.startswith(f"{task}_")]
    metric = metric.removeprefix(max(prefixes, key=len)) if prefixes else metric
    return compare({"": {metric: 2.0}}, {"": {metric: 1.0}}).rows[0].gain
