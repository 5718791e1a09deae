"""The results that callbacks monitor, one for each task."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_mtl._names import check_names, nearest


def check_monitor(monitor: Any) -> dict[str, str]:
    """Return a dict {task: name in the logs}.

    Raises:
        ValueError: if it is none, or empty.
    """
    if not isinstance(monitor, Mapping) or not monitor:
        raise ValueError(f"`monitor` must be a dict {{task: name of a metric}}, received {monitor!r}.")
    return dict(monitor)


def check_monitored(monitor: Mapping[str, str], model: Any) -> None:
    """Check, when `fit` begins, that the logs will have the monitored results.

    Raises:
        ValueError: for unknown tasks and metrics, or validation metrics without validation data.
    """
    check_names("monitor", monitor, model.task_names, required=False)
    metrics = list(model.get_metrics_result())
    for task, name in monitor.items():
        if name.startswith("val_") and model._feed.validation is None:
            raise ValueError(f"`monitor['{task}']` is '{name}', but `fit` has no `validation_data`. Pass some.")
        if name.removeprefix("val_") not in metrics:
            names = [*metrics, *(f"val_{metric}" for metric in metrics)]
            raise ValueError(
                f"`monitor['{task}']` must be a metric of the model, received '{name}'. The metrics are "
                f"{metrics}, and those of validation begin with val_.{nearest(name, names)}"
            )


def improves(results: np.ndarray, best: np.ndarray, min_delta: float) -> np.ndarray:
    """Return which results are better than the best so far, by more than a fraction of it.

    Args:
        results: Results of which higher ones are better; NaN is never better.
        best: The best so far; -infinity before the first.
        min_delta: The fraction.
    """
    margin = min_delta * np.abs(np.where(np.isfinite(best), best, 0))
    return results > best + margin
