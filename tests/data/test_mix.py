import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.data._sources import common_label_specs, fill_missing_tasks


def source(value, rows, labels, width=2, dtype="float32"):
    x = {"a": np.full((rows, width), value, dtype)}
    return tf.data.Dataset.from_tensor_slices((x, labels))


def two_sources():
    return {
        "reviews": source(0, 30, {"stars": np.arange(30.0), "topic": np.arange(30)}),
        "news": source(1, 10, {"topic": np.arange(100, 110)}),
    }


def drawn_fractions(mixture, rows=4000):
    ((x, _, _),) = mixture.batch(rows).take(1)
    return np.bincount(x["a"][:, 0].numpy().astype(int), minlength=2) / rows


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"rates": "uniform"}, 0.5),
        ({"rates": "proportional"}, 0.75),
        ({}, 0.75),
        ({"rates": "temperature", "temperature": 2.0}, 30**0.5 / (30**0.5 + 10**0.5)),
        ({"rates": "proportional", "temperature": 2.0}, 30**0.5 / (30**0.5 + 10**0.5)),
        ({"rates": {"reviews": 1.0, "news": 3.0}}, 0.25),
    ],
)
def test_rates(options, expected):
    fractions = drawn_fractions(mtl.data.mix(two_sources(), seed=1, **options))
    assert fractions[0] == pytest.approx(expected, abs=4 * 0.5 / 4000**0.5)


def test_rows_have_weight_0_for_tasks_that_their_source_lacks():
    for x, y, weight in mtl.data.mix(two_sources(), rates="uniform", seed=0).take(60):
        assert set(y) == set(weight) == {"stars", "topic"}
        from_news = int(x["a"][0]) == 1
        assert float(weight["stars"]) == (0 if from_news else 1)
        assert float(weight["topic"]) == 1
        assert (int(y["topic"]) >= 100) == from_news


def test_sources_repeat_completely():
    """In complete passes over a source, every row occurs equally often."""
    topics = [int(y["topic"]) for _, y, _ in mtl.data.mix({"news": two_sources()["news"]}).take(50)]
    assert sorted(topics) == sorted([*range(100, 110)] * 5)


def test_the_same_seed_gives_the_same_stream():
    def stream(seed):
        return [int(y["topic"]) for _, y, _ in mtl.data.mix(two_sources(), rates="uniform", seed=seed).take(100)]

    assert stream(3) == stream(3)
    assert stream(3) != stream(4)


def test_weights_and_label_vectors_are_kept():
    a = source(0, 4, {"tags": np.ones((4, 3), "float32")}).map(lambda x, y: (x, y, {"tags": tf.constant([1.0, 0, 1])}))
    b = source(1, 4, {"tags": np.zeros((4, 3), "float32"), "stars": np.ones(4)})
    for x, y, weight in mtl.data.mix({"a": a, "b": b}, rates="uniform", seed=0).take(40):
        expected = [1, 0, 1] if int(x["a"][0]) == 0 else [1, 1, 1]
        np.testing.assert_array_equal(weight["tags"], expected)
        assert y["tags"].shape == (3,)


def test_a_mixture_trains():
    import keras

    trunk = mtl.trunks.HardSharing(lambda x: keras.layers.Dense(4)(x["a"]))
    model = mtl.build_model(
        {"a": keras.Input((2,), name="a")},
        trunk,
        [mtl.tasks.Regression("stars"), mtl.tasks.Classification("topic", labels=110)],
    )
    model.compile("sgd")
    data = mtl.data.mix(two_sources(), seed=0).batch(8)
    logs = model.fit(data, steps_per_epoch=4, epochs=2, verbose=0).history
    assert np.isfinite(logs["loss"]).all()


