"""Choose a distribution strategy, and say which and why."""

import functools
import json
import os
import weakref

import tensorflow as tf

from tf_mtl._arguments import integer

_WHY = weakref.WeakKeyDictionary()
_NAMES = ("auto", "one_device", "mirrored", "multi_worker")


def strategy(name: str = "auto", virtual_devices: int | None = None) -> tf.distribute.Strategy:
    """Return a distribution strategy; build and compile the model inside its `scope()`.

    Args:
        name: "one_device"; "mirrored", all GPUs of this machine (or its logical CPUs); "multi_worker", all machines
            named in the environment variable TF_CONFIG; or "auto": the last where TF_CONFIG is set, "mirrored" where
            there are several devices, else "one_device".
        virtual_devices: Split the CPU into that many logical devices and train on them, to try
            a strategy without GPUs. It must be asked for before TensorFlow makes its first tensor.

    Raises:
        ValueError: for an unknown name, or a strategy that cannot be had here.
        RuntimeError: if TensorFlow has already started with other devices.

    Example:

    >>> mtl.distribute.strategy("one_device").num_replicas_in_sync
    1
    """
    if name not in _NAMES:
        raise ValueError(f"`name` must be one of {list(_NAMES)}, received {name!r}.")
    if virtual_devices is not None:
        _split_cpu(virtual_devices)
    workers = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {}).get("worker", [])
    if name == "multi_worker" and not workers:
        raise ValueError(
            "strategy('multi_worker') needs the environment variable TF_CONFIG with a cluster of workers, "
            f"received TF_CONFIG={os.environ.get('TF_CONFIG')!r}. For one machine use 'mirrored'."
        )
    if name == "multi_worker" or (name == "auto" and workers):
        return _because(tf.distribute.MultiWorkerMirroredStrategy(), f"TF_CONFIG names workers: {len(workers)}")
    devices = _devices(virtual_devices)
    if name == "mirrored" or (name == "auto" and len(devices) > 1):
        return _because(_mirrored(tuple(devices)), f"of {', '.join(devices)}")
    why = "it was asked for" if name == "one_device" else f"there is no other than {devices[0]}"
    if virtual_devices:
        return _because(tf.distribute.OneDeviceStrategy(devices[0]), why)
    return _because(tf.distribute.get_strategy(), why)


def describe(strategy: tf.distribute.Strategy) -> str:
    """Return one line that says what a strategy trains on, and why, where `strategy` has chosen it.

    Example:

    >>> mtl.distribute.describe(mtl.distribute.strategy("one_device"))
    'one device: the default strategy, 1 replica, as it was asked for'
    """
    replicas = strategy.num_replicas_in_sync
    name = type(strategy).__name__
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        kind = "many machines"
    elif isinstance(strategy, tf.distribute.MirroredStrategy):
        kind = "one machine"
    else:
        kind, name = "one device", "the default strategy" if name == "_DefaultDistributionStrategy" else name
    why = _WHY.get(strategy, "")
    return f"{kind}: {name}, {replicas} replica{'s' if replicas > 1 else ''}{why}"


def _because(strategy, why):
    _WHY[strategy] = f", {why}" if why.startswith("of ") else f", as {why}"
    return strategy


@functools.cache
def _mirrored(devices):
    # One per process and set of devices: the collective operations of a second one would clash with the first's.
    return tf.distribute.MirroredStrategy(devices)


def _devices(virtual_devices):
    gpus = tf.config.list_logical_devices("GPU")
    found = gpus if gpus and virtual_devices is None else tf.config.list_logical_devices("CPU")
    return [device.name.replace("/device:", "") for device in found]


def _split_cpu(count):
    integer("virtual_devices", count, 1)
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError:
        found = len(tf.config.list_logical_devices("CPU"))
        if found != count:
            raise RuntimeError(
                f"`virtual_devices={count}` must be asked for before TensorFlow makes its first tensor; "
                f"it has already started with {found}. Call distribute.strategy(...) first thing."
            ) from None
