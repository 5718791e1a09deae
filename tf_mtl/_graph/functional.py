"""What Keras' functional models need before they are trained on several tasks."""

from typing import Any

import keras


class ClonedOutputs(dict[str, keras.KerasTensor]):
    """The outputs of a cloned graph, with what `keras.models.clone_model` does not pass to the new model.

    Attributes:
        tasks: The task objects of the model that was cloned.
        trunk: Its sharing structure.
    """

    def __init__(self, outputs: dict[str, keras.KerasTensor], tasks: Any, trunk: Any):
        super().__init__(outputs)
        self.tasks, self.trunk = tasks, trunk


def as_float32(task: str, output: keras.KerasTensor) -> keras.KerasTensor:
    """Return a task's output, cast to float32 if it has another precision."""
    if keras.backend.standardize_dtype(output.dtype) in ("float16", "bfloat16", "float64"):
        return keras.layers.Activation("linear", dtype="float32", name=f"{task}_float32")(output)
    return output


def freeze_again(model: keras.Model) -> None:
    """Freeze what is inside frozen layers: Keras makes the parts trainable that a layer gets when it is built."""
    for layer in model._flatten_layers(include_self=False):
        if not layer.trainable:
            layer.trainable = True  # assigning the current value has no effect
            layer.trainable = False


def check_layer_names(model: keras.Model) -> None:
    """Raise for a layer whose name TensorFlow does not accept.

    Raises:
        ValueError: naming the layer.
    """
    for layer in model.layers:
        if not layer.name.isascii() and not isinstance(layer, keras.layers.InputLayer):
            raise ValueError(
                "The layers of `outputs` must have ASCII names, since TensorFlow accepts no others in a graph, "
                f"received '{layer.name}'. Rename the layer; a key of `outputs` may have any name."
            )
