"""Whether all workers of a cluster are about to do the same.

Collective operations match by their order alone. Workers that differ would wait for each other forever, fail with a
mismatch of shapes, or train different tasks in one. So they compare what they are about to do first.
"""

import hashlib
import json
import platform
import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._version import __version__
from tf_mtl.distribute._workers import gather_over_workers, lost_worker_errors, worker_index

_NUMBER = re.compile("_[0-9]+(?=/|'?$)")  # which Keras adds to a name
_MOST_PARTS = 16  # so that rows have one size on all workers, whatever they call
_MOST_DIFFERENCES = 5  # of each part, in the message
_MOST_CHARACTERS = 100  # of each value, in the message


def check_agreement(strategy: tf.distribute.Strategy, method: str, **parts: Any) -> None:
    """Compare a call of a method with that of the other workers; all workers must call this at the same point.

    Values are compared by type, config, shape and dtype, not by the contents of arrays. Numbers that Keras adds to
    names do not count, nor do the seeds of a model's layers, whose state the workers share.

    Args:
        strategy: The strategy; nothing happens if it has one worker.
        method: Name of the method.
        **parts: What must be equal, by name: objects with a config, variables, specs, plain values, and dicts and lists
            of these.

    Raises:
        RuntimeError: on all workers, if they differ.
    """
    if worker_index(strategy)[1] == 1:
        return
    versions = {
        "tf_mtl": __version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
    }
    parts = {"method": method, "versions": versions, **parts}
    texts = [json.dumps(_described(part, name), sort_keys=True).encode() for name, part in parts.items()]
    texts += [b"{}"] * (_MOST_PARTS - len(texts))
    with lost_worker_errors():
        descriptions = _differing(strategy, texts)
    if descriptions:
        raise RuntimeError(
            f"All workers must call `{method}` with the same model, options, kind of data and versions, but these "
            f"differ:\n{_differences(descriptions)}\nStart the same script with the same data and versions on all "
            "workers."
        )


def _differing(strategy, texts):
    """The descriptions of the parts that differ, one list per part of one dict per worker."""
    gather = gather_over_workers(strategy)
    rows = gather([number for text in texts for number in (_hash(text), len(text))]).reshape(-1, _MOST_PARTS, 2)
    differing = [part for part in range(_MOST_PARTS) if (rows[:, part] != rows[0, part]).any()]
    if not differing:
        return []
    if differing[0] == 0:  # other methods have other parts
        differing = [0]
    size = -(-int(rows[:, differing, 1].max()) // 8) * 8
    padded = b"".join(texts[part].ljust(size) for part in differing)
    by_worker = [row.tobytes() for row in gather(np.frombuffer(padded, np.int64).tolist())]
    starts = range(0, len(padded), size)
    return [[json.loads(text[start : start + size]) for text in by_worker] for start in starts]


def _hash(text):
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little", signed=True)


def _differences(descriptions):
    """A line for each value that differs, with the workers that have it."""
    lines = []
    for by_worker in descriptions:
        paths = dict.fromkeys(path for description in by_worker for path in description)
        values = {path: [description.get(path, "nothing") for description in by_worker] for path in paths}
        differing = [path for path in paths if len(set(values[path])) > 1]
        lines += [f"- {path}: {_by_value(values[path])}" for path in differing[:_MOST_DIFFERENCES]]
        if len(differing) > _MOST_DIFFERENCES:
            lines.append(f"- and {len(differing) - _MOST_DIFFERENCES} more")
    return "\n".join(lines)


def _by_value(values):
    workers: dict[str, list[str]] = {}
    for worker, value in enumerate(values):
        workers.setdefault(value, []).append(str(worker))
    return "; ".join(
        f"{value[:_MOST_CHARACTERS]} on worker{'s'[: len(indices) - 1]} {', '.join(indices)}"
        for value, indices in workers.items()
    )


def _described(value: Any, path: str) -> dict[str, str]:
    """What is compared of a value: texts by their paths."""
    if isinstance(value, Mapping):
        return _described_items(value.items(), path)
    if isinstance(value, (list, tuple)):
        return _described_items(enumerate(value), path)
    if isinstance(value, keras.Model):
        layers = [layer for layer in value._flatten_layers(include_self=False) if not isinstance(layer, keras.Model)]
        described = _described_items(enumerate(layers), f"{path}/layers")
        described = {path: text for path, text in described.items() if not path.endswith("/seed")}
        return described | _described_items(enumerate(value.variables), f"{path}/variables")
    if isinstance(value, keras.Variable):
        return {path: f"{_NUMBER.sub('', value.path)} {tuple(value.shape)} {value.dtype}"}
    if isinstance(value, (keras.KerasTensor, tf.TypeSpec, tf.Tensor, np.ndarray)):
        return {path: f"{tf.TensorShape(value.shape)} {tf.as_dtype(value.dtype).name}"}
    if isinstance(value, (str, int, float, np.generic, type(None))):
        return {path: repr(value)}
    if callable(value) and hasattr(value, "__name__"):
        return {path: value.__name__}
    config = _described(_config(value), path)
    return {path: type(value).__name__} | {path: _NUMBER.sub("", text) for path, text in config.items()}


def _described_items(items, path):
    described: dict[str, str] = {}
    for key, item in items:
        described |= _described(item, f"{path}/{key}")
    return described


def _config(value):
    """The arguments that an object was made with, as far as it gives them."""
    try:
        config = value.get_config()
    except Exception:  # objects without a config, and those whose arguments cannot be saved
        return {}
    return {**getattr(value, "_fn_kwargs", {}), **config}  # the configs of some losses of Keras lack arguments
