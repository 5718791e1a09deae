"""What the formats without decoding share: the model's own outputs, from its inputs by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._model import MultiTaskModel
from tf_mtl.export._inputs import model_specs, pack
from tf_mtl.export._requests import named
from tf_mtl.export._verdict import difference


def forward(model: MultiTaskModel, tasks: Sequence[str]) -> tf.types.experimental.PolymorphicFunction:
    """Return a function from the model's inputs, in a row, to `{task: output}`; other heads are not in it."""
    part = keras.Model(model.input, {task: model.output[task] for task in tasks})
    specs = keras.tree.flatten(model_specs(model))

    def answer(*inputs):
        outputs = part(keras.tree.pack_sequence_as(model.input, inputs), training=False)
        return {task: tf.identity(output, name=task) for task, output in outputs.items()}

    return tf.function(answer, input_signature=specs, autograph=False)


def right_outputs(model: MultiTaskModel, examples: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return examples (made up, if None) by input name, and the model's outputs for them."""
    specs = model_specs(model)
    inputs = named(examples, {spec.name: spec for spec in keras.tree.flatten(specs)})
    with tf.device("CPU"):
        outputs = model(pack(specs, inputs), training=False)
    return inputs, {task: output.numpy() for task, output in outputs.items()}


def check_outputs(kind: str, found: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray], most: float) -> float:
    """Return the largest |found - right| / (1 + |right|).

    Raises:
        ValueError: if it is above `most`.
    """
    apart = difference(found, right)
    if not apart <= most:
        raise ValueError(
            f"The {kind} model answers otherwise than the Keras model, by {apart:.1e} (at most {most} is right). "
            "Nothing was written."
        )
    return apart
