"""The model's outputs before decoding, from its inputs by name, for the formats that do not decode."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._model import MultiTaskModel
from tf_mtl._optional_inputs import OptionalInputs
from tf_mtl._raw_inputs import model_specs, pack
from tf_mtl.export._requests import named
from tf_mtl.export._verdict import difference


def forward(model: MultiTaskModel, tasks: Sequence[str]) -> tf.types.experimental.PolymorphicFunction:
    """Return a function of the model's inputs, as positional arguments, to `{task: output}`, without other heads."""
    part = OptionalInputs(model.input, {task: model.output[task] for task in tasks})
    specs = model_specs(model)

    def outputs_of(*inputs):
        outputs = part(keras.tree.pack_sequence_as(specs, inputs), training=False)
        return {task: tf.identity(output, name=task) for task, output in outputs.items()}

    return tf.function(outputs_of, input_signature=keras.tree.flatten(specs), autograph=False)


def example_outputs(model: MultiTaskModel, examples: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return examples by input name, generated if None, and the model's outputs for them."""
    specs = model_specs(model)
    inputs = named(examples, {spec.name: spec for spec in keras.tree.flatten(specs)})
    with tf.device("CPU"):
        outputs = model(pack(specs, inputs), training=False)
    return inputs, {task: output.numpy() for task, output in outputs.items()}


def check_outputs(
    kind: str, outputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], tolerance: float
) -> float:
    """Return the largest |output - expected| / (1 + |expected|).

    Raises:
        ValueError: if it is above `tolerance`.
    """
    largest = difference(outputs, expected)
    if not largest <= tolerance:
        raise ValueError(
            f"The outputs of the {kind} model differ from those of the Keras model by {largest:.1e}, more than "
            f"{tolerance}. Nothing was written."
        )
    return largest
