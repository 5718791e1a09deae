"""Draw a mixture's sources in proportion to how far their results lag behind."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tf_mtl._names import nearest
from tf_mtl.data._dynamic_rates import DynamicRates as Rates
from tf_mtl.report._direction import direction


class DynamicRates(keras.callbacks.Callback):
    r"""Sets the rates of a mixture for the next epoch: the further a source's result lags behind, the more rows.

    At the end of each epoch, the rates become $p_i \propto \max(g_i, \text{floor})$. The lag of source i is
    $g_i = (B_i - M_i) / |B_i|$, with the monitored result $M_i$ and the reference $B_i$; its sign is reversed if lower
    values are better, which `tf_mtl.report.compare` determines by the metric's name. Monitor results on validation data
    with labels for all tasks: without labels, the logs contain 0. In the paper, the references are single-task results.
    `tf_mtl.callbacks.Checkpoint` saves rates and best results.

    Args:
        rates: The `tf_mtl.data.DynamicRates` of the mixture given to `fit`.
        monitor: `{source: name in the logs}`, such as `{"news": "val_entities_f1"}`, for every source.
        reference: `{source: single-task result}`. None: each source's best result so far, behind which a source lags
            while the model forgets it.
        floor: The smallest lag, above 0, so that every source is drawn. Sources that lag less get the same rate.

    Raises:
        ValueError: if the sources are not those of `rates`, a reference is 0, or `floor` is not above 0; in `fit`, if
            the mixture has other rates, or results are not in the logs or not finite.

    Example:

    >>> rates = mtl.data.DynamicRates(["a", "b"])
    >>> rows = {
    ...     task: tf.data.Dataset.from_tensor_slices((np.ones((8, 4)), {task: np.ones(8)})) for task in ("a", "b")
    ... }
    >>> mixture = mtl.data.mix(rows, rates=rates, batch_size=4, seed=0)
    >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    >>> model = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression("a"), mtl.tasks.Regression("b")])
    >>> model.compile("sgd")
    >>> monitor = {"a": "a_mae", "b": "b_mae"}
    >>> lag = mtl.callbacks.DynamicRates(rates, monitor, reference={"a": 1e-6, "b": 1.0})
    >>> history = model.fit(mixture, epochs=2, callbacks=[lag], verbose=0)
    >>> bool(rates.history[1][0] > 0.9)
    True

    Reference: Gottumukkala et al., "Dynamic Sampling Strategies for Multi-Task Reading Comprehension", 2020.
    """

    def __init__(
        self,
        rates: Rates,
        monitor: Mapping[str, str],
        reference: Mapping[str, float] | None = None,
        floor: float = 0.01,
    ):
        super().__init__()
        for argument, given in {"monitor": monitor, "reference": reference}.items():
            if given is not None and set(given) != set(rates.sources):
                raise ValueError(f"`{argument}` must have the sources {rates.sources} as keys, received {list(given)}.")
        for source, value in (reference or {}).items():
            if not np.isfinite(value) or value == 0:
                raise ValueError(f"`reference['{source}']` must be a finite number other than 0, received {value!r}.")
        if not floor > 0:
            raise ValueError(f"`floor` must be above 0, so that every source is drawn, received {floor!r}.")
        self.rates = rates
        self.monitor = dict(monitor)
        self.reference = reference
        self.floor = floor

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        mixture = self.model._feed.mixture
        if mixture is None or mixture.rates is not self.rates:
            raise ValueError(
                "`rates` must be those of the mixture given to `fit`. Make it with mtl.data.mix(..., rates=rates)."
            )
        if self.params["steps"] != len(mixture):
            raise ValueError(
                f"`steps_per_epoch` must be {len(mixture)}, the mixture's epoch, after which its rates change; "
                f"received {self.params['steps']}. Leave it out, and pass mtl.data.mix(..., epoch=steps)."
            )
        # lists of arrays, since `Checkpoint` saves these
        self.settled = [self.rates.history[:1]]
        self.best = [np.full(len(self.rates.sources), np.nan)]
        self._in_force: list[np.ndarray] | None = None

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._in_force is not self.settled:  # in a new run, or after `Checkpoint` has restored it
            self._in_force = self.settled
            self.rates.history = self.settled[0]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        lags = {source: self._lag(index, source, logs or {}) for index, source in enumerate(self.rates.sources)}
        self.rates.append({source: max(lag, self.floor) for source, lag in lags.items()})
        self.settled = self._in_force = [self.rates.history]

    def _lag(self, index, source, logs):
        """How far a source's result lags behind, relatively; below 0 if it is ahead."""
        name = self.monitor[source]
        if not np.isfinite(logs.get(name, np.nan)):
            problem = f"which is {logs[name]}." if name in logs else f"which is not in the logs.{nearest(name, logs)}"
            raise ValueError(f"`monitor['{source}']` is '{name}', {problem} Monitor a result of the validation data.")
        sign = direction(name, self.model.task_names)
        if self.reference is None:
            self.best[0][index] = sign * np.fmax(sign * self.best[0][index], sign * logs[name])
        base = self.best[0][index] if self.reference is None else self.reference[source]
        return sign * (base - logs[name]) / (abs(base) or 1.0)
