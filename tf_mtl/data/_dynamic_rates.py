"""Rates of a mixture that are set during training, from epoch to epoch."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf


class DynamicRates:
    """The rates at which a mixture draws its sources, one row per epoch, appended by `callbacks.DynamicRates`.

    All rows are kept, so the rates of a step are the same whenever they are read. Epochs after the last row have the
    rates of the last row. Use an object for one mixture of training data only.

    Args:
        sources: The names of the mixture's sources.
        initial: `{source: rate}` in the first epoch; uniform by default.

    Attributes:
        sources: The names of the sources.

    Raises:
        ValueError: for no sources, and for rates of other sources, negative rates or rates that are all 0.

    Example:

    >>> rates = mtl.data.DynamicRates(["news", "reviews"])
    >>> rates.append({"news": 3.0, "reviews": 1.0})
    >>> rates.probabilities(tf.constant([0, 1, 7])).numpy().tolist()
    [[0.5, 0.5], [0.75, 0.25], [0.75, 0.25]]
    """

    def __init__(self, sources: Sequence[str], initial: Mapping[str, float] | None = None):
        self.sources = list(sources)
        if not self.sources:
            raise ValueError("`sources` must name at least one source, received none.")
        first = self._normalized(dict.fromkeys(self.sources, 1.0) if initial is None else initial)[None]
        with tf.device("/device:CPU:0"):  # where tf.data reads it
            self._history = tf.Variable(first, shape=[None, len(self.sources)], dtype=tf.float64, trainable=False)

    @property
    def history(self) -> np.ndarray:
        """The probabilities [epochs, sources]; each row sums to 1."""
        return self._history.numpy()

    @history.setter
    def history(self, rows: np.ndarray) -> None:
        self._history.assign(rows)

    def append(self, rates: Mapping[str, float]) -> None:
        """Append the rates `{source: rate}` of the next epoch; they need not sum to 1."""
        self.history = np.concatenate([self.history, self._normalized(rates)[None]])

    def probabilities(self, epochs: tf.Tensor) -> tf.Tensor:
        """Return the probabilities [K, sources] in the epochs [K], counted from 0."""
        history = self._history.read_value()
        return tf.gather(history, tf.minimum(tf.cast(epochs, tf.int32), tf.shape(history)[0] - 1))

    def _normalized(self, rates: Mapping[str, float]) -> np.ndarray:
        if set(rates) != set(self.sources):
            raise ValueError(f"Rates must be given for the sources {self.sources}, received {list(rates)}.")
        row = np.array([rates[name] for name in self.sources], "float64")
        if not (row >= 0).all() or not 0 < row.sum() < np.inf:
            raise ValueError(f"Rates must be finite, not negative, and not all 0, received {dict(rates)}.")
        return row / row.sum()
