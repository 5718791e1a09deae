"""The file that configures how a server batches requests."""

from collections.abc import Mapping
from typing import Any

from tf_mtl._arguments import integer

FILE = "batching_params.pbtxt"
_MAX_BATCH_SIZE, _ALLOWED_BATCH_SIZES = "max_batch_size", "allowed_batch_sizes"
_LEAST = {_MAX_BATCH_SIZE: 1, "batch_timeout_micros": 0, "max_enqueued_batches": 1, "num_batch_threads": 1}


def batching_text(batching: Mapping[str, Any]) -> str:
    """Return batching parameters in the text format of TensorFlow Serving.

    Args:
        batching: `max_batch_size`, and optionally `batch_timeout_micros`, `max_enqueued_batches`, `num_batch_threads`
            (positive integers; the timeout may be 0) and `allowed_batch_sizes`, an increasing list that ends with
            `max_batch_size`.

    Raises:
        ValueError: for other names or values.
    """
    names = [*_LEAST, _ALLOWED_BATCH_SIZES]
    unknown = sorted(set(batching) - set(names))
    if unknown:
        raise ValueError(f"`batching` must have keys among {names}, received {unknown}.")
    if _MAX_BATCH_SIZE not in batching:
        raise ValueError("`batching` needs 'max_batch_size', the largest number of rows in a batch.")
    numbers = {
        name: integer(f"batching['{name}']", batching[name], least)
        for name, least in _LEAST.items()
        if name in batching
    }
    sizes = [integer(f"batching['{_ALLOWED_BATCH_SIZES}']", size, 1) for size in batching.get(_ALLOWED_BATCH_SIZES, ())]
    if sizes and (sizes != sorted(set(sizes)) or sizes[-1] != numbers[_MAX_BATCH_SIZE]):
        raise ValueError(
            f"`batching['{_ALLOWED_BATCH_SIZES}']` must increase and end with max_batch_size="
            f"{numbers[_MAX_BATCH_SIZE]}, or the server refuses the model; received {sizes}."
        )
    lines = [f"{name} {{ value: {value} }}" for name, value in numbers.items()]
    return "\n".join([*lines, *(f"{_ALLOWED_BATCH_SIZES}: {size}" for size in sizes)]) + "\n"
