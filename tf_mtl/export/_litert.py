"""A LiteRT file for phones and small devices."""

import json
import tempfile
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._files import whole_file
from tf_mtl._model import MultiTaskModel
from tf_mtl.export._forward import check_outputs, forward, right_outputs
from tf_mtl.report import table

_MOST = {None: 1e-4, "dynamic": 0.1}


def litert(
    model: MultiTaskModel,
    path: str | Path,
    quantization: str | None = None,
    examples: Any = None,
) -> Path:
    """Write a LiteRT (`.tflite`) file, and what its outputs mean beside it.

    Its signatures are `serving_default`, with every task's output by name, and `<task>`, with that task's alone. They
    take the model's inputs by name and give the model's own outputs: logits and standardised values, which are decoded
    outside, since strings would need TensorFlow's own ops on the device. `<path>.json` holds the tasks with their
    labels, in the order of the logits, and scales; `model.decode` reads the outputs where the model is at hand.

    The file is run with the interpreter of `ai_edge_litert` (install `tf_mtl[litert]`) before it is written: all
    signatures, on one row and on all, and a table of the differences from the model is printed.

    Args:
        model: A model of `tf_mtl`.
        path: The file, ending in `.tflite`.
        quantization: "dynamic" for weights of 8 bits, a quarter of the size; None for 32 bits.
        examples: Inputs to compare on, `{input: values}`; made up by default.

    Returns:
        The file.

    Raises:
        ValueError: for another quantization or ending, a model that LiteRT cannot express with its own ops, or
            answers that differ by more than 1e-4 (0.1 with 8 bits) of 1 + |right answer|.

    Example:

    >>> import pathlib, tempfile
    >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    >>> model = mtl.build_model(keras.Input((4,), name="x"), trunk, [mtl.tasks.Regression("stars")])
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "stars.tflite"
    >>> mtl.export.litert(model, path).name  # doctest: +ELLIPSIS
    | signature ...
    'stars.tflite'
    """
    path = Path(path)
    if quantization not in _MOST:
        raise ValueError(f'`quantization` must be None or "dynamic", received {quantization!r}.')
    if path.suffix != ".tflite":
        raise ValueError(f"`path` must end in '.tflite', received {str(path)!r}.")
    signatures = {"serving_default": model.task_names, **{task: (task,) for task in model.task_names}}
    content = _converted(model, signatures, quantization)
    inputs, right = right_outputs(model, examples)
    rows = []
    for name, tasks in signatures.items():
        expected = {task: right[task] for task in tasks}
        apart = [
            check_outputs("LiteRT", _run(content, name, _rows(inputs, n)), _rows(expected, n), _MOST[quantization])
            for n in (1, None)
        ]
        rows.append([name, f"{max(apart):.1e}"])
    print(table(["signature", "difference"], rows))
    about = {"tasks": [{"kind": type(task).__name__, **task.get_config()} for task in model.tasks]}
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path.with_suffix(".tflite.json")) as file:
        file.write(json.dumps(about, indent=2, default=str).encode())
    with whole_file(path) as file:
        file.write(content)
    return path


def _converted(model, signatures, quantization):
    archive = keras.export.ExportArchive()
    for name, tasks in signatures.items():
        answer = forward(model, tasks)
        answer.get_concrete_function()
        archive.add_endpoint(name, answer)
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(signatures))
        if quantization is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        try:
            return converter.convert()
        except Exception as error:  # the converter's own class is not public
            hint = "; give inputs of any length a fixed one" if _any_length(model) else ""
            raise ValueError(f"LiteRT cannot express this model with its own ops{hint}: {error}") from error


def _any_length(model):
    return any(None in x.shape[1:] for x in keras.tree.flatten(model.input))


def _run(content, signature, inputs):
    from ai_edge_litert.interpreter import Interpreter  # installed with tf_mtl[litert]

    runner = Interpreter(model_content=content).get_signature_runner(signature)
    return runner(**inputs)


def _rows(arrays, count):
    return {name: values[:count] for name, values in arrays.items()}
