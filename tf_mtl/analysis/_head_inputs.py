"""What the tasks' heads read, read off the functional graph."""

from typing import Any, NamedTuple

import keras
import numpy as np

from tf_mtl._model import MultiTaskModel
from tf_mtl._optional_inputs import OptionalInputs
from tf_mtl._shapes import keras_mask
from tf_mtl.layers._attach_mask import AttachMask
from tf_mtl.layers._first_subwords import FirstSubwords
from tf_mtl.layers._mask_scores import MaskScores
from tf_mtl.layers._mix_stages import MixStages


class HeadInput(NamedTuple):
    """What a task's head reads.

    Attributes:
        features: Vectors [B, D], a sequence [B, S, D] or a map [B, H, W, C].
        mask: The positions that are not padding, [B, S]; None for all, or those of the mask that Keras has attached to
            the features.
        word_starts: The positions at which words start, [B, S], if the head reads these alone; otherwise None.
    """

    features: keras.KerasTensor
    mask: keras.KerasTensor | None = None
    word_starts: keras.KerasTensor | None = None


class HeadFeatures(NamedTuple):
    """What a task's head reads of a batch.

    Attributes:
        values: The features [B, ..., D].
        valid: The positions that the head reads, [B, ...].
    """

    values: np.ndarray
    valid: np.ndarray


class HeadReader:
    """Computes what the heads of a model read, in inference mode.

    Args:
        model: A model built with task objects.
        further: Other symbolic tensors of the model to compute.

    Raises:
        ValueError: if the model was built without task objects.
    """

    def __init__(self, model: MultiTaskModel, further: Any = ()):
        read = head_inputs(model)
        masks = {task: each.mask if each.word_starts is None else each.word_starts for task, each in read.items()}
        outputs = {
            "features": {task: each.features for task, each in read.items()},
            "masks": {task: mask for task, mask in masks.items() if mask is not None},
            "further": further,
        }
        self._model = OptionalInputs(model.input, outputs)

    def __call__(self, inputs: Any) -> tuple[dict[str, HeadFeatures], Any]:
        """Return what each task's head reads of a batch, and the further tensors."""
        outputs = self._model(inputs, training=False)
        features = {}
        for task, values in outputs["features"].items():
            mask = outputs["masks"].get(task, keras_mask(values))
            valid = np.ones(values.shape[:-1], bool) if mask is None else np.asarray(mask) != 0
            features[task] = HeadFeatures(np.asarray(values), valid)
        return features, outputs["further"]


def head_inputs(model: MultiTaskModel) -> dict[str, HeadInput]:
    """Return what the head of each task reads; of several features, the first.

    A head is the layers before an output whose names are, or begin with, the task's, as `Task.head` names them.

    Raises:
        ValueError: if the model was built without task objects.
    """
    if not model.tasks:
        raise ValueError(
            "`model` must have task objects, which say where heads begin: build it with tf_mtl.build_model, or pass "
            "`tasks` to MultiTaskModel."
        )
    return {task: _head_input(task, output) for task, output in model.output.items()}


def _head_input(task: str, output: keras.KerasTensor) -> HeadInput:
    read = HeadInput(output)
    while True:
        operation, node_index, _ = read.features._keras_history
        if not _in_head(task, operation):
            return read
        first, *others = operation._inbound_nodes[node_index].input_tensors
        if isinstance(operation, FirstSubwords):  # whose mask of words was that of the scores
            read = HeadInput(first, word_starts=others[0])
        elif isinstance(operation, (AttachMask, MaskScores)) and others:
            read = read._replace(features=first, mask=others[0])
        else:
            read = read._replace(features=first)


def _in_head(task, operation):
    is_named_so = operation.name == task or operation.name.startswith(f"{task}_")
    return is_named_so and not isinstance(operation, (MixStages, keras.layers.InputLayer))
