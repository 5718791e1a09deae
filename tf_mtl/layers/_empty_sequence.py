"""Empty inputs for decoders."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl.layers._stop_gradient import StopGradient


@keras.saving.register_keras_serializable("tf_mtl")
class EmptySequence(StopGradient):
    """Returns two zero vectors for each row of a sequence, [B, 2, D] from [B, S, D]; it reads nothing but the shape.

    Attention to one vector would do the same, but Keras warns of it.
    """

    def call(self, inputs: Any) -> Any:
        """Return the vectors."""
        return keras.ops.zeros_like(keras.ops.repeat(inputs[:, :1], 2, 1))

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """Return no mask."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the vectors."""
        return (input_shape[0], 2, *input_shape[2:])


@keras.saving.register_keras_serializable("tf_mtl")
class NoTokens(StopGradient):
    """Returns no token ids for each row of any tensor, int32 [B, 0]."""

    def call(self, inputs: Any) -> Any:
        """Return the token ids."""
        return tf.zeros([tf.shape(inputs)[0], 0], tf.int32)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """Return no mask."""

    def compute_output_spec(self, inputs: Any) -> Any:
        """Return the shape of no token ids."""
        return keras.KerasTensor((inputs.shape[0], 0), "int32")
