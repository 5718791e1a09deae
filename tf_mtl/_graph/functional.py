"""What Keras' functional models need before they are trained on several tasks."""

import keras


def as_float32(task: str, output: keras.KerasTensor) -> keras.KerasTensor:
    """Return a task's output, cast to float32 if it has 16 bits."""
    if keras.backend.standardize_dtype(output.dtype) in ("float16", "bfloat16"):
        return keras.layers.Activation("linear", dtype="float32", name=f"{task}_float32")(output)
    return output


def freeze_again(model: keras.Model) -> None:
    """Freeze what is inside frozen layers: Keras makes the parts trainable that a layer gets when it is built."""
    for layer in model._flatten_layers(include_self=False):
        if not layer.trainable:
            layer.trainable = True  # assigning the current value has no effect
            layer.trainable = False
