"""Draw one stream of rows or batches from data sets that each label some of the tasks."""

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral

import numpy as np
import tensorflow as tf

from tf_mtl.data._batch_by_length import batches as batches_of
from tf_mtl.data._batch_by_length import one_length
from tf_mtl.data._dynamic_rates import DynamicRates
from tf_mtl.data._mixture import Mixture, SourceSequence
from tf_mtl.data._rates import rates_of
from tf_mtl.data._sources import check_sources, complete, size, weigh


def mix(
    sources: Mapping[str, tf.data.Dataset],
    rates: str | Mapping[str, float] | Callable[[tf.Tensor], Mapping[str, float]] | DynamicRates = "proportional",
    temperature: float | None = None,
    *,
    cap: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    batches: str = "mixed",
    boundaries: Sequence[int] | None = None,
    epoch: str | int = "sum",
    shuffle_buffer: int | None = None,
    seed: int | None = None,
) -> Mixture:
    r"""Mix several data sets, each repeated without end, at given rates.

    A row has labels for all tasks of all sources; those its own source lacks are zeros of weight 0. Sources go on from
    epoch to epoch of a `fit`: nothing starts anew, so the end of a long source is not lost. With `shuffle_buffer`, and
    sources that do not shuffle, what an element holds follows from the seed and its place in the stream alone.

    Args:
        sources: `{name: data set}` of unbatched rows (x, {task: y}) or (x, {task: y}, {task: weight}). Inputs x must
            have the same names, dtypes and shapes everywhere; tasks may differ. Axes may be of unknown length.
        rates: How often a source is drawn, with $n_i$ its rows: "uniform"; "proportional", $p_i \propto n_i$;
            "temperature", $p_i \propto n_i^{1/\tau}$ (Devlin 2018 for multilingual BERT; Raffel et al. 2020); "sqrt",
            the same with $\tau = 2$; "annealed", $p_i \propto n_i^\alpha$ with $\alpha$ falling in equal steps from 1
            in the first of `epochs` to 0 in the last and after it (Stickland & Murray, "BERT and PALs", 2019, where it
            falls to 0.2); `{source: rate}`; a function of the step, an int64 scalar counted over all epochs, that gives
            `{source: rate}` and can be traced; or a `tf_mtl.data.DynamicRates`. Rates need not add up to 1.
        temperature: $\tau$, at least 1: 1 is proportional, infinity uniform. Given with "proportional" it makes that
            "temperature".
        cap: Takes the place of $n_i$ in the rates where it is smaller (Raffel et al., T5, 2020). None: no limit.
        epochs: Number of epochs, for "annealed".
        batch_size: Rows of a batch. All axes of unknown length are padded with zeros to one length, the longest of the
            batch, as in `tf_mtl.data.batch_by_length`. None gives rows, and the steps are rows.
        batches: "mixed": each row is drawn; "homogeneous": each batch is, and all its rows are of one source.
        boundaries: Lengths by which rows are grouped, as in `tf_mtl.data.batch_by_length`. In mixed batches rows then
            wait for others of like length, so a batch may hold rows drawn some steps before.
        epoch: Length of an epoch: "sum", as many rows as the sources have together; "shortest" or "longest", as many
            as it takes, at the rates of the first step, until the first or the last source (of those with a rate above
            0) has been seen once in expectation, $\min_i$ or $\max_i\ n_i / p_i$ rows; or the number of steps. Rows
            are rounded up to full batches.
        shuffle_buffer: From how many rows of a source the next one is drawn, in another order in each pass, as in
            `tf.data.Dataset.shuffle`; a number as large as the source shuffles it as a whole. None: in the source's
            order. A `shuffle` of the source's own does as well, but its order depends on how often it was read before.
        seed: Seed of the draws and of the order; the same seed gives the same stream. None: drawn once, now, by
            NumPy, which `keras.utils.set_random_seed` seeds. Several workers must be given one.

    Returns:
        An endless data set of (x, {task: y}, {task: weight}), weights float32, whose `len` is that of an epoch. `fit`
        takes its number of steps from it, and logs the shares of rows drawn as `share_<source>`.

    Raises:
        TypeError: if a source's elements are not rows with a dict of labels.
        ValueError: for inputs or labels that differ between sources (the message names the field), rates, sizes or
            lengths that cannot be had, and an empty source or one of unknown size where rates depend on it; from `len`
            where an epoch's length does.

    Example:

    >>> a = tf.data.Dataset.from_tensor_slices((np.zeros((8, 2)), {"topic": np.arange(8)}))
    >>> b = tf.data.Dataset.from_tensor_slices((np.ones((2, 2)), {"stars": np.ones(2)}))
    >>> mixture = mtl.data.mix({"a": a, "b": b}, rates="sqrt", batch_size=5, seed=0)
    >>> len(mixture), mixture.probabilities([0]).numpy().round(2).tolist()
    (2, [[0.67, 0.33]])
    >>> x, y, weight = next(iter(mixture))
    >>> x.shape, sorted(y)
    (TensorShape([5, 2]), ['stars', 'topic'])
    """
    tasks = check_sources(sources)
    if batches not in ("mixed", "homogeneous"):
        raise ValueError(f"`batches` must be 'mixed' or 'homogeneous', received {batches!r}.")
    if batch_size is None and (batches == "homogeneous" or boundaries is not None):
        raise ValueError("`batches='homogeneous'` and `boundaries` are about batches: give `batch_size`.")
    if epoch not in ("sum", "shortest", "longest") and not _is_number(epoch):
        raise ValueError(f"`epoch` must be 'sum', 'shortest', 'longest' or a number of steps, received {epoch!r}.")
    if shuffle_buffer is not None and not _is_number(shuffle_buffer):
        raise ValueError(f"`shuffle_buffer` must be a number of rows, or None, received {shuffle_buffer!r}.")
    if seed is not None and not isinstance(seed, Integral):
        raise ValueError(f"`seed` must be an integer, or None, received {seed!r}.")
    if isinstance(rates, DynamicRates) and batches == "mixed" and boundaries is not None:
        raise ValueError(
            "`boundaries` let rows of mixed batches wait for others, into an epoch for which DynamicRates are not "
            "settled yet. Use batches='homogeneous', or leave `boundaries` out."
        )

    def sizes():
        return [size(name, source) for name, source in sources.items()]

    def length():
        if not isinstance(epoch, str):
            return int(epoch)
        rows = sizes()
        if epoch == "sum":
            return math.ceil(sum(rows) / (batch_size or 1))
        first = found(tf.zeros([1], tf.int64), lambda: tf.zeros([1], tf.int64))[0].numpy()
        passes = [n / p for n, p in zip(rows, first, strict=True) if p > 0]
        return math.ceil((min if epoch == "shortest" else max)(passes) / (batch_size or 1) - 1e-9)

    found = rates_of(rates, temperature, cap, epochs, list(sources), sizes)
    known = not isinstance(rates, DynamicRates)
    mixed = batches == "mixed"
    seed = int(np.random.randint(2**31)) if seed is None else int(seed)
    steps = length() if rates == "annealed" or not known else None
    draws = SourceSequence(
        found, length if steps is None else lambda: steps, len(sources), (batch_size or 1) if mixed else 1, seed, known
    )
    parts = [
        _passes(weigh(source, tasks), shuffle_buffer, seed + 1 + place) for place, source in enumerate(sources.values())
    ]
    if mixed:
        parts = [complete(part, tasks) for part in parts]
    else:
        parts = [complete(batches_of(part, batch_size, boundaries, True), tasks, batch_size) for part in parts]
    stream = tf.data.Dataset.choose_from_datasets(parts, draws.dataset().unbatch())
    if mixed and batch_size is not None:
        stream = batches_of(stream, batch_size, boundaries, True)
    stream = one_length(stream) if batch_size is not None else stream
    if not known:
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False  # nothing may be drawn before its rates are settled
        options.experimental_optimization.map_parallelization = False
        stream = stream.with_options(options)
    return Mixture(stream, sources, rates, draws, length)


def _passes(source, shuffle_buffer, seed):
    """All rows of a source again and again."""
    if shuffle_buffer is None:
        return source.repeat()

    def one(number):
        tf.random.set_seed(1)  # of this function's graph, so that the order is that of `seed` alone
        order = tf.random.stateless_uniform([], [seed, number], minval=1, maxval=2**62, dtype=tf.int64)
        return source.shuffle(shuffle_buffer, seed=order, reshuffle_each_iteration=False)

    endless = tf.data.Dataset.range(2**62).flat_map(one)
    return endless.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))


def _is_number(value):
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= 1
