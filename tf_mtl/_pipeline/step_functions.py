"""The functions with which Keras' loops take steps.

They replace Keras' own, which go wrong in four ways. With `steps_per_execution > 1` Keras keeps the logs in an
optional, which cannot hold values per replica. Under `MultiWorkerMirroredStrategy` it averages each logged value by a
collective of its own, which does not accept scalars. At the end of a data set of unknown size it runs the parts of a
step that do not depend on the missing batch, so the optimizer counts one iteration too many per epoch. And with endless
data, an epoch whose number of steps is not a multiple of `steps_per_execution` becomes longer.

Here every replica computes the same logs, and those of the first are taken. Every replica receives all that its worker
has read, the whole batch or a part of it, and takes its own rows (see `division.py`). Where it is unknown whether
another batch follows, it is drawn first.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._pipeline.division import count_rows, divide
from tf_mtl._pipeline.ranks import ranks_of, traced_by_rank
from tf_mtl._pipeline.stream import Pass


def step_function(model: keras.Model, step: Callable[[Any], dict], jit_compile: bool) -> Callable[[Iterator], dict]:
    """Return the function that Keras' loops call with an iterator; it takes `model.steps_per_execution` steps.

    Args:
        model: The compiled model.
        step: Its `train_step` or `test_step`, which returns the same logs on every replica.
        jit_compile: Whether to compile it with XLA.

    Returns:
        A function from an iterator to the logs of the last step.
    """
    strategy, steps_per_call = model.distribute_strategy, model.steps_per_execution

    @tf.autograph.experimental.do_not_convert
    def one(data):
        return _first(strategy, strategy.run(step, args=(data,)))

    @functools.cache
    def one_of(ranks):
        """Return a step on a batch whose tensors have some ranks."""
        step_on_batch = one if model.run_eagerly else tf.function(one, reduce_retracing=True, jit_compile=jit_compile)
        return tf.autograph.experimental.do_not_convert(model._autoconvert_optionals(step_on_batch))

    @functools.cache
    def functions(ranks, check):
        """Return steps on a batch, on the next batch of an iterator, and on so many of its next batches."""
        one = one_of(ranks)

        @tf.autograph.experimental.do_not_convert
        def on_batch(batch):
            return one(batch if check is None else check(batch))

        def single(iterator):
            return on_batch(next(iterator))

        def several(iterator, count):
            logs = on_batch(next(iterator))
            for _ in tf.range(count - 1):
                logs = on_batch(next(iterator))
            return logs

        if model.run_eagerly:
            return on_batch, single, several
        return tuple(tf.function(f, reduce_retracing=True) for f in (on_batch, single, several))

    def function(iterator):
        if not isinstance(iterator, Pass):  # `train_on_batch` passes an iterator of one batch
            batch = next(iterator)
            return one_of(ranks_of(batch))(batch)
        on_batch, single, several = functions(iterator.stream.ranks, iterator.stream.check)
        replayed = iterator.stream.replay(steps_per_call)
        logs, left = iterator.stream.replayed_logs if replayed else None, steps_per_call - replayed
        while left and iterator.remaining != 0:
            if iterator.remaining is None:
                count, batch = 1, next(iterator.source(), None)
                if batch is None:
                    iterator.close()
                    break
                logs = on_batch(batch)
            else:
                count = min(left, iterator.remaining)
                source = iterator.source()
                logs = single(source) if count == 1 else several(source, tf.constant(count))
            is_last = count == iterator.remaining
            iterator.advance(count)
            left = 0 if is_last else left - count
        if logs is None:
            raise StopIteration
        return logs

    return function


def predict_function(model: keras.Model) -> Callable[[list], Any]:
    """Return the function that `predict` calls with a list of batches; it returns the outputs of all rows."""
    strategy = model.distribute_strategy

    def predict(data):
        return model.predict_step(divide(data)[0].data)

    def one(data):
        outputs = strategy.run(predict, args=(data,))
        if strategy.num_replicas_in_sync == 1:
            return _first(strategy, outputs)
        rows = count_rows(data)
        return keras.tree.map_structure(lambda output: strategy.gather(output, axis=0)[:rows], outputs)

    one = tf.autograph.experimental.do_not_convert(one)
    if not model.run_eagerly:
        one = traced_by_rank(one, jit_compile=model.jit_compile)
    one = model._autoconvert_optionals(one)

    def function(batches):
        outputs = [one(batch) for batch in batches]
        if len(outputs) == 1:
            return outputs[0]
        return keras.tree.map_structure(lambda *parts: tf.concat(parts, 0), *outputs)

    return function


def _first(strategy, values):
    """The values of this worker's first replica."""
    return keras.tree.map_structure(lambda value: strategy.experimental_local_results(value)[0], values)
