"""Moving averages of weights."""

import keras
import tensorflow as tf

from tf_mtl.balancing._arguments import in_range
from tf_mtl.balancing._base import Weighting


@keras.saving.register_keras_serializable("tf_mtl")
class EMA(Weighting):
    r"""CR-MOGM: moving averages $\lambda \leftarrow \beta \lambda + (1 - \beta) w$ of any weighting's weights w.

    A task's first weight is taken as it is, and its average stays while its gradient is zero, as without labels.

    Needs: what the weighting needs.
    Cost: that of the weighting.
    Reference: Zhou et al., "On the Convergence of Stochastic Multi-Objective Gradient Manipulation and Beyond",
        NeurIPS 2022.

    Args:
        weighting: A weighting.
        beta: Share of the former weights, in [0, 1]; 0.9 in the paper.
        name: Name of the layer.

    Raises:
        TypeError: if `weighting` is not a weighting.
        ValueError: if `beta` is out of range.

    Example:

    >>> method = mtl.balancing.EMA(mtl.balancing.MGDA(), beta=0.9)
    """

    def __init__(self, weighting: Weighting, beta: float = 0.9, name: str | None = None):
        super().__init__(name=name)
        if not isinstance(weighting, Weighting):
            raise TypeError(f"`weighting` must be a Weighting of tf_mtl.balancing, received {weighting!r}.")
        self.weighting = weighting
        self.beta = in_range("beta", beta, 0, 1)
        self.halves = weighting.halves

    def name_tasks(self, tasks: tuple[str, ...]) -> None:
        """Learn the tasks' names, before `build`."""
        super().name_tasks(tasks)
        self.weighting.name_tasks(tasks)

    def build(self, input_shape):
        self.weighting.build(input_shape)
        self.mean = self.add_state("mean", input_shape[:1])
        self.begun = self.add_state("begun", input_shape[:1])

    def transform(self, losses: tf.Tensor) -> tf.Tensor:
        """Return what the weighting makes of the losses [T]."""
        return self.weighting.transform(losses)

    def end_epoch(self) -> None:
        """Tell the weighting that an epoch has ended."""
        self.weighting.end_epoch()

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T] and the losses [T], and update their average."""
        new = tf.cast(self.weighting.call(gramian, losses), tf.float32)
        present = tf.linalg.diag_part(gramian) != 0
        begun, mean = tf.convert_to_tensor(self.begun), tf.convert_to_tensor(self.mean)
        share = begun * self.beta
        mean = tf.where(present, share * mean + (1 - share) * new, mean)
        self.mean.assign(mean)
        self.begun.assign(tf.where(present, 1.0, begun))
        return tf.cast(mean, gramian.dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "weighting": keras.saving.serialize_keras_object(self.weighting),
            "beta": self.beta,
        }

    @classmethod
    def from_config(cls, config):
        """Return a method from `get_config`'s dict."""
        return cls(**{**config, "weighting": keras.saving.deserialize_keras_object(config["weighting"])})
