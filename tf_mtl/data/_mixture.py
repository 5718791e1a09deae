"""A data set that draws from several others."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl.data._rates import RateSchedule

_BLOCK_SIZE = 4096
_ENDLESS = 2**62


class SourceSequence:
    """Which source each row or batch of a mixture comes from: a pure function of seed and step.

    Sources are indices, in the order of the mixture's sources.

    Args:
        schedule: The probabilities of the sources.
        sources: The number of sources.
        epoch_length: Returns the number of steps per epoch.
        sources_per_step: The number of sources drawn per step: one for each row, or one for a whole batch.
        seed: Seed of the draws.
        known_ahead: Whether the probabilities of all steps are known in advance, so that many steps can be drawn at one
            time.
    """

    def __init__(
        self,
        schedule: RateSchedule,
        sources: int,
        epoch_length: Callable[[], int],
        sources_per_step: int,
        seed: int,
        known_ahead: bool = True,
    ):
        self.sources_per_step = sources_per_step
        self.known_ahead = known_ahead
        self._sources = sources
        self._schedule, self._epoch_length, self._seed = schedule, epoch_length, seed
        self._steps_per_block = max(1, _BLOCK_SIZE // sources_per_step) if known_ahead else 1

    def probabilities(self, steps: tf.Tensor) -> tf.Tensor:
        """Return the probabilities [K, T] of the sources at the steps [K]."""
        steps = tf.cast(steps, tf.int64)
        return self._schedule(steps, lambda: steps // self._epoch_length())

    def indices(self, first_step: int = 0, end_step: int = _ENDLESS) -> tf.data.Dataset:
        """Return a data set of the sources [sources_per_step] of each step in range(first_step, end_step)."""
        first_block, last_block = first_step // self._steps_per_block, end_step // self._steps_per_block
        blocks = tf.data.Dataset.range(first_block, last_block + 1).map(self._indices_in_block)
        skipped = first_step - first_block * self._steps_per_block
        return blocks.unbatch().skip(skipped).take(end_step - first_step)

    def counts(self, first_step: int, end_step: int) -> np.ndarray:
        """Return how often each source is drawn in range(first_step, end_step), an int64 vector."""

        def counts_in_block(block):
            steps = block * self._steps_per_block + tf.range(self._steps_per_block, dtype=tf.int64)
            indices = self._indices_in_block(block)[(steps >= first_step) & (steps < end_step)]
            return tf.math.bincount(tf.reshape(indices, [-1]), minlength=self._sources, maxlength=self._sources)

        blocks = tf.data.Dataset.range(first_step // self._steps_per_block, -(-end_step // self._steps_per_block))
        zeros = tf.zeros([self._sources], tf.int64)
        counts = blocks.map(counts_in_block, num_parallel_calls=tf.data.AUTOTUNE)
        return counts.reduce(zeros, lambda total, block: total + tf.cast(block, tf.int64)).numpy()

    def _indices_in_block(self, block):
        steps = block * self._steps_per_block + tf.range(self._steps_per_block, dtype=tf.int64)
        cumulative = tf.cumsum(self.probabilities(steps), axis=-1)
        uniform = tf.random.stateless_uniform(
            [self._steps_per_block, self.sources_per_step],
            tf.stack([tf.constant(self._seed, tf.int64), block]),
            dtype=tf.float64,
        )
        is_beyond = (uniform * cumulative[:, -1:])[..., None] >= cumulative[:, None, :-1]
        return tf.reduce_sum(tf.cast(is_beyond, tf.int64), -1)


class Mixture(tf.data.Dataset):
    """What `tf_mtl.data.mix` returns: an endless `tf.data.Dataset` whose epochs have `len(mixture)` elements.

    `fit` of `tf_mtl.MultiTaskModel` takes an epoch's number of steps from it, and logs the fractions of rows drawn as
    `share_<source>`. Each `fit` begins with the first epoch, even with `initial_epoch`; `tf_mtl.callbacks.Checkpoint`
    resumes where a run stopped. `evaluate`, `predict` and validation take the first epoch, with the same rows each time
    unless a source shuffles. Transformations such as `map`, `take` and `prefetch` return an ordinary data set, which
    has no epochs.

    Attributes:
        sources: The names of the sources.
        rates: The rates that `mix` received.

    Example:

    >>> rows = tf.data.Dataset.from_tensor_slices((np.zeros((9, 2)), {"topic": np.arange(9)}))
    >>> mixture = mtl.data.mix({"news": rows}, batch_size=4, seed=0)
    >>> len(mixture), mixture.shares(0, 3)
    (3, {'news': 1.0})
    """

    def __init__(
        self,
        elements: Callable[[int], tf.data.Dataset],
        sources: Sequence[str],
        rates: Any,
        sequence: SourceSequence,
        epoch_length: Callable[[], int],
    ):
        self.sources, self.rates = list(sources), rates
        self._elements, self._sequence, self._epoch_length = elements, sequence, epoch_length
        self._dataset = elements(0)
        super().__init__(self._dataset._variant_tensor)

    @property
    def element_spec(self) -> Any:
        """The structure of an element."""
        return self._dataset.element_spec

    def __len__(self) -> int:
        return self._epoch_length()

    def skip(self, count: int, name: str | None = None) -> tf.data.Dataset:
        """Return the elements after the first `count`.

        They are found without reading those before, but for the current pass over each source, where the sources' sizes
        are known and they draw no random numbers of their own, unless the mixture has `boundaries`.
        """
        return self._elements(integer("count", int(count), 0))

    def probabilities(self, steps: tf.Tensor) -> tf.Tensor:
        """Return the probabilities [K, sources] of the sources at the steps [K], counted over all epochs."""
        return self._sequence.probabilities(steps)

    def shares(self, first_step: int, steps: int) -> dict[str, float]:
        """Return the fraction of rows drawn from each source in some steps, counted over all epochs.

        Args:
            first_step: The first of the steps.
            steps: The number of steps, at least 1.
        """
        draws = self._sequence.counts(first_step, first_step + steps)
        return {name: float(number / draws.sum()) for name, number in zip(self.sources, draws, strict=True)}

    def _inputs(self) -> list[tf.data.Dataset]:
        return [self._dataset]
