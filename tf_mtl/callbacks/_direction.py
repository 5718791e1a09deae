"""Whether more or less of a metric in the logs is better."""

from collections.abc import Iterable

from tf_mtl.report import compare


def direction(name: str, tasks: Iterable[str]) -> float:
    """Return 1 where more is better and -1 where less is, as `tf_mtl.report.compare` tells by the metric's own name.

    Args:
        name: What the metric is called in the logs, such as "val_ner_loss".
        tasks: The names of the tasks, one of which it may begin with.
    """
    metric = name.removeprefix("val_")
    owners = [task for task in tasks if metric.startswith(f"{task}_")]
    metric = metric.removeprefix(f"{max(owners, key=len)}_") if owners else metric
    return compare({"": {metric: 2.0}}, {"": {metric: 1.0}}).rows[0][-1]
