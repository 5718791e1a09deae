"""Copy batches to the GPU while it still works on earlier ones."""

from typing import Any

import tensorflow as tf

_BATCHES = 2


def on_device(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Return a data set whose next batches are already on the GPU.

    Returned unchanged: without a GPU; under several replicas, each of which takes its own rows of a batch in memory;
    batches with strings, ragged or sparse tensors; and data sets whose options forbid that elements are drawn ahead.
    """
    devices, replicas = gpus(), tf.distribute.get_strategy().num_replicas_in_sync
    specs = tf.nest.flatten(dataset.element_spec)
    dense = all(isinstance(spec, tf.TensorSpec) and spec.dtype not in (tf.string, tf.variant) for spec in specs)
    if not devices or replicas > 1 or not dense or not may_draw_ahead(dataset):
        return dataset
    return dataset.apply(tf.data.experimental.prefetch_to_device(devices[0].name, _BATCHES))


def may_draw_ahead(dataset: tf.data.Dataset) -> bool:
    """Return whether elements may be drawn before they are needed; not from a mixture whose rates training sets."""
    return dataset.options().experimental_optimization.inject_prefetch is not False


def gpus() -> list[Any]:
    """Return the GPUs of this process."""
    return tf.config.list_logical_devices("GPU")
