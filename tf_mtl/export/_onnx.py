"""An ONNX file."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_mtl._files import whole_file
from tf_mtl._model import MultiTaskModel
from tf_mtl._names import check_names
from tf_mtl.export._forward import check_outputs, forward, right_outputs

_OPSET = 18
_MOST = 1e-4


def onnx(model: MultiTaskModel, path: str | Path, tasks: Sequence[str] | None = None, examples: Any = None) -> Path:
    """Write an ONNX file from the model's inputs, by name, to the tasks' outputs, by name.

    The outputs are the model's own, logits and standardised values; `model.decode` says how they are read. The file
    is run with onnxruntime (install `tf_mtl[onnx]`) before it is written, on one row and on all: conversion may
    produce files that are invalid or answer otherwise, which are refused.

    Args:
        model: A model of `tf_mtl`.
        path: The file, ending in `.onnx`.
        tasks: The tasks whose heads are in the file; all by default.
        examples: Inputs to compare on, `{input: values}`; made up by default.

    Returns:
        The file.

    Raises:
        ValueError: for unknown tasks or another ending, a model that cannot be converted, or answers that differ by
            more than 1e-4 of 1 + |right answer|.

    Example:

    >>> import pathlib, tempfile
    >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    >>> model = mtl.build_model(keras.Input((4,), name="x"), trunk, [mtl.tasks.Regression("stars")])
    >>> mtl.export.onnx(model, pathlib.Path(tempfile.mkdtemp()) / "stars.onnx").name
    'stars.onnx'
    """
    path = Path(path)
    tasks = list(model.task_names) if tasks is None else list(tasks)
    check_names("tasks", tasks, model.task_names, required=False)
    if path.suffix != ".onnx":
        raise ValueError(f"`path` must end in '.onnx', received {str(path)!r}.")
    inputs, right = right_outputs(model, examples)
    if any(values.dtype.name == "bfloat16" for values in inputs.values()):
        raise ValueError("onnxruntime takes no inputs of bfloat16: give the Input the dtype float32.")
    content = _converted(forward(model, tasks))
    for rows in (1, None):
        sent = {name: values[:rows] for name, values in inputs.items()}
        check_outputs("ONNX", _run(content, sent), {task: right[task][:rows] for task in tasks}, _MOST)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(content)
    return path


def _converted(answer):
    import tf2onnx  # installed with tf_mtl[onnx]

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        try:
            tf2onnx.convert.from_function(
                answer, input_signature=answer.input_signature, opset=_OPSET, output_path=str(file)
            )
        except Exception as error:
            raise ValueError(f"ONNX cannot express this model: {error}") from error
        return file.read_bytes()


def _run(content: bytes, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ValueError(
            "Conversion gave an ONNX file that onnxruntime refuses. An exact GELU does this: use "
            f"keras.activations.gelu with approximate=True. {error}"
        ) from error
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))
