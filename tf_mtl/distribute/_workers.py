"""The workers of a cluster: which one this is, what all of them say, and what to do when one is lost."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

_MISMATCH = re.compile("Shape mismatch in the collective|Collective instance [0-9]+ expected")


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Return whether this process is the one that writes results: the chief, or the only worker.

    Example:

    >>> mtl.distribute.is_chief(mtl.distribute.strategy("one_device"))
    True
    """
    return worker_index(strategy)[0] == 0


def worker_index(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Return the index of this worker, 0 for the chief, and the number of workers."""
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


@functools.cache
def gather_over_workers(strategy: tf.distribute.Strategy) -> Callable[[Sequence[int]], np.ndarray]:
    """Return a function that all workers call at the same point: from one row of each to the rows of all."""

    def gather(row):
        return tf.distribute.get_replica_context().all_gather(row[None], axis=0)

    @tf.function
    def gathered(row):
        return strategy.run(gather, args=(row,))

    def rows_of_workers(row):
        rows_of_replicas = strategy.experimental_local_results(gathered(tf.constant(row, tf.int64)))[0].numpy()
        return rows_of_replicas[:: len(strategy.extended.worker_devices)]

    return rows_of_workers


@contextlib.contextmanager
def lost_worker_errors() -> Iterator[None]:
    """Say what to do where a collective operation failed because another worker is gone, or runs another operation."""
    try:
        yield
    except tf.errors.OpError as error:
        if _MISMATCH.search(str(error)):
            raise RuntimeError(
                "The workers of the cluster run different operations: one of them has created a variable under the "
                "strategy, or called a method, that the others have not. Build the same model in the same order on all "
                "workers; tf_mtl.build_model says what differs."
            ) from None
        is_loss = isinstance(error, (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError))
        if not is_loss or "ollective" not in str(error):
            raise
        gone = sorted(set(re.findall(r"/job:\w+(?:/replica:\d+)?/task:\d+", str(error))))
        raise RuntimeError(
            f"A worker of the cluster is gone, one of {gone or 'those named in TF_CONFIG'}, and the others cannot "
            "continue without it. Start all workers again: with tf_mtl.callbacks.Checkpoint they resume from the last "
            "checkpoint."
        ) from None
