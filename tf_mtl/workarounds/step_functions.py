"""What Keras' loops over steps get wrong, and step functions in their place.

With `steps_per_execution > 1` Keras keeps the logs in an optional, which cannot hold values per replica. Under
`MultiWorkerMirroredStrategy` it averages each logged value by a collective of its own, which takes no scalars. And at
the end of a data set of unknown size it runs those parts of a step that do not wait for the batch that is not there:
the optimizer counts one iteration more in each epoch. Where data have no end, an epoch whose number of steps is not a
multiple of `steps_per_execution` becomes longer.

Here every replica works out the same logs, and those of the first are taken. A batch reaches every replica whole, which
takes its own rows from it (see `tf_mtl.division`). Where it is not known that there is a batch, it is drawn first.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.division import count_rows, divide
from tf_mtl.stream import Pass


def step_function(model: keras.Model, step: Callable[[Any], dict]) -> Callable[[Iterator], dict]:
    """Return what Keras' loops call with an iterator: it takes `model.steps_per_execution` steps and returns the logs.

    Args:
        model: The compiled model.
        step: Its `train_step` or `test_step`, which returns the same logs on every replica.
    """
    strategy, most = model.distribute_strategy, model.steps_per_execution

    @tf.autograph.experimental.do_not_convert
    def one(data):
        return _first(strategy, strategy.run(step, args=(data,)))

    if not model.run_eagerly:
        one = tf.function(one, reduce_retracing=True, jit_compile=model.jit_compile)
    one = tf.autograph.experimental.do_not_convert(model._autoconvert_optionals(one))

    def several(iterator, count):
        logs = one(next(iterator))
        for _ in tf.range(count - 1):
            logs = one(next(iterator))
        return logs

    def single(iterator):
        return one(next(iterator))

    if not model.run_eagerly:
        single, several = (tf.function(f, reduce_retracing=True) for f in (single, several))

    def function(iterator):
        if not isinstance(iterator, Pass):  # of one batch, by `train_on_batch`
            return one(next(iterator))
        if iterator.stream.replays:
            return iterator.stream.replay()
        logs, left = None, most
        while left and iterator.ahead != 0:
            if iterator.ahead is None:
                count, batch = 1, next(iterator.source(), None)
                if batch is None:
                    iterator.close()
                    break
                logs = one(batch)
            else:
                count = min(left, iterator.ahead)
                source = iterator.source()
                logs = single(source) if count == 1 else several(source, tf.constant(count))
            is_last = count == iterator.ahead
            iterator.draw(count)
            left = 0 if is_last else left - count
        if logs is None:
            raise StopIteration
        return logs

    return function


def predict_function(model: keras.Model) -> Callable[[list], Any]:
    """Return what `predict` calls with a list of batches: the outputs for all their rows, in order."""
    strategy = model.distribute_strategy

    def predict(data):
        return model.predict_step(divide(data)[0].data)

    def one(data):
        outputs = strategy.run(predict, args=(data,))
        if strategy.num_replicas_in_sync == 1:
            return _first(strategy, outputs)
        rows = count_rows(data)
        return keras.tree.map_structure(lambda found: strategy.gather(found, axis=0)[:rows], outputs)

    one = tf.autograph.experimental.do_not_convert(one)
    if not model.run_eagerly:
        one = tf.function(one, reduce_retracing=True, jit_compile=model.jit_compile)
    one = model._autoconvert_optionals(one)

    def function(batches):
        found = [one(batch) for batch in batches]
        return found[0] if len(found) == 1 else keras.tree.map_structure(lambda *parts: tf.concat(parts, 0), *found)

    return function


def _first(strategy, values):
    """What the first of this worker's replicas returned."""
    return keras.tree.map_structure(lambda value: strategy.experimental_local_results(value)[0], values)
