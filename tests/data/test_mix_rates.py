"""The rates of mixtures, and the rows drawn at these rates."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.data._dynamic_rates import DynamicRates

SIZES = {"a": 40, "b": 10, "c": 4}


def sources(sizes=SIZES):
    return {
        name: tf.data.Dataset.from_tensor_slices((np.full(rows, index), {"t": np.arange(rows)}))
        for index, (name, rows) in enumerate(sizes.items())
    }


def probabilities(step=0, **options):
    return mtl.data.mix(sources(), seed=0, **options).probabilities([step]).numpy()[0]


def drawn(mixture, batches):
    return np.stack([x.numpy() for x, _, _ in mixture.take(batches)])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"rates": "sqrt"}, np.sqrt([40, 10, 4])),
        ({"cap": 8}, [8, 8, 4]),
        ({"rates": "temperature", "temperature": 3.0, "cap": 20}, np.cbrt([20, 10, 4])),
        ({"rates": {"c": 1, "a": 6, "b": 0}}, [6, 0, 1]),
        ({"rates": lambda step: {"a": 1.0, "b": 2.0, "c": 3 * step}}, [1, 2, 0]),
    ],
)
def test_probabilities(options, expected):
    np.testing.assert_allclose(probabilities(**options), np.array(expected) / np.sum(expected), rtol=1e-12)


def test_annealed_rates_change_from_proportional_to_uniform():
    """The 54 rows are an epoch of 6 steps of 9 rows."""
    mixture = mtl.data.mix(sources(), "annealed", epochs=5, batch_size=9, seed=0)
    rows = mixture.probabilities([0, 5, 6, 13, 24, 29, 99]).numpy()
    for row, exponent in zip(rows, [1, 1, 0.75, 0.5, 0, 0, 0], strict=True):
        expected = np.array([40.0, 10, 4]) ** exponent
        np.testing.assert_allclose(row, expected / expected.sum(), rtol=1e-12)


def test_a_function_is_called_at_each_step():
    def rates(step):
        assert step.dtype == tf.int64
        return {"a": tf.cast(step < 100, tf.float32), "b": tf.cast(step >= 100, tf.float32), "c": 0.0}

    draws = drawn(mtl.data.mix(sources(), rates, batch_size=4, epoch=10, seed=0), 200)
    np.testing.assert_array_equal(draws, np.repeat([[0] * 4, [1] * 4], 100, axis=0))


def test_a_function_may_not_return_negative_rates():
    with pytest.raises(ValueError, match="not negative, and not all 0"):
        mtl.data.mix(sources(), lambda step: {"a": -1.0, "b": 1.0, "c": 1.0})
    with pytest.raises(ValueError, match="finite rates"):
        mtl.data.mix(sources(), lambda step: {"a": 1.0, "b": 1 / tf.cast(step, tf.float32), "c": 1.0})
    mixture = mtl.data.mix(sources(), lambda step: {"a": 5.0 - tf.cast(step, tf.float32), "b": 0.0, "c": 0.0}, epoch=9)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not negative, and not all 0"):
        next(iter(mixture))
    with pytest.raises(ValueError, match="unknown key 'd'"):
        mtl.data.mix(sources(), lambda step: {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0})
    with pytest.raises(TypeError, match="must return a dict"):
        mtl.data.mix(sources(), lambda step: [1.0, 1.0, 1.0])


@pytest.mark.parametrize("batches", ["mixed", "homogeneous"])
def test_draws_follow_the_probabilities(batches):
    mixture = mtl.data.mix(sources(), batch_size=8, batches=batches, seed=2)
    draws = drawn(mixture, 800)
    if batches == "homogeneous":
        assert (draws == draws[:, :1]).all()
        draws = draws[:, 0]
    else:
        assert (draws != draws[:, :1]).any()
    n, p = draws.size, np.array([40, 10, 4]) / 54
    counts = np.bincount(draws.ravel(), minlength=3)
    assert (np.abs(counts - n * p) < 4 * np.sqrt(n * p * (1 - p))).all()


@pytest.mark.parametrize("options", [{}, {"batch_size": 7}, {"batch_size": 7, "batches": "homogeneous"}])
def test_shares_equal_those_of_the_drawn_rows(options):
    mixture = mtl.data.mix(sources(), "uniform", seed=4, **options)
    draws = drawn(mixture, 60)
    for first, steps in ((0, 60), (13, 1), (20, 31)):
        counts = np.bincount(draws[first : first + steps].ravel(), minlength=3)
        assert mixture.shares(first, steps) == dict(zip("abc", counts / counts.sum(), strict=True))


def test_shares_across_blocks():
    """Sources are drawn in blocks of many steps."""
    mixture = mtl.data.mix(sources(), "uniform", batch_size=3, seed=4)
    counts = np.bincount(drawn(mixture, 3000)[1000:2900].ravel(), minlength=3)
    assert mixture.shares(1000, 1900) == dict(zip("abc", counts / counts.sum(), strict=True))


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, 54),
        ({"batch_size": 5}, 11),
        ({"epoch": "shortest", "rates": "uniform", "batch_size": 5}, 3),  # 4 rows at a rate of 1/3: 12 rows
        ({"epoch": "longest", "rates": "uniform", "batch_size": 5}, 24),  # 40 rows: 120 rows
        ({"epoch": "shortest", "rates": {"a": 1, "b": 1, "c": 0}, "batch_size": 10}, 2),
        ({"epoch": "longest", "rates": "annealed", "epochs": 3}, 54),
        ({"epoch": "longest", "batch_size": 9}, 6),
        ({"epoch": 7, "batch_size": 5}, 7),
    ],
)
def test_length_of_an_epoch(options, steps):
    mixture = mtl.data.mix(sources(), **options)
    assert len(mixture) == steps
    assert int(mixture.cardinality()) == tf.data.INFINITE_CARDINALITY


def test_all_batches_are_full():
    assert {x.shape[0] for x, _, _ in mtl.data.mix(sources(), batch_size=7).take(30)} == {7}


def test_unknown_sizes_are_allowed_where_nothing_depends_on_them():
    unknown = {name: source.filter(lambda *row: True) for name, source in sources().items()}
    assert len(mtl.data.mix(unknown, "uniform", epoch=5)) == 5
    mixture = mtl.data.mix(unknown, "uniform")
    with pytest.raises(ValueError, match="Source 'a' is of unknown size.*epoch=<number of steps>"):
        len(mixture)


def numbered(rows, task="t"):
    numbers = np.arange(rows)
    return tf.data.Dataset.from_tensor_slices((numbers, {task: numbers}))


def test_each_pass_has_another_order_which_depends_only_on_the_seed():
    def order(seed, buffer=40, global_seed=0):
        keras.utils.set_random_seed(global_seed)
        stream = mtl.data.mix({"a": numbered(40)}, shuffle_buffer=buffer, seed=seed)
        return [[int(x) for x, *_ in stream.take(120)] for _ in range(2)]

    first_stream, second_stream = order(1)
    assert first_stream == second_stream == order(1, global_seed=7)[0] != order(2)[0]
    passes = [first_stream[first : first + 40] for first in (0, 40, 80)]
    assert all(sorted(rows) == list(range(40)) for rows in passes)
    assert len({tuple(rows) for rows in passes} | {tuple(range(40))}) == 4
    assert all(x < position + 3 for position, x in enumerate(order(1, buffer=3)[0][:40]))


def test_sources_are_shuffled_differently():
    sources = {name: numbered(9, name) for name in "ab"}
    stream = mtl.data.mix(sources, "uniform", shuffle_buffer=9, seed=1).take(60)
    rows = [(int(x), "a" if weight["a"] else "b") for x, _, weight in stream]
    first = [[x for x, owner in rows if owner == name][:9] for name in "ab"]
    assert sorted(first[0]) == sorted(first[1]) == list(range(9))
    assert first[0] != first[1]


def test_an_empty_source_of_unknown_size():
    empty = numbered(4).filter(lambda *row: False)
    with pytest.raises(ValueError, match="Source 'b' is empty"):
        mtl.data.mix({"a": numbered(4), "b": empty}, "uniform", epoch=20)


def test_without_a_seed_mix_chooses_one():
    mixtures = [mtl.data.mix(sources(), "uniform") for _ in range(2)]
    first, repeated, second = (list(drawn(mixture, 60)) for mixture in (mixtures[0], mixtures[0], mixtures[1]))
    assert first == repeated != second


def test_dynamic_rates_apply_to_their_epoch():
    rates = DynamicRates(["c", "b", "a"], initial={"a": 1, "b": 1, "c": 0})
    mixture = mtl.data.mix(sources(), rates, batch_size=9, seed=0)
    rates.append({"a": 0.0, "b": 3.0, "c": 1.0})
    rows = mixture.probabilities([5, 6, 30]).numpy()
    np.testing.assert_allclose(rows, [[0.5, 0.5, 0], [0, 0.75, 0.25], [0, 0.75, 0.25]])


def test_no_epoch_is_drawn_before_its_rates_are_set():
    rates = DynamicRates(["a", "b", "c"], initial={"a": 1, "b": 0, "c": 0})
    batches, drawn_by_epoch = iter(mtl.data.mix(sources(), rates, batch_size=9, seed=0)), []
    for epoch in range(3):
        drawn_by_epoch.append({int(value) for _ in range(6) for value in next(batches)[0]})
        rates.append({name: float(index == epoch + 1) for index, name in enumerate("abc")} if epoch < 2 else SIZES)
    assert drawn_by_epoch == [{0}, {1}, {2}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rates": "uniform", "cap": 3}, "`cap` limits the sizes"),
        ({"cap": 0}, "`cap` must be an integer, at least 1"),
        ({"rates": "annealed"}, "needs `epochs`"),
        ({"rates": "annealed", "epochs": 1}, "`epochs` must be an integer, at least 2"),
        ({"rates": "sqrt", "epochs": 3}, "`epochs` is only for rates='annealed'"),
        ({"rates": "sqrt", "temperature": 3.0}, "`temperature` is only for"),
        ({"epoch": "all"}, "`epoch` must be 'sum'"),
        ({"epoch": 0}, "`epoch` must be an integer, at least 1"),
        ({"batches": "pure"}, "`batches` must be"),
        ({"batches": "homogeneous"}, "Pass `batch_size`"),
        ({"boundaries": [3]}, "Pass `batch_size`"),
        ({"batch_size": 0}, "`batch_size` must be"),
        ({"epoch": None}, "`epoch` must be an integer"),
        ({"shuffle_buffer": 0}, "`shuffle_buffer` must be"),
        ({"seed": 1.5}, "`seed` must be"),
        ({"rates": DynamicRates(["a", "b", "c"]), "batch_size": 2, "boundaries": [3]}, "Use batches='homogeneous'"),
        ({"rates": {"a": 1.0, "b": float("nan"), "c": 1.0}}, "finite, not negative"),
        ({"rates": DynamicRates(["a", "b"])}, "Missing: \\['c'\\]"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        mtl.data.mix(sources(), **options)


def test_errors_of_dynamic_rates():
    rates = DynamicRates(["a", "b"])
    for invalid_rates in ({"a": 1.0}, {"a": -1.0, "b": 1.0}, {"a": 0.0, "b": 0.0}, {"a": float("nan"), "b": 1.0}):
        with pytest.raises(ValueError, match="Rates must be"):
            rates.append(invalid_rates)
    assert rates.history.tolist() == [[0.5, 0.5]]
