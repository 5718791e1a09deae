"""Conversions after a click, learned over all impressions."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._assertions import assert_none
from tf_mtl._keys import after_key
from tf_mtl.layers._join_conversion import JoinConversion
from tf_mtl.losses import ConversionCrossentropy
from tf_mtl.losses._conversion_crossentropy import log_probabilities
from tf_mtl.metrics import CalibrationError, NormalizedEntropy, OfConversion
from tf_mtl.tasks._base import Task


@keras.saving.register_keras_serializable("tf_mtl")
class Conversion(Task):
    r"""What follows a click, such as a purchase: the entire-space model of click and conversion.

    The head has a logit of its own, for a conversion after a click, and reads that of the click's task. The loss is the
    cross-entropy of $\sigma(click) \, \sigma(conversion)$ with "clicked and converted" over all impressions, not over
    clicks alone, so that the estimate also holds for impressions without a click. It trains the click's head as well,
    unless `after_gradients=False`.

    Labels are 1 for a click with a conversion and 0 otherwise, [B] or [B, 1]. A conversion without a click is an error.
    The output is [B, 3]: both logits, and the click's label, -1 where it is missing. Metrics over all impressions:
    `auc`, `calibration_error`, `normalized_entropy`; over clicks: `cvr_auc`, `cvr_calibration_error`. Other metrics of
    logits need `tf_mtl.metrics.OfConversion` around them.
    Decoded, all [B]: `ctr`, the probability of a click; `cvr`, that of a conversion after a click; `ctcvr`, of both.

    The model's inputs must be a dict, since the labels of clicks are an input of training and evaluation.

    Args:
        name: The task's name.
        after: The click's task, a `BinaryClassification`, and any other tasks that the head reads, as in `Task`. The
            click's is the first one.
        propensity: The factor of the loss among clicks, weighted by the inverse of the predicted propensity to click;
            see `tf_mtl.losses.ConversionCrossentropy`. 0 for none.
        clip: The smallest propensity.
        **kwargs: See `Task`.

    Raises:
        ValueError: if `after` names no task, or another part of the click's than its output; if a number is out of
            range.

    References: Ma et al., "Entire space multi-task model", SIGIR 2018; Wang et al., "ESCM2", SIGIR 2022.

    Example:

    >>> tasks = [mtl.tasks.BinaryClassification("click"), mtl.tasks.Conversion("buy", after="click")]
    >>> answer = tasks[1].decode(np.array([[0.0, 0.0, -1.0]]))
    >>> {name: float(value[0]) for name, value in answer.items()}
    {'ctr': 0.5, 'cvr': 0.5, 'ctcvr': 0.25}
    """

    def __init__(
        self,
        name: str,
        after: str | Sequence[str] | Mapping[str, str],
        propensity: float = 0.0,
        clip: float = 0.05,
        **kwargs: Any,
    ):
        super().__init__(name, after=after, **kwargs)
        self.click = next(iter(self.after), "")
        if self.after.get(self.click) != "output":
            raise ValueError(
                f"`after` of task '{name}' must begin with the click's task, whose output it reads, received {after!r}."
            )
        self._loss = ConversionCrossentropy(propensity, clip)
        self._clicks_input = f"{name}_clicks"

    @property
    def output_units(self) -> int:
        """3: both logits, and the click's label."""
        return 3

    @property
    def loss(self) -> keras.losses.Loss:
        """The cross-entropy over all impressions."""
        return self._loss

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return metrics over all impressions, and over clicks."""
        auc = keras.metrics.AUC(from_logits=True, name="auc")
        of_clicks = [keras.metrics.AUC(from_logits=True, name="auc"), CalibrationError(from_logits=True)]
        of_all = [auc, CalibrationError(from_logits=True), NormalizedEntropy(from_logits=True)]
        return [*map(OfConversion, of_all), *(OfConversion(metric, "clicks") for metric in of_clicks)]

    def own_inputs(self) -> dict[str, keras.KerasTensor]:
        """Return the input for the labels of clicks, [B, 1]."""
        return {self._clicks_input: keras.Input((1,), name=self._clicks_input, optional=True)}

    def fill_own_inputs(self, labels: Mapping[str, tuple[Any, Any]], training: bool) -> dict[str, tf.Tensor]:
        """Return the labels of clicks, -1 where one is missing.

        Raises:
            ValueError: for a conversion without a click.
        """
        if self.click not in labels:
            return {}
        clicks, conversions = (self._column(labels[task]) for task in (self.click, self.name))
        rule = f"A label of '{self.name}' must be 0 where that of '{self.click}' is 0."
        checked = assert_none((conversions > 0) & (clicks == 0), conversions, rule)
        with tf.control_dependencies([checked]):
            return {self._clicks_input: tf.identity(clicks)}

    def _column(self, labelled):
        """Labels [B, 1], -1 where one is missing."""
        y, weight = labelled
        y = tf.reshape(tf.cast(y, tf.float32), [-1, 1])
        return y if weight is None else tf.where(tf.reshape(tf.cast(weight, tf.float32), [-1, 1]) > 0, y, -1.0)

    def head(self, features: Mapping[str, keras.KerasTensor]) -> keras.KerasTensor:
        """Return the task's symbolic output.

        Raises:
            ValueError: if the encoder does not return the features that the task reads, or the click's task has not one
                logit.
        """
        click = features[after_key(self.click)]
        if len(click.shape) != 2 or click.shape[-1] != 1:
            raise ValueError(
                f"`after` of task '{self.name}' must begin with a BinaryClassification, but the output of "
                f"'{self.click}' has the shape {click.shape}."
            )
        logit = self.dense(1, f"{self.name}_logit")(self.read(features))
        return JoinConversion(name=self.name)([click, logit], features.get(self._clicks_input))

    def joined_tasks(self) -> list[str]:
        """The tasks that the head's features are joined with: all but the click's."""
        return [task for task in self.after if task != self.click]

    def predictions(self, output: tf.Tensor) -> tf.Tensor:
        """Return the logits of both and of a conversion after a click, and the labels of clicks, [B, 3]."""
        click, conversion, is_click = tf.unstack(output, num=3, axis=-1)
        both, not_both = log_probabilities(click, conversion)
        return tf.stack([both - not_both, conversion, is_click], -1)

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the probabilities `ctr`, `cvr` and `ctcvr`, all [B]."""
        click, conversion, _ = tf.unstack(tf.cast(output, tf.float32), num=3, axis=-1)
        both, _ = log_probabilities(click, conversion)
        return {"ctr": tf.sigmoid(click), "cvr": tf.sigmoid(conversion), "ctcvr": tf.exp(both)}

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the loss with the teacher's probability of a click with a conversion, one value per row."""
        both, _ = log_probabilities(target[:, 0], target[:, 1])
        return self.loss.call(tf.exp(both), output)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "propensity": self._loss.propensity, "clip": self._loss.clip}
