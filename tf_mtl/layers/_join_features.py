"""Join a task's features with what it reads of other tasks."""

from typing import Any

import keras

from tf_mtl.layers._masked_mean import masked_mean


@keras.saving.register_keras_serializable("tf_mtl")
class JoinFeatures(keras.layers.Layer):
    """Concatenates tensors on their last axis, at the positions of the first; from a list of them.

    A vector [B, C] is repeated at each position of a sequence or map. A sequence or map is averaged over its unmasked
    positions where the first tensor is a vector.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Check the shapes.

        Raises:
            ValueError: if two tensors have positions that do not match.
        """
        first, *others = input_shape
        for shape in others:
            if 2 not in (len(first), len(shape)) and not _match(first[1:-1], shape[1:-1]):
                raise ValueError(
                    f"`after` of the task of '{self.name}' must name tasks with the positions of its own features or "
                    f"without positions, received the shape {tuple(shape)} for {tuple(first)}. Choose other features."
                )

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Return the joined tensor."""
        first, *others = inputs
        masks = [None] * len(inputs) if mask is None else mask
        parts = [first, *(_at_positions(x, m, first) for x, m in zip(others, masks[1:], strict=True))]
        return keras.ops.concatenate([keras.ops.cast(part, first.dtype) for part in parts], -1)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Return the mask of the first tensor."""
        return None if previous_mask is None else previous_mask[0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the first tensor's shape, with the size of all of them on the last axis."""
        return (*input_shape[0][:-1], sum(shape[-1] for shape in input_shape))


def _match(positions, others):
    return len(positions) == len(others) and all(
        None in pair or pair[0] == pair[1] for pair in zip(positions, others, strict=True)
    )


def _at_positions(x, mask, first):
    rank = len(first.shape)
    if len(x.shape) == 2 and rank > 2:
        x = keras.ops.reshape(x, (-1, *[1] * (rank - 2), x.shape[-1]))
        return keras.ops.broadcast_to(x, (*keras.ops.shape(first)[:-1], x.shape[-1]))
    if rank == 2 and len(x.shape) > 2:
        return keras.ops.mean(x, list(range(1, len(x.shape) - 1))) if mask is None else masked_mean(x, mask)
    return x
