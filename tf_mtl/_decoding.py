"""From a model's outputs to what they say."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl.tasks import Task
from tf_mtl.text import TextPreprocessor
from tf_mtl.text._located import locate


def decode(
    tasks: Sequence[Task],
    outputs: Mapping[str, Any],
    texts: Sequence[str] | None,
    preprocessor: TextPreprocessor | None,
) -> dict[str, dict[str, np.ndarray]]:
    """Return the decoded outputs by task; see `MultiTaskModel.decode`."""
    if not tasks:
        raise ValueError(
            "`decode` needs task objects, which say how to read an output: build the model with "
            "tf_mtl.build_model, or pass `tasks` to MultiTaskModel."
        )
    if any(isinstance(output, tf.RaggedTensor) for output in outputs.values()):
        raise ValueError(
            "`outputs` come from batches that differ in length: decode each batch, "
            "`model.decode(model.predict_on_batch(batch))`, or pad all to one length before `predict`."
        )
    located = None
    if texts is not None and preprocessor is not None:
        rows = {task.name: outputs[task.name].shape[0] for task in tasks}
        if isinstance(texts, str) or any(len(texts) != number for number in rows.values()):
            raise ValueError(f"`texts` must be a list with one text per row of `outputs`, {rows}.")
        located = locate(preprocessor, tf.constant(list(texts), tf.string))
    elif texts is not None or preprocessor is not None:
        raise ValueError("Pass `texts` and `preprocessor` together: the preprocessor tells where the words are.")
    return {
        task.name: {key: _array(value) for key, value in task.answer(outputs[task.name], located).items()}
        for task in tasks
    }


def _array(value):
    value = np.asarray(value)
    return np.char.decode(value.astype(bytes), "utf-8") if value.dtype == object else value
