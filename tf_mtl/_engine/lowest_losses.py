"""Stop training before a step whose losses are too low for the balancing method; see `Balancing.lowest_loss`.

An assertion does that wherever TensorFlow runs assertions. XLA drops them, so a step that it compiles keeps all
variables as they are, and remembers the losses, which are read after the step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._assertions import assert_none
from tf_mtl._engine.unlabelled import SavedValues, restore_where_unlabelled
from tf_mtl.balancing import Balancing


def assert_losses(model: keras.Model, balancing: Balancing, losses: tf.Tensor) -> list[tf.Tensor]:
    """Return the ops that fail where one of the losses [T] is too low; none under XLA.

    Raises:
        ValueError: outside a graph, if a loss is too low.
    """
    if balancing.lowest_loss is None or refuses_under_xla(model, balancing):
        return []
    if tf.executing_eagerly():
        balancing.check_losses(losses)
        return []
    wrong = balancing.is_too_low(losses)

    def fail():
        received = tf.strings.join([tf.constant(balancing.tasks), tf.strings.as_string(losses)], ": ")
        return assert_none(wrong, received, balancing.loss_rule)

    return [tf.cond(tf.reduce_any(wrong), fail, lambda: tf.constant(True))]


def refuses_under_xla(model: keras.Model, balancing: Balancing) -> bool:
    """Return whether losses may be too low in a training step that XLA compiles."""
    return balancing.lowest_loss is not None and bool(model.jit_compile) and not model.run_eagerly


class RefusedLosses:
    """The losses that a training step under XLA has refused; NaN without any.

    Args:
        balancing: The balancing method.
    """

    def __init__(self, balancing: Balancing):
        self._balancing = balancing
        with tf.init_scope():
            self._losses = tf.Variable(tf.fill([len(balancing.tasks)], float("nan")), trainable=False)

    def read_variables(self, model: keras.Model) -> SavedValues:
        """Read all variables that a step of the model may change, before the step."""
        variables = {id(v): v for owner in (model, model.optimizer, self._balancing) for v in owner.variables}
        return SavedValues.read(list(variables.values()), None)

    def restore_if_refused(self, saved: SavedValues, losses: Sequence[tf.Tensor]) -> None:
        """Undo a step if one of its losses [T] is too low, or an earlier step was refused."""
        refused = tf.convert_to_tensor(self._losses)
        for each in losses:
            is_first = tf.reduce_all(tf.math.is_nan(refused)) & tf.reduce_any(self._balancing.is_too_low(each))
            refused = tf.where(is_first, each, refused)
        self._losses.assign(refused)
        restore_where_unlabelled(saved, tf.reduce_all(tf.math.is_nan(refused)))

    def stop_after(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a training function that raises a `ValueError` after a step that was refused."""

        def stopping(iterator):
            logs = function(iterator)
            losses = tf.convert_to_tensor(self._losses)
            if not tf.reduce_all(tf.math.is_nan(losses)):
                self._losses.assign(tf.fill(losses.shape, float("nan")))
                self._balancing.check_losses(losses)
            return logs

        return stopping
