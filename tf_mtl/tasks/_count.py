"""Counts of things."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.losses import CellwisePoisson
from tf_mtl.tasks._base import Task
from tf_mtl.tasks._cellwise_metric import CellwiseMeanAbsoluteError
from tf_mtl.tasks._head_arguments import class_names


@keras.saving.register_keras_serializable("tf_mtl")
class Count(Task):
    r"""How many things there are, or how many of each of C kinds: the rates of Poisson distributions, [B, C].

    The output is $\exp(x + \log m)$, where x is near 0 before training and m is the mean count. Labels are numbers of
    at least 0, [B] or [B, C]; label weights are [B] for rows, or [B, C] if single counts are missing. The loss is the
    negative log-likelihood, without the term that depends on the label alone. Metrics: `mae` and `rmse`. Decoded:
    `rate`, the expected number, and `count`, the rate rounded to an integer; both [B], or [B, C] for several kinds.

    Args:
        name: The task's name.
        labels: The names of the kinds; none to count things of one kind.
        mean: The mean count, or that of each kind, with which training begins.
        **kwargs: See `Task`.

    Raises:
        ValueError: for duplicate names, means that are not positive, or another number of means than of kinds.

    Example:

    >>> task = mtl.tasks.Count("cells", labels=["red", "white"], mean=[12.0, 1.0])
    >>> task.decode(np.array([[11.6, 0.4]]))["count"].numpy().tolist()
    [[12, 0]]
    """

    def __init__(self, name: str, labels: Sequence[str] = (), mean: float | Sequence[float] = 1.0, **kwargs: Any):
        super().__init__(name, **kwargs)
        self.labels = class_names(name, labels, least=0)
        means = [float(m) for m in mean] if isinstance(mean, Sequence) else [float(mean)] * self.output_units
        if len(means) != self.output_units or min(means) <= 0:
            raise ValueError(
                f"`mean` of task '{name}' must be a positive number, or one for each of {self.output_units} kinds, "
                f"received {mean}."
            )
        self.mean = means

    @property
    def output_units(self) -> int:
        """The number of kinds."""
        return max(len(self.labels), 1)

    @property
    def loss(self) -> keras.losses.Loss:
        """The Poisson loss of each count."""
        return CellwisePoisson()

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return the mean absolute error and the root mean squared error."""
        return [CellwiseMeanAbsoluteError(name="mae"), keras.metrics.RootMeanSquaredError(name="rmse")]

    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the rates."""
        logarithms = keras.ops.convert_to_numpy(keras.ops.log(keras.ops.array(self.mean))).tolist()
        x = self.dense(self.output_units, f"{self.name}_logarithm")(x)
        x = keras.layers.Rescaling(1.0, logarithms, dtype="float32", name=f"{self.name}_scaled")(x)
        return keras.layers.Activation("exponential", dtype="float32", name=self.name)(x)

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `rate` and `count`, [B] or [B, C]."""
        rate = tf.cast(output, tf.float32)
        if not self.labels:
            rate = rate[..., 0]
        return {"rate": rate, "count": tf.cast(tf.round(rate), tf.int32)}

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "labels": self.labels, "mean": self.mean}
