"""Attach a mask to a sequence, for Keras' layers, losses and metrics."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._shapes import with_keras_mask


@keras.saving.register_keras_serializable("tf_mtl")
class AttachMask(keras.layers.Layer):
    """Returns a sequence [B, S, D], to which a mask [B, S] is attached as Keras' layers do; from both, as a list."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Return the sequence."""
        sequence, mask = inputs
        return with_keras_mask(tf.identity(sequence), tf.cast(mask, tf.bool))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the sequence's shape."""
        return tuple(input_shape[0])
