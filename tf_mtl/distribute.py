"""Pick a distribution strategy, say which, and refuse options that Keras cannot do under it."""

import contextlib
import functools
import json
import os
import re
import weakref
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._optimizers import with_inner

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


def place_among_workers(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Return the number of this worker, 0 for the chief, and that of all workers."""
    resolver = getattr(strategy, "cluster_resolver", None)
    if (
        not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        or resolver is None
        or not resolver.task_type
    ):
        return 0, 1
    workers = strategy.num_replicas_in_sync // len(strategy.extended.worker_devices)
    after_chief = resolver.task_type == "worker" and "chief" in resolver.cluster_spec().jobs
    return resolver.task_id + after_chief, workers


def gather_over_workers(strategy: tf.distribute.Strategy) -> Callable[[Sequence[int]], np.ndarray]:
    """Return a function that all workers call at the same point: it gives what each of them put in, a row for each."""

    def gather(row):
        return tf.distribute.get_replica_context().all_gather(row[None], axis=0)

    @tf.function
    def gathered(row):
        return strategy.run(gather, args=(row,))

    return lambda row: strategy.experimental_local_results(gathered(tf.constant(row, tf.int64)))[0].numpy()


def check_options(
    strategy: tf.distribute.Strategy,
    optimizer: keras.optimizers.Optimizer,
    jit_compile: bool | str,
) -> None:
    """Raise for options that would give wrong results, or fail, for several tasks or under a strategy.

    Args:
        strategy: The strategy.
        optimizer: The optimizer given to `compile`.
        jit_compile: As given to `compile`.

    Raises:
        ValueError: naming the option and what to do instead.
    """
    if optimizer is None:
        return
    inner = with_inner(optimizer)[-1]
    if inner._distribution_strategy is not strategy:
        raise ValueError(
            f"`optimizer` was made under {type(inner._distribution_strategy).__name__}, the model under "
            f"{type(strategy).__name__}. Make both, and compile, inside `with strategy.scope():`."
        )
    if inner.gradient_accumulation_steps:
        raise ValueError(
            "`gradient_accumulation_steps` cannot be used: a task's loss is the mean over its labels in the batch, "
            "which a sum over micro-batches is not, and Keras updates inside a condition, which fails under "
            "strategies. Use larger batches and compile(accumulate=n), which works through each in n micro-batches."
        )
    if not isinstance(strategy, (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)):
        return
    refused = {
        "ema_overwrite_frequency": (
            bool(inner.ema_overwrite_frequency),
            "Keras overwrites inside a condition, which fails here. Use keras.callbacks.SwapEMAWeights",
        ),
        "jit_compile": (jit_compile is True, "XLA fails here. Use jit_compile='auto' or False"),
    }
    for option, (given, remedy) in refused.items():
        if given:
            raise ValueError(
                f"`{option}` cannot be used under {type(strategy).__name__} with "
                f"{strategy.num_replicas_in_sync} replicas: {remedy}, or train on one device."
            )


@contextlib.contextmanager
def lost_worker_errors() -> Iterator[None]:
    """Say what to do where a collective operation failed because another worker is gone."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError) as error:
        if "ollective" not in str(error):
            raise
        gone = sorted(set(re.findall(r"/job:\w+(?:/replica:\d+)?/task:\d+", str(error))))
        raise RuntimeError(
            f"A worker of the cluster is gone, of {gone or 'those named in TF_CONFIG'}, and the others cannot go on "
            "without it. Start all workers again: with tf_mtl.callbacks.Checkpoint they go on from the last checkpoint."
        ) from None


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
    if count < 1:
        raise ValueError(f"`virtual_devices` must be at least 1, received {count}.")
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
