"""Checks of values in the graph, and their failures as plain errors."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

MARK = "[tf_mtl] "


def assert_none(wrong: tf.Tensor, values: tf.Tensor, rule: str) -> tf.Tensor:
    """Return an op that fails where any of `wrong` is true, with the rule that is broken and some of its values."""
    message = f"{MARK}{rule} Received:"
    if tf.executing_eagerly():
        if tf.reduce_any(wrong):
            raise ValueError(f"{message} {tf.boolean_mask(values, wrong)[:6].numpy().tolist()}.")
        return tf.constant(True)

    def fail():
        examples = tf.boolean_mask(values, wrong)[:6]
        with tf.control_dependencies([tf.debugging.Assert(False, [message, examples], summarize=6)]):
            return tf.constant(False)

    return tf.cond(tf.reduce_any(wrong), fail, lambda: tf.constant(True))


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    """Turn the failure of a check of a batch into a `ValueError` with its message alone."""
    try:
        yield
    except (tf.errors.InvalidArgumentError, ValueError) as error:  # in a graph, and outside
        failure = re.search(re.escape(MARK) + r"(.*Received:)\]? (\[[^]]*\])", str(error))
        if not failure:
            raise
        raise ValueError(f"{failure[1]} {failure[2]}.".replace("\\'", "'")) from None
