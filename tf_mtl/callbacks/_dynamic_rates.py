"""Draw a mixture's sources by how far their results lag behind."""

from collections.abc import Mapping

import keras
import numpy as np

from tf_mtl._names import nearest
from tf_mtl.callbacks._direction import direction
from tf_mtl.data._dynamic_rates import DynamicRates as Rates


class DynamicRates(keras.callbacks.Callback):
    r"""Settles the rates of a mixture for the next epoch: the further behind a source's result, the more rows.

    At the end of each epoch $p_i \propto \max(g_i, \text{floor})$, with $g_i$ how far the monitored result $M_i$ lags
    behind the reference $B_i$, relatively: $(B_i - M_i) / |B_i|$, its sign turned where lower is better, as
    `tf_mtl.report.compare` tells by the metric's name. Monitor results of validation data with labels for all: without
    any the logs say 0. The paper's reference is the single-task result. Rates and best
    results are saved by `tf_mtl.callbacks.Checkpoint`.

    Args:
        rates: The `tf_mtl.data.DynamicRates` that the mixture given to `fit` was made with.
        monitor: `{source: name in the logs}`, such as `{"news": "val_entities_f1"}`, for every source.
        reference: `{source: single-task result}`. None: a source's best result so far, of which it lags behind when it
            is being forgotten.
        floor: The least lag that counts, so that no source is lost; above 0. While no source lags further, all are
            drawn alike.

    Raises:
        ValueError: for other sources than those of `rates`, a reference of 0, or a floor not above 0; in `fit`, for a
            mixture of other rates, and results that are not in the logs or not finite.

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
            raise ValueError(f"`floor` must be above 0, or a source may never be drawn again; received {floor!r}.")
        self.rates = rates
        self.monitor = dict(monitor)
        self.reference = reference
        self.floor = floor

    def on_train_begin(self, logs=None):
        mixture = self.model._feed.mixture
        if mixture is None or mixture.rates is not self.rates:
            raise ValueError(
                "`rates` must be those of the mixture that `fit` is given: mtl.data.mix(..., rates=rates)."
            )
        if self.params["steps"] != len(mixture):
            raise ValueError(
                f"`steps_per_epoch` must be {len(mixture)}, an epoch of the mixture, after which its rates change; "
                f"received {self.params['steps']}. Leave it out, and give mtl.data.mix(..., epoch=steps)."
            )
        # Lists of arrays, which `Checkpoint` saves.
        self.settled = [self.rates.history[:1]]
        self.best = [np.full(len(self.rates.sources), np.nan)]
        self._in_force = None

    def on_train_batch_begin(self, batch, logs=None):
        if self._in_force is not self.settled:  # a new run, or one that goes on
            self._in_force = self.settled
            self.rates.history = self.settled[0]

    def on_epoch_end(self, epoch, logs=None):
        lags = {source: self._lag(place, source, logs or {}) for place, source in enumerate(self.rates.sources)}
        self.rates.append({source: max(lag, self.floor) for source, lag in lags.items()})
        self.settled = self._in_force = [self.rates.history]

    def _lag(self, place, source, logs):
        """How far a source's result is behind, relatively; below 0 where it is ahead."""
        name = self.monitor[source]
        if not np.isfinite(logs.get(name, np.nan)):
            found = f"which is {logs[name]}" if name in logs else f"which is not in the logs.{nearest(name, logs)}"
            raise ValueError(f"`monitor['{source}']` is '{name}', {found} Monitor a result of the validation data.")
        sign = direction(name, self.model.task_names)
        if self.reference is None:
            self.best[0][place] = sign * np.fmax(sign * self.best[0][place], sign * logs[name])
        base = self.best[0][place] if self.reference is None else self.reference[source]
        return sign * (base - logs[name]) / (abs(base) or 1.0)
