"""The effect of a change to a model on its results."""

from collections.abc import Mapping

from tf_mtl._names import check_names
from tf_mtl.report._table import table


def variants(results: Mapping[str, Mapping[str, float]]) -> str:
    """Return a table of the results of a model and of changed versions, with the change from the first to the last.

    Args:
        results: `{version: {metric: value}}`, beginning with the original model. `evaluate(return_dict=True)` returns
            the results of a version.

    Raises:
        ValueError: for fewer than two versions, or metrics that only some of them have.

    Example:

    >>> print(mtl.report.variants({"float32": {"topic_accuracy": 0.9}, "int8": {"topic_accuracy": 0.89}}))
    | metric         | float32 |   int8 |  change |
    |----------------|--------:|-------:|--------:|
    | topic_accuracy |  0.9000 | 0.8900 | -0.0100 |
    """
    names = list(results)
    if len(names) < 2:
        raise ValueError(f"`results` must contain at least two versions, received {names}.")
    first, last = results[names[0]], results[names[-1]]
    for name in names[1:]:
        check_names(f"results['{name}']", results[name], first)
    rows = [
        [metric, *(float(results[name][metric]) for name in names), float(last[metric] - first[metric])]
        for metric in first
    ]
    return table(["metric", *names, "change"], rows, digits=4)
