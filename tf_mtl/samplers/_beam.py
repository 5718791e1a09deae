"""Beam search."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range, integer
from tf_mtl.layers._decoding import Decoding
from tf_mtl.samplers._base import Sampler

_NEVER = -1e9  # the score of what must not be chosen


@keras.saving.register_keras_serializable("tf_mtl")
class Beam(Sampler):
    r"""Beam search: keeps the most probable beginnings of texts, and takes the ended text with the best score.

    $$\frac{1}{n^\alpha} \sum_{i=1}^{n} \log p_i$$

    where n counts the tokens of a text, its end included. Each step extends `beams` beginnings. A row is done when
    `beams` texts have ended, none with a lower score than the best beginning has so far, or at the largest length; only
    if none has ended by then, it takes the best beginning.

    Args:
        beams: The number of beginnings that are kept.
        length_penalty: The exponent $\alpha$: 0 compares the probabilities of whole texts, which favours short ones.

    Raises:
        ValueError: if a number is out of range.

    Reference: Wu et al., "Google's neural machine translation system", arXiv 2016.

    Example:

    >>> mtl.samplers.Beam(5, length_penalty=0.6).get_config()
    {'beams': 5, 'length_penalty': 0.6}
    """

    def __init__(self, beams: int = 4, length_penalty: float = 1.0):
        self.beams = integer("beams", beams, 1)
        self.length_penalty = in_range("length_penalty", length_penalty, 0)

    def __call__(self, decoding: Decoding) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the tokens [B, T] and their log-probabilities [B, T]."""
        search = _Search(decoding, self.beams, self.length_penalty)
        alive, ended = tf.while_loop(
            search.goes_on, search.step, search.start(), maximum_iterations=decoding.steps - 1
        )[2:]
        return search.best(alive, ended)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"beams": self.beams, "length_penalty": self.length_penalty}


class _Search:
    """The steps of a search.

    Texts are tuples (scores [B, n], tokens [B, n, T], log-probabilities [B, n, T]). `alive` are n = K beginnings, with
    the sum of their log-probabilities as the score; `ended` are the K best texts that have ended, with the final score.
    """

    def __init__(self, decoding: Decoding, beams: int, length_penalty: float):
        self._decoding = decoding.repeated(beams)
        self._beams, self._length_penalty, self._length = beams, length_penalty, decoding.length
        self._rows = decoding.rows
        self._delay = decoding.delay

    def start(self):
        """The state after the first token: the next position, the decoder's state, and the texts."""
        shape = [self._rows, self._beams, self._length]
        blank = tf.fill(shape, self._decoding.padding), tf.zeros(shape)
        is_first = tf.range(self._beams) == 0  # all beginnings are the same so far
        scores = tf.where(is_first, 0.0, _NEVER) + tf.zeros([self._rows, 1])
        nothing = tf.fill([self._rows, self._beams], _NEVER), *blank
        alive, ended, parents = self._extended(0, self._decoding.logits, (scores, *blank), nothing)
        return 1, self._of(parents, self._decoding.state), alive, ended

    def goes_on(self, position, state, alive, ended):
        """Whether some row is not done."""
        return ~tf.reduce_all(self._is_done(position, alive, ended))

    def step(self, position, state, alive, ended):
        """The state after the next token."""
        last = tf.clip_by_value(position - 1 - self._delay, 0, self._length - 1)
        fed = tf.reshape(tf.gather(alive[1], last, axis=2, batch_dims=1), [-1])
        logits, state = self._decoding.step(fed, position, state, self._decoding.context)
        alive, ended, parents = self._extended(position, logits, alive, ended)
        return position + 1, self._of(parents, state), alive, ended

    def best(self, alive, ended):
        """The tokens of each row's best text, and their log-probabilities."""
        has_ended = ended[0][:, 0] > _NEVER / 2
        return tuple(
            tf.where(has_ended[:, None], of_ended[:, 0], of_alive[:, 0])
            for of_alive, of_ended in zip(alive[1:], ended[1:], strict=True)
        )

    def _is_done(self, step, alive, ended):
        """Whether the search in a row is over, after so many steps, [B]."""
        count = step - self._delay
        score = alive[0][:, 0] / self._normalizer(count)
        return (count >= self._length) | ((ended[0][:, -1] > _NEVER / 2) & (ended[0][:, -1] >= score))

    def _normalizer(self, count):
        """What the score of a text of so many tokens is divided by, [B]."""
        return tf.cast(tf.maximum(count, 1), tf.float32) ** self._length_penalty

    def _extended(self, step, logits, alive, ended):
        """The texts with one more token, and the number of the beginning that each of the new ones extends, [B, K]."""
        scores, tokens, log_probabilities = alive
        position = step - self._delay
        new = tf.reshape(tf.nn.log_softmax(logits), [self._rows, self._beams, logits.shape[-1]])
        totals = tf.reshape(scores[..., None] + new, [self._rows, -1])
        totals, chosen = tf.math.top_k(totals, 2 * self._beams)  # one per beginning may be an end
        parents, token = chosen // logits.shape[-1], chosen % logits.shape[-1]
        log_probability = tf.gather(tf.reshape(new, [self._rows, -1]), chosen, batch_dims=1)
        is_here = (tf.range(self._length) == position[:, None])[:, None]
        longer = (
            tf.where(is_here, token[..., None], tf.gather(tokens, parents, batch_dims=1)),
            tf.where(is_here, log_probability[..., None], tf.gather(log_probabilities, parents, batch_dims=1)),
        )
        is_end = (token == self._decoding.end) & (totals > _NEVER / 2)
        final = totals / self._normalizer(position + 1)[:, None]
        candidates = tf.where(is_end, final, _NEVER), *longer
        better = self._best_of([tf.concat(pair, 1) for pair in zip(ended, candidates, strict=True)])[0]
        kept, indices = self._best_of((tf.where(token == self._decoding.end, _NEVER, totals), *longer))
        parents = tf.gather(parents, indices, batch_dims=1)
        is_idle = (position < 0) | (position >= self._length)
        ended = _unless(is_idle | self._is_done(step, alive, ended), better, ended)
        alive, parents = _unless(is_idle, (kept, parents), (alive, tf.zeros_like(parents) + tf.range(self._beams)))
        return alive, ended, parents

    def _best_of(self, texts):
        """The K texts with the best scores, and their indices."""
        scores, indices = tf.math.top_k(texts[0], self._beams)
        return (scores, *(tf.gather(part, indices, batch_dims=1) for part in texts[1:])), indices

    def _of(self, parents, state):
        """The decoder's state for the beginnings that were kept."""
        rows = tf.reshape(parents + tf.range(self._rows)[:, None] * self._beams, [-1])
        return tf.nest.map_structure(lambda x: tf.ensure_shape(tf.gather(x, rows), x.shape), state)


def _unless(condition, new, old):
    """The new tensors but in rows where a condition [B] holds, which have the old ones."""
    return tf.nest.map_structure(
        lambda new, old: tf.where(tf.reshape(condition, [-1] + [1] * (len(old.shape) - 1)), old, new), new, old
    )
