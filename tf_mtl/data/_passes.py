"""A source in endless passes, from any row on."""

import tensorflow as tf

# What makes a row depend on how often something was read before, so that skipped rows must be read.
_STATEFUL = ("Random", "Shuffle", "Stateful", "Rng", "Multinomial", "PyFunc", "Sample", "Assign", "ResourceScatter")


def repeated(source: tf.data.Dataset, shuffle_buffer: int | None, seed: int, first_row: int = 0) -> tf.data.Dataset:
    """Return the rows of a source in endless passes, each in its own order if there is a shuffle buffer.

    Args:
        source: The source; its size must be known unless `first_row` is 0.
        shuffle_buffer: The size of the buffer; None for the source's order.
        seed: Seed of the orders.
        first_row: The number of rows to pass over. At most one pass over the source is read for that.
    """
    first_pass, skipped = divmod(first_row, int(source.cardinality())) if first_row else (0, 0)
    if shuffle_buffer is None:
        return source.skip(skipped).concatenate(source.repeat()) if skipped else source.repeat()

    def one_pass(number):
        tf.random.set_seed(1)  # of this function's graph, so that the order depends on `seed` alone
        order = tf.random.stateless_uniform([], [seed, number], minval=1, maxval=2**62, dtype=tf.int64)
        rows = source.shuffle(shuffle_buffer, seed=order, reshuffle_each_iteration=False)
        return rows.skip(tf.where(number == first_pass, tf.constant(skipped, tf.int64), 0)) if skipped else rows

    passes = tf.data.Dataset.range(first_pass, 2**62).flat_map(one_pass)
    return passes.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))


def can_start_anywhere(source: tf.data.Dataset) -> bool:
    """Return whether `repeated` gives the same rows from any row on as if all earlier ones had been read.

    The number of rows must be known, and no row may depend on how often the source was read before, as it does after a
    `shuffle` or an operation that draws random numbers.
    """
    return int(source.cardinality()) > 0 and not _has_state(source)


def _has_state(dataset):
    functions = [function.function for function in dataset._functions()]
    operations = {op.type for function in functions for op in function.graph.get_operations()}
    operations |= {
        nested.op for f in functions for g in f.graph.as_graph_def().library.function for nested in g.node_def
    }
    names = {type(dataset).__name__, *operations}
    stateless = {name for name in names if name.startswith("Stateless")}
    return any(word in name for name in names - stateless for word in _STATEFUL) or any(
        _has_state(each) for each in dataset._inputs()
    )
