"""A data set that draws from several others."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl.data._rates import Rates

_BLOCK = 4096


class SourceSequence:
    """Which source each row, or each batch, of a mixture comes from: a pure function of seed and place.

    Args:
        rates: The rates.
        length: What gives the steps of an epoch.
        sources: Number of sources.
        per_step: SourceSequence of a step.
        seed: Seed of the draws.
        ahead: Whether rates are known for all steps beforehand, so that many steps can be drawn at once.
    """

    def __init__(
        self, rates: Rates, length: Callable[[], int], sources: int, per_step: int, seed: int, ahead: bool = True
    ):
        self.ahead = ahead
        self.per_step = per_step
        self._rates, self._length, self._sources, self._seed = rates, length, sources, seed
        self._steps = max(1, _BLOCK // per_step) if ahead else 1

    def probabilities(self, steps: tf.Tensor) -> tf.Tensor:
        """Return the shares [K, T] of the sources at the steps [K]."""
        steps = tf.cast(steps, tf.int64)
        return self._rates(steps, lambda: steps // self._length())

    def dataset(self, first: int = 0, last: int = 2**62) -> tf.data.Dataset:
        """Return the places of the drawn sources from one step up to another, without it; [draws of a step] each."""
        begin = first // self._steps
        blocks = tf.data.Dataset.range(begin, last // self._steps + 1).map(self._block)
        return blocks.unbatch().skip(first - begin * self._steps).take(last - first)

    def _block(self, block):
        steps = block * self._steps + tf.range(self._steps, dtype=tf.int64)
        until = tf.cumsum(self.probabilities(steps), axis=-1)
        uniform = tf.random.stateless_uniform(
            [self._steps, self.per_step], tf.stack([tf.constant(self._seed, tf.int64), block]), dtype=tf.float64
        )
        found = (uniform * until[:, -1:])[..., None] >= until[:, None, :-1]
        return tf.reduce_sum(tf.cast(found, tf.int64), -1)


class Mixture(tf.data.Dataset):
    """What `tf_mtl.data.mix` returns: an endless `tf.data.Dataset`, of which an epoch has `len(mixture)` elements.

    `fit` of `tf_mtl.MultiTaskModel` takes an epoch's number of steps from it, and logs the drawn shares as
    `share_<source>`. Each `fit` begins at the first epoch, with `initial_epoch` too; `tf_mtl.callbacks.Checkpoint` goes
    on where a run was. `evaluate`, `predict` and validation take the first epoch, the same rows each time unless a
    source shuffles.
    A transformation, as `map`, `take` or `prefetch`, makes an ordinary data set of it, that no longer knows of epochs.

    Attributes:
        sources: The names of the sources.
        rates: The rates, as `mix` was given them.

    Example:

    >>> rows = tf.data.Dataset.from_tensor_slices((np.zeros((9, 2)), {"topic": np.arange(9)}))
    >>> mixture = mtl.data.mix({"news": rows}, batch_size=4, seed=0)
    >>> len(mixture), mixture.shares(0, 3)
    (3, {'news': 1.0})
    """

    def __init__(
        self,
        dataset: tf.data.Dataset,
        sources: Sequence[str],
        rates: Any,
        draws: SourceSequence,
        length: Callable[[], int],
    ):
        self.sources, self.rates = list(sources), rates
        self._dataset, self._draws, self._length = dataset, draws, length
        super().__init__(dataset._variant_tensor)

    @property
    def element_spec(self):
        """The structure of an element."""
        return self._dataset.element_spec

    @property
    def draws_ahead(self) -> bool:
        """Whether elements may be read ahead of training: not those of rates that it has yet to settle."""
        return self._draws.ahead

    def __len__(self) -> int:
        return self._length()

    def probabilities(self, steps: tf.Tensor) -> tf.Tensor:
        """Return the probabilities [K, sources] of the sources at the steps [K], counted over all epochs."""
        return self._draws.probabilities(steps)

    def shares(self, first_step: int, steps: int) -> dict[str, float]:
        """Return the share of rows drawn from each source in some steps, counted over all epochs.

        Args:
            first_step: The first of the steps.
            steps: Their number, at least 1.
        """
        counts = np.zeros(len(self.sources), "int64")
        for places in self._draws.dataset(first_step, first_step + steps).batch(_BLOCK):
            counts += np.bincount(places.numpy().ravel(), minlength=len(counts))
        return {name: float(count / counts.sum()) for name, count in zip(self.sources, counts, strict=True)}

    def _inputs(self):
        return [self._dataset]
