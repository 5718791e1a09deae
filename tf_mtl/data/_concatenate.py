"""One data set with all rows of several sources, each once."""

import functools
from collections.abc import Mapping

import tensorflow as tf

from tf_mtl.data._sources import common_label_specs, fill_missing_tasks, standardize_weights


def concatenate(sources: Mapping[str, tf.data.Dataset]) -> tf.data.Dataset:
    """Return the rows of all sources, each once and in order, to evaluate all tasks in one pass.

    As in `tf_mtl.data.mix`, a row has labels for the tasks of all sources; labels that its own source lacks are zeros
    of weight 0.

    Args:
        sources: `{name: data set}` of unbatched rows (x, {task: y}) or (x, {task: y}, {task: weight}) with the same
            inputs.

    Returns:
        A data set of (x, {task: y}, {task: weight}), as long as all sources together.

    Raises:
        TypeError: if a source's elements are not rows with a dict of labels.
        ValueError: for inputs or labels that differ between sources (the message names the field), or an empty source.

    Example:

    >>> a = tf.data.Dataset.from_tensor_slices((np.zeros((8, 2)), {"topic": np.arange(8)}))
    >>> b = tf.data.Dataset.from_tensor_slices((np.ones((2, 2)), {"stars": np.ones(2)}))
    >>> rows = mtl.data.concatenate({"a": a, "b": b})
    >>> len(rows), [int(weight["stars"]) for x, y, weight in rows]
    (10, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1])
    """
    specs = common_label_specs(sources)
    parts = [fill_missing_tasks(standardize_weights(source, specs), specs) for source in sources.values()]
    return functools.reduce(tf.data.Dataset.concatenate, parts)
