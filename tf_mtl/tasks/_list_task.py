"""The base of tasks that score lists of candidates."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._keys import CANDIDATES
from tf_mtl.layers._mask_candidates import MaskCandidates
from tf_mtl.layers._mask_scores import AtValidPositions
from tf_mtl.tasks._base import Task


class ListTask(Task):
    """A task with a score for each of the N candidates of a row, [B, N].

    The head reads the features `candidates` [B, N, D] and `candidates_mask` [B, N], which is False for padded
    candidates. With another feature, such as `documents`, the mask is `documents_mask`. Without a mask among the
    features, the one that Keras has attached to the candidates counts; without either, all candidates are valid.

    Subclasses define what those of `Task` do, for candidates; `output_layer` returns scores [B, N, 1], by default those
    of a dense layer. In `decode`, `valid_mask` gives the candidates that are not padded; the score of the others is
    -1e9.

    Args:
        name: The task's name.
        features: The candidates that the head reads, a key of the encoder's dict of features.
        **kwargs: See `Task`.
    """

    def __init__(self, name: str, features: str = CANDIDATES, **kwargs: Any):
        super().__init__(name, features=features, **kwargs)

    @property
    def output_units(self) -> int:
        """The number of scores of a candidate, 1."""
        return 1

    def head(self, features: Mapping[str, keras.KerasTensor]) -> keras.KerasTensor:
        """Return the task's symbolic output.

        Raises:
            ValueError: if the encoder does not return the candidates.
        """
        if self.features in features and len(features[self.features].shape) != 3:
            raise ValueError(
                f"Task '{self.name}' reads candidates [B, N, D], but features['{self.features}'] has the shape "
                f"{features[self.features].shape}. Set the task's `features`, or choose another encoder."
            )
        return MaskCandidates(name=self.name)(super().head(features))

    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the candidates' scores [B, N, 1], before padded ones are marked."""
        return self.dense(self.output_units, f"{self.name}_scores")(x)

    def readable(self, output: keras.KerasTensor, part: str) -> keras.KerasTensor:
        """Return the candidates' scores [B, N, 1] or hidden features [B, N, D], zero for padded ones."""
        scores = keras.layers.Reshape((-1, 1), dtype="float32", name=f"{self.name}_{part}_mask")(output)
        tensor = scores if part == "output" else super().readable(output, part)
        return AtValidPositions(name=f"{self.name}_{part}_of_candidates")([tensor, scores])

    def valid_mask(self, output: tf.Tensor) -> tf.Tensor:
        """Return which candidates are not padded, [B, N]."""
        return MaskCandidates.valid_mask(output)
