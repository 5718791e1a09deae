"""Weights that KerasTuner has chosen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_mtl._names import check_names
from tf_mtl.analysis._runs import check_metric
from tf_mtl.analysis._weight_search import Trial, WeightSearch, checked_lower


def tuned_weights(
    tuner: Any, weights: Mapping[str, str], metrics: Mapping[str, str], lower_is_better: Sequence[str] | None = None
) -> WeightSearch:
    """Return the trade-offs between the tasks in the trials of a KerasTuner search.

    KerasTuner chooses the weights if the function that builds the model asks for them. Its objective is a single
    number, such as `val_gain` of `tf_mtl.callbacks.MultiTaskEarlyStopping` or `val_loss`; the trade-offs are in the
    logs of the trials.

    Args:
        tuner: A tuner of keras_tuner (`pip install tf_mtl[tuner]`), after `search`.
        weights: `{task: name of the hyperparameter}`.
        metrics: `{task: name in the logs}`, such as "val_ner_span_f1"; the result is that of the trial's best epoch.
        lower_is_better: See `weights`.

    Raises:
        ValueError: if the tasks of `weights` and `metrics` differ, or no trial has completed.

    Example:

    ```python
    def build(hp):
        model = mtl.build_model(inputs, trunk(), tasks())
        weights = {task: hp.Float(task, 0.1, 10, sampling="log") for task in ("topic", "ner")}
        model.compile("adamw", loss_weights=weights)
        return model

    tuner = keras_tuner.BayesianOptimization(build, keras_tuner.Objective("val_topic_accuracy", "max"), max_trials=20)
    tuner.search(train, validation_data=validation, epochs=3)
    metrics = {"topic": "val_topic_accuracy", "ner": "val_ner_span_f1"}
    print(mtl.analysis.tuned_weights(tuner, {"topic": "topic", "ner": "ner"}, metrics))
    ```
    """
    check_names("weights", weights, metrics)
    lower = checked_lower(lower_is_better, metrics)
    trials = [trial for trial in tuner.oracle.trials.values() if trial.status == "COMPLETED"]
    if not trials:
        raise ValueError("`tuner` must have completed a trial, but has none. Call its `search` first.")
    found = [
        Trial(
            {task: float(trial.hyperparameters.get(name)) for task, name in weights.items()},
            {task: _at_best_step(trial, name) for task, name in metrics.items()},
        )
        for trial in trials
    ]
    return WeightSearch(tuple(found), dict(metrics), lower)


def _at_best_step(trial: Any, name: str) -> float:
    check_metric("metrics", name, trial.metrics.metrics)
    history = {each.step: each.value for each in trial.metrics.get_history(name)}
    return float(np.mean(history[trial.best_step]))