@pytest.mark.parametrize(
    ("sources", "options", "message"),
    [
        ({}, {}, "`sources`.*at least one"),
        (
            {"a": source(0, 3, {"t": np.ones(3)}), "b": source(0, 3, {"t": np.ones(3)}, width=3)},
            {},
            "Sources 'a' and 'b' differ in the input field 'a'",
        ),
        (
            {"a": source(0, 3, {"t": np.ones(3)}), "b": source(0, 3, {"t": np.ones(3)}, dtype="float64")},
            {},
            "field 'a'.*float32.*float64.*Cast",
        ),
        (
            {
                "a": source(0, 3, {"t": np.ones(3)}),
                "b": tf.data.Dataset.from_tensor_slices(
                    ({"a": np.ones((3, 2), "float32"), "extra": np.ones(3)}, {"t": np.ones(3)})
                ),
            },
            {},
            "source 'b' have the field 'extra', which those of 'a' lack",
        ),
        (
            {
                "a": tf.data.Dataset.from_tensor_slices((np.ones(3), {"t": np.ones(3)})),
                "b": tf.data.Dataset.from_tensor_slices(({"x": np.ones(3)}, {"t": np.ones(3)})),
            },
            {},
            "sources 'a' and 'b' differ in structure",
        ),
        (
            {"a": source(0, 3, {"t": np.ones(3)}), "b": source(0, 3, {"t": np.ones(3, "int32")})},
            {},
            "'a' and 'b' differ in the labels of task 't'",
        ),
        ({"a": source(0, 3, {"t": np.ones(3)}).take(0)}, {"rates": "uniform"}, "Source 'a' is empty"),
        ({"a": source(0, 3, {"t": np.ones(3)}).repeat()}, {}, "Source 'a' is endless.*uniform"),
        ({"a": source(0, 3, {"t": np.ones(3)}).filter(lambda *row: True)}, {}, "unknown size.*assert_cardinality"),
        ({"a": source(0, 4, {"t": np.ones(4)}).batch(2).repeat(3)}, {}, "Source 'a' gives batches.*`unbatch`"),
        (
            {"a": source(0, 3, {"t": np.ones(3)}).map(lambda x, y: (x, y, {"s": 1.0}))},
            {},
            "Source 'a' has label weights for 's', but no labels",
        ),
        (
            {
                "a": source(0, 3, {"t": np.ones((3, 2))}).map(lambda x, y: (x, y, {"t": 1.0})),
                "b": source(0, 3, {"t": np.ones((3, 2))}).map(lambda x, y: (x, y, {"t": tf.ones(2)})),
            },
            {},
            "'a' and 'b' differ in the label weights of task 't'",
        ),
        ({"a": source(0, 3, {"t": np.ones(3)})}, {"rates": "equal"}, "`rates`.*'uniform'.*'equal'"),
        ({"a": source(0, 3, {"t": np.ones(3)})}, {"rates": "temperature"}, "needs `temperature`"),
        ({"a": source(0, 3, {"t": np.ones(3)})}, {"temperature": 0.5}, "at least 1, received 0.5"),
        ({"a": source(0, 3, {"t": np.ones(3)})}, {"rates": {"b": 1.0}}, "`rates`.*'b'"),
        ({"a": source(0, 3, {"t": np.ones(3)})}, {"rates": {"a": 0.0}}, "not all 0"),
        (
            {"a": source(0, 3, {"t": np.ones(3)})},
            {"rates": {"a": 1.0}, "temperature": 2.0},
            "`temperature` is only",
        ),
    ],
)
def test_errors(sources, options, message):
    with pytest.raises(ValueError, match=message):
        mtl.data.mix(sources, **options)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"a": tf.data.Dataset.range(3)}, "Source 'a' must give rows"),
        ({"a": source(0, 3, {"t": np.ones(3)}).map(lambda x, y: (x, y, 1.0))}, "Source 'a' must give rows"),
        ({"a": [1, 2]}, "Source 'a' must be a tf.data.Dataset"),
        ({("a", 1): source(0, 3, {"t": np.ones(3)})}, "keyed by non-empty strings"),
        (
            {"a": source(0, 4, {"t": np.ones(4)}).ragged_batch(2).map(lambda x, y: (tf.ragged.constant([[1]]), y))},
            "dense",
        ),
    ],
)
def test_type_errors(sources, message):
    with pytest.raises(TypeError, match=message):
        mtl.data.mix(sources, rates="uniform")


def test_complete_sources_are_unchanged():
    """They are not mapped, because that would be slower."""
    complete = source(0, 4, {"t": np.ones(4)}).map(lambda x, y: (x, y, {"t": 1.0}))
    assert fill_missing_tasks(complete, common_label_specs({"a": complete})) is complete
