"""The file with which a server groups requests."""

from collections.abc import Mapping
from typing import Any

from tf_mtl._arguments import integer

FILE = "batching_params.pbtxt"
_NUMBERS = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")


def batching_text(batching: Mapping[str, Any]) -> str:
    """Return batching parameters as text that TensorFlow Serving reads.

    Args:
        batching: `max_batch_size`, and as you like `batch_timeout_micros`, `max_enqueued_batches`, `num_batch_threads`
            (positive numbers; the timeout may be 0) and `allowed_batch_sizes`, a rising list that ends with
            `max_batch_size`.

    Raises:
        ValueError: for other names or values.
    """
    unknown = sorted(set(batching) - {*_NUMBERS, "allowed_batch_sizes"})
    if unknown:
        raise ValueError(f"`batching` takes {[*_NUMBERS, 'allowed_batch_sizes']}, received {unknown}.")
    numbers = {name: batching[name] for name in _NUMBERS if name in batching}
    for name, value in numbers.items():
        least = 0 if name == "batch_timeout_micros" else 1
        integer(f"batching['{name}']", value, least)
    if "max_batch_size" not in numbers:
        raise ValueError("`batching` needs 'max_batch_size', the most rows that are grouped.")
    allowed = list(batching.get("allowed_batch_sizes", ()))
    integers = all(type(size) is int for size in allowed)
    if allowed and (
        not integers or allowed != sorted(set(allowed)) or allowed[0] < 1 or allowed[-1] != numbers["max_batch_size"]
    ):
        raise ValueError(
            f"`batching['allowed_batch_sizes']` must rise and end with max_batch_size={numbers['max_batch_size']}, or "
            f"the server refuses the model; received {allowed}."
        )
    lines = [f"{name} {{ value: {value} }}" for name, value in numbers.items()]
    return "\n".join([*lines, *(f"allowed_batch_sizes: {size}" for size in allowed)]) + "\n"
