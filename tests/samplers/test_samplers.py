"""Samplers against searches written out in Python, on a small model whose scores depend on all tokens so far."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.layers._decoding import Decoding

V, T, END, PADDING = 5, 4, 1, 0
WEIGHTS = np.random.default_rng(0).normal(size=(3, T, V, V)).astype("float32") * 2  # row, position, token, next token
FIRST = np.random.default_rng(1).normal(size=(3, V)).astype("float32")


def logits_after(row, tokens):
    """The scores of the next token, from the sum of those for each token so far."""
    return FIRST[row] + sum(WEIGHTS[row, i, token] for i, token in enumerate(tokens))


def log_softmax(x):
    return x - np.log(np.exp(x - x.max()).sum()) - x.max()


def decoding(rows=(0, 1, 2), length=T, delay=(0, 0, 0)):
    """A decoder whose state is the sum of scores so far, and whose context is the row's weights and delay.

    What it says before a row begins to write is nonsense, in which the end is most probable.
    """

    def logits_of(state, position, delay):
        return tf.where((position < delay)[:, None], tf.one_hot(END, V, 9.0, 0.0), state)

    def step(tokens, position, state, context):
        weights, delay = context
        last = tf.clip_by_value(position - 1 - delay, 0, T - 1)
        added = tf.gather(tf.gather(weights, last, axis=1, batch_dims=1), tokens, batch_dims=1)
        state = tf.where((position - 1 < delay)[:, None], state, state + added)
        return logits_of(state, position, delay), state

    state, delay = tf.constant(FIRST[list(rows)]), tf.constant(delay[: len(rows)])
    context = tf.constant(WEIGHTS[list(rows)]), delay
    return Decoding(logits_of(state, 0, delay), state, context, step, length, END, PADDING, delay)


def log_probability(row, tokens):
    return [log_softmax(logits_after(row, tokens[:i]))[token] for i, token in enumerate(tokens)]


def texts(tokens):
    return [[t for i, t in enumerate(row) if END not in row[:i]] for row in tokens.numpy().tolist()]


def check_log_probabilities(tokens, log_probabilities):
    for row, text in enumerate(texts(tokens)):
        np.testing.assert_allclose(
            log_probabilities[row, : len(text)], log_probability(row, text), rtol=1e-4, atol=1e-6
        )
        assert (log_probabilities[row, len(text) :].numpy() == 0).all()
        assert (tokens[row, len(text) :].numpy() == PADDING).all()


def test_greedy_takes_the_most_probable_token():
    tokens, log_probabilities = mtl.samplers.Greedy()(decoding())
    for row, text in enumerate(texts(tokens)):
        expected = []
        while len(expected) < T and END not in expected:
            expected.append(int(np.argmax(logits_after(row, expected))))
        assert text == expected
    check_log_probabilities(tokens, log_probabilities)


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0, 2.0])
def test_a_beam_wide_enough_finds_the_best_of_all_texts(alpha):
    tokens, log_probabilities = mtl.samplers.Beam(V**T, length_penalty=alpha)(decoding())
    check_log_probabilities(tokens, log_probabilities)
    others = [t for t in range(V) if t != END]
    every = [[*start, END] for n in range(T) for start in itertools.product(others, repeat=n)]
    for row, text in enumerate(texts(tokens)):
        assert text == max(every, key=lambda text: sum(log_probability(row, text)) / len(text) ** alpha)


def search(row, beams, alpha):
    """A beam search over lists."""

    def score(text):
        return sum(log_probability(row, text)) / len(text) ** alpha

    alive, ended = [[]], []
    for _ in range(T):
        total = {(*text, t): sum(log_probability(row, [*text, t])) for text in alive for t in range(V)}
        best = sorted(total, key=total.get, reverse=True)[: 2 * beams]
        ended += [text for text in best if text[-1] == END]
        alive = [text for text in best if text[-1] != END][:beams]
        ended = sorted(ended, key=score, reverse=True)[:beams]
        if len(ended) == beams and score(ended[-1]) >= score(alive[0]):
            break
    return list(max(ended or alive, key=score))


@pytest.mark.parametrize("beams", [1, 2, 3])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_narrow_beam_is_that_of_a_search_over_lists(beams, alpha):
    tokens, log_probabilities = mtl.samplers.Beam(beams, length_penalty=alpha)(decoding())
    assert texts(tokens) == [search(row, beams, alpha) for row in range(3)]
    check_log_probabilities(tokens, log_probabilities)


def test_texts_that_do_not_end_stop_at_the_length():
    endless = decoding()._replace(end=V + 1)  # no such token
    for sampler in (mtl.samplers.Greedy(), mtl.samplers.Beam(2), mtl.samplers.TopK(3)):
        tokens, log_probabilities = sampler(endless)
        assert tokens.shape == (3, T)
        assert np.isfinite(log_probabilities).all()
        assert (log_probabilities.numpy() < 0).all()


SAMPLERS = [
    mtl.samplers.Greedy(),
    mtl.samplers.Beam(3),
    mtl.samplers.TopK(3, temperature=0.7, seed=4),
    mtl.samplers.TopP(0.8, seed=4),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_a_row_does_not_depend_on_the_others(sampler):
    together, log_probabilities = sampler(decoding())
    check_log_probabilities(together, log_probabilities)
    for row in range(3):
        np.testing.assert_array_equal(sampler(decoding([row]))[0][0], together[row])
    repeated = sampler(decoding([1, 0, 1]))[0]
    np.testing.assert_array_equal(repeated, tf.gather(together, [1, 0, 1]))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_rows_that_begin_later_write_the_same(sampler):
    expected = sampler(decoding())
    for delay in ([0, 2, 1], [3, 0, 7]):
        later = sampler(decoding(delay=delay))
        np.testing.assert_array_equal(later[0], expected[0])
        np.testing.assert_allclose(later[1], expected[1], rtol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_a_graph_and_xla_give_the_same(sampler):
    eager = sampler(decoding())
    for options in ({}, {"jit_compile": True}):
        tokens, log_probabilities = tf.function(lambda: sampler(decoding()), **options)()
        np.testing.assert_array_equal(tokens, eager[0])
        np.testing.assert_allclose(log_probabilities, eager[1], rtol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_samplers_are_saved(sampler):
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(sampler))
    assert type(loaded) is type(sampler)
    assert loaded.get_config() == sampler.get_config()
    np.testing.assert_array_equal(loaded(decoding())[0], sampler(decoding())[0])


def shares_of_first_tokens(make, draws=2000):
    """How often each token comes first, over seeds."""
    tokens = [int(make(seed)(decoding([0], length=1))[0][0, 0]) for seed in range(draws)]
    return np.bincount(tokens, minlength=V) / draws


@pytest.mark.slow
def test_random_tokens_come_as_often_as_their_probabilities_say():
    temperature = 2.0
    probabilities = np.exp(log_softmax(FIRST[0] / temperature))
    order = np.argsort(-probabilities)
    top = np.where(np.isin(np.arange(V), order[:3]), probabilities, 0)
    shares = shares_of_first_tokens(lambda seed: mtl.samplers.TopK(3, temperature, seed))
    np.testing.assert_allclose(shares, top / top.sum(), atol=0.035)  # three standard errors
    needed = order[: 1 + np.argmax(np.cumsum(probabilities[order]) >= 0.7)]
    top = np.where(np.isin(np.arange(V), needed), probabilities, 0)
    assert 1 < len(needed) < V
    shares = shares_of_first_tokens(lambda seed: mtl.samplers.TopP(0.7, temperature, seed))
    np.testing.assert_allclose(shares, top / top.sum(), atol=0.035)


def test_bad_arguments():
    for make in (
        lambda: mtl.samplers.Beam(0),
        lambda: mtl.samplers.Beam(2, length_penalty=-1),
        lambda: mtl.samplers.TopK(0),
        lambda: mtl.samplers.TopK(2, temperature=0),
        lambda: mtl.samplers.TopP(0),
        lambda: mtl.samplers.TopP(1.1),
        lambda: mtl.samplers.TopP(0.5, seed=-1),
    ):
        with pytest.raises(ValueError, match="must be"):
            make()
