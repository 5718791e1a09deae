"""Choose a distribution strategy, and say which and why."""

import functools
import json
import os
import weakref

import tensorflow as tf

from tf_mtl._arguments import integer

_WHY: weakref.WeakKeyDictionary[tf.distribute.Strategy, str] = weakref.WeakKeyDictionary()
_NAMES = ("auto", "one_device", "mirrored", "multi_worker")


def strategy(
    name: str = "auto",
    virtual_devices: int | None = None,
    cluster_resolver: tf.distribute.cluster_resolver.ClusterResolver | None = None,
) -> tf.distribute.Strategy:
    """Return a distribution strategy; build and compile the model inside its `scope()`.

    Args:
        name: "one_device"; "mirrored", all GPUs of this machine, or its logical CPUs; "multi_worker", all machines
            named in the environment variable TF_CONFIG or by `cluster_resolver`; or "auto": "multi_worker" where
            TF_CONFIG is set, "mirrored" where there are several devices, else "one_device".
        virtual_devices: The number of logical devices to split the CPU into and train on, to try a strategy without
            GPUs. Must be set before TensorFlow creates its first tensor.
        cluster_resolver: What names the machines of "multi_worker" where TF_CONFIG does not, for instance
            `tf.distribute.cluster_resolver.SlurmClusterResolver()`.

    Raises:
        ValueError: for an unknown name, a strategy that is not available here, or a cluster resolver that is passed
            with another name or names no workers.
        RuntimeError: if TensorFlow has already started with other devices.

    Example:

    >>> mtl.distribute.strategy("one_device").num_replicas_in_sync
    1
    """
    if name not in _NAMES:
        raise ValueError(f"`name` must be one of {list(_NAMES)}, received {name!r}.")
    if virtual_devices is not None:
        _split_cpu(virtual_devices)
    if cluster_resolver is not None:
        return _resolved(name, cluster_resolver)
    workers = _workers(json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {}))
    if name == "multi_worker" and not workers:
        raise ValueError(
            "strategy('multi_worker') needs the environment variable TF_CONFIG with a cluster of workers, or "
            f"`cluster_resolver`; received TF_CONFIG={os.environ.get('TF_CONFIG')!r}. For one machine use 'mirrored'."
        )
    if name == "multi_worker" or (name == "auto" and workers):
        return _because(tf.distribute.MultiWorkerMirroredStrategy(), f"TF_CONFIG names workers: {len(workers)}")
    devices = _devices(virtual_devices)
    if name == "mirrored" or (name == "auto" and len(devices) > 1):
        return _because(_mirrored(tuple(devices)), f"of {', '.join(devices)}")
    why = "it was asked for" if name == "one_device" else f"{devices[0]} is the only device"
    if virtual_devices:
        return _because(tf.distribute.OneDeviceStrategy(devices[0]), why)
    return _because(tf.distribute.get_strategy(), why)


def describe(strategy: tf.distribute.Strategy) -> str:
    """Return one line that says what a strategy trains on, and why `strategy` chose it.

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


def _resolved(name, resolver):
    """The strategy for the workers that a cluster resolver names."""
    if name != "multi_worker":
        raise ValueError(
            f"`cluster_resolver` is for strategy('multi_worker'), received with name={name!r}. Pass 'multi_worker', or "
            "omit `cluster_resolver`."
        )
    kind = type(resolver).__name__
    workers = _workers(resolver.cluster_spec().as_dict())
    if not workers:
        raise ValueError(
            f"`cluster_resolver` must name at least one worker, received a {kind} without any. For one machine use "
            "'mirrored'."
        )
    return _because(tf.distribute.MultiWorkerMirroredStrategy(resolver), f"{kind} names workers: {len(workers)}")


def _workers(cluster):
    return [*cluster.get("chief", []), *cluster.get("worker", [])]


def _because(strategy, why):
    _WHY[strategy] = f", {why}" if why.startswith("of ") else f", as {why}"
    return strategy


@functools.cache
def _mirrored(devices):
    # one per process and set of devices: the collective operations of two would clash
    return tf.distribute.MirroredStrategy(devices)


def _devices(virtual_devices):
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus if gpus and virtual_devices is None else tf.config.list_logical_devices("CPU")
    return [device.name.replace("/device:", "") for device in devices]


def _split_cpu(count):
    integer("virtual_devices", count, 1)
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError:
        devices = len(tf.config.list_logical_devices("CPU"))
        if devices != count:
            raise RuntimeError(
                f"`virtual_devices={count}` must be set before TensorFlow creates its first tensor, but it has already "
                f"started with {devices}. Call distribute.strategy(...) first."
            ) from None
