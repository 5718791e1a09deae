"""Checks of values in the graph, whose failures `checks.readable_errors` turns into plain errors."""

import tensorflow as tf

MARK = "[tf_mtl] "


def assert_none(wrong: tf.Tensor, values: tf.Tensor, rule: str) -> tf.Tensor:
    """Return an op that fails where any of `wrong` is true, with the rule that is broken and some of its values."""
    message = f"{MARK}{rule} Received:"

    def fail():
        examples = tf.boolean_mask(values, wrong)[:6]
        with tf.control_dependencies([tf.debugging.Assert(False, [message, examples], summarize=6)]):
            return tf.constant(False)

    return tf.cond(tf.reduce_any(wrong), fail, lambda: tf.constant(True))
