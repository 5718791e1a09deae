"""Draw one stream of rows or batches from data sets that each label some of the tasks."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl.data._augmented import Augment, augmented
from tf_mtl.data._dynamic_rates import DynamicRates
from tf_mtl.data._mixed_stream import MixedStream
from tf_mtl.data._mixture import Mixture, SourceSequence
from tf_mtl.data._rates import rate_schedule
from tf_mtl.data._sources import common_label_specs, row_count
from tf_mtl.images import RandomView

_EPOCH_LENGTHS = ("sum", "shortest", "longest")


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
    augment: Augment | None = None,
) -> Mixture:
    r"""Mix several data sets, each repeated endlessly, at given rates.

    A row has labels for the tasks of all sources; labels that its own source lacks are zeros of weight 0. Sources
    continue from epoch to epoch of a `fit`: none restarts, so the end of a long source is not lost. With
    `shuffle_buffer`, and sources that do not shuffle themselves, the contents of an element depend only on the seed and
    on its position in the stream.

    Args:
        sources: `{name: data set}` of unbatched rows (x, {task: y}) or (x, {task: y}, {task: weight}). Inputs x must
            have the same names, dtypes and shapes in all sources; tasks may differ. Axes may be of unknown length.
        rates: How often a source is drawn; $n_i$ is its number of rows. "uniform"; "proportional", $p_i \propto n_i$;
            "temperature", $p_i \propto n_i^{1/\tau}$ (Devlin 2018 for multilingual BERT; Raffel et al. 2020); "sqrt",
            the same with $\tau = 2$; "annealed", $p_i \propto n_i^\alpha$ with $\alpha$ decreasing in equal steps
            from 1 in the first of `epochs` to 0 in the last and after it (Stickland & Murray, "BERT and PALs", 2019,
            where it decreases to 0.2); `{source: rate}`; a traceable function that takes the step, an int64 scalar
            counted over all epochs, and returns `{source: rate}`; or a `tf_mtl.data.DynamicRates`. Rates need not sum
            to 1.
        temperature: $\tau$, at least 1: 1 is proportional, infinity is uniform. With rates="proportional" it has the
            effect of rates="temperature".
        cap: Replaces $n_i$ in the rates where it is smaller (Raffel et al., T5, 2020). None: no limit.
        epochs: Number of epochs, for "annealed".
        batch_size: The number of rows of a batch. All axes of unknown length are padded with zeros to one length, the
            longest of the batch, as in `tf_mtl.data.batch_by_length`. None returns rows, and a step is a row.
        batches: "mixed": every row is drawn; "homogeneous": every batch is drawn, and all its rows are of one source.
        boundaries: Lengths by which rows are grouped, as in `tf_mtl.data.batch_by_length`. In mixed batches, rows then
            wait for others of similar length, so a batch may hold rows drawn some steps earlier.
        epoch: Length of an epoch: "sum", as many rows as all sources have together; "shortest" or "longest", as many
            as it takes, at the rates of the first step, until the first or the last source (of those with a rate above
            0) has been read once in expectation, $\min_i$ or $\max_i\ n_i / p_i$ rows; or the number of steps. Rows
            are rounded up to full batches.
        shuffle_buffer: The number of rows of a source from which the next one is drawn, in a different order in each
            pass, as in `tf.data.Dataset.shuffle`; a number as large as the source shuffles it fully. None: in the
            source's order. A source may also shuffle itself, but then its order depends on how often it was read
            before.
        seed: Seed of the draws and of the order; the same seed gives the same stream. None: chosen once, now, by
            NumPy, which `keras.utils.set_random_seed` seeds. With several workers it must be given.
        augment: A function from the inputs and labels of a row and a seed to inputs and labels, such as
            `tf_mtl.images.RandomView`. The seed, int64 [2] for `tf.random.stateless_uniform`, is another one each time
            a row is read, and depends on `seed` and the position in the stream alone. What it draws from other random
            numbers cannot be repeated.

    Returns:
        An endless data set of (x, {task: y}, {task: weight}), weights float32, whose `len` is the length of an epoch.
        `fit` takes its number of steps from it, and logs the fractions of rows drawn as `share_<source>`.

    Raises:
        TypeError: if a source's elements are not rows with a dict of labels.
        ValueError: for inputs or labels that differ between sources (the message names the field), invalid rates,
            sizes or lengths, a view of labels that no source has, an empty source, and a source of unknown size if
            rates depend on it; `len` raises it if the length of an epoch depends on it.

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
    changed = sources
    if augment is not None and all(isinstance(source, tf.data.Dataset) for source in sources.values()):
        changed = {name: augmented(source, augment, seed=0) for name, source in sources.items()}
    specs = common_label_specs(changed)
    if isinstance(augment, RandomView):
        augment.check_tasks(specs)
    if batches not in ("mixed", "homogeneous"):
        raise ValueError(f"`batches` must be 'mixed' or 'homogeneous', received {batches!r}.")
    batch_size = integer("batch_size", batch_size, 1, none=True)
    if batch_size is None and (batches == "homogeneous" or boundaries is not None):
        raise ValueError(
            "`batches='homogeneous'` and `boundaries` apply to batches, but `batch_size` is None. Pass `batch_size`."
        )
    if isinstance(epoch, str) and epoch not in _EPOCH_LENGTHS:
        raise ValueError(
            f"`epoch` must be 'sum', 'shortest', 'longest' or an integer, the number of steps; received {epoch!r}."
        )
    if isinstance(rates, DynamicRates) and batches == "mixed" and boundaries is not None:
        raise ValueError(
            "`boundaries` let rows of mixed batches wait for others, even into epochs whose DynamicRates are not yet "
            "set. Use batches='homogeneous', or omit `boundaries`."
        )
    steps = None if isinstance(epoch, str) else integer("epoch", epoch, 1)
    shuffle_buffer = integer("shuffle_buffer", shuffle_buffer, 1, none=True)
    seed = int(np.random.randint(2**31)) if seed is None else integer("seed", seed, 0)

    def row_counts() -> list[int]:
        return [row_count(name, source) for name, source in sources.items()]

    def epoch_length() -> int:
        if steps is not None:
            return steps
        rows = row_counts()
        if epoch == "sum":
            return math.ceil(sum(rows) / (batch_size or 1))
        first_step = schedule(tf.zeros([1], tf.int64), lambda: tf.zeros([1], tf.int64))[0].numpy()
        passes = [n / p for n, p in zip(rows, first_step, strict=True) if p > 0]
        return math.ceil((min if epoch == "shortest" else max)(passes) / (batch_size or 1) - 1e-9)

    schedule = rate_schedule(rates, temperature, cap, epochs, list(sources), row_counts)
    known_ahead = not isinstance(rates, DynamicRates)
    if rates == "annealed" or not known_ahead:
        steps = epoch_length()  # now, because these rates need it in the graph that draws sources
    sources_per_step = batch_size if batch_size is not None and batches == "mixed" else 1
    sequence = SourceSequence(schedule, len(sources), epoch_length, sources_per_step, seed, known_ahead)
    homogeneous = batches == "homogeneous"
    stream = MixedStream(
        list(sources.values()), specs, sequence, batch_size, homogeneous, boundaries, shuffle_buffer, seed, augment
    )
    return Mixture(stream.dataset, list(sources), rates, sequence, epoch_length)
