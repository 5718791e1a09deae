"""Thresholds between ordered levels."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("tf_mtl")
class OrderedThresholds(keras.layers.Layer):
    r"""Logits [..., K - 1] of exceeding each of K - 1 thresholds, from scores [..., 1].

    $$z_k = x + b_0 - \sum_{j=1}^{k} \mathrm{softplus}(d_j)$$

    with trained $b_0$ and $d$, so that the probability of exceeding a threshold never rises with the threshold.

    Args:
        thresholds: K - 1.
        **kwargs: See `keras.layers.Layer`.
    """

    def __init__(self, thresholds: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.thresholds = thresholds

    def build(self, input_shape: Any) -> None:
        """Make the weights: the first threshold is 0 on average, and the distances are those of equal logits."""
        self.first = self.add_weight(shape=(1,), initializer="zeros", name="first")
        self.distances = self.add_weight(shape=(self.thresholds - 1,), initializer="zeros", name="distances")

    def call(self, inputs: Any) -> Any:
        """Return the logits."""
        steps = keras.ops.cumsum(keras.ops.softplus(self.distances))
        below = keras.ops.concatenate([self.first, self.first - steps])
        return inputs + keras.ops.cast(below, inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the logits."""
        return (*input_shape[:-1], self.thresholds)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.thresholds}
