"""Searches over weights: candidates, results, Pareto sets and hypervolumes against brute force, KerasTuner."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.analysis._pareto import hypervolume, pareto
from tf_mtl.analysis._weight_search import Trial, WeightSearch

X = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
Y = {"a": X[:, 0] + X[:, 1], "b": -X[:, 1]}
ROWS = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
METRICS = {"a": "mae", "b": "pearson"}


def build(weights, importance=False):
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([3]))
    model = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression(task) for task in ("a", "b")])
    options = {"balancing": mtl.balancing.NashMTL(preference=weights)} if importance else {"loss_weights": weights}
    model.compile(keras.optimizers.SGD(0.05), run_eagerly=True, **options)  # tracing takes time
    return model


def test_a_search_trains_the_models_that_it_says(tmp_path):
    candidates = [{"a": 0.5, "b": 1.5}, {"b": 0.5, "a": 1.5}, {"a": 1.5, "b": 0.5}]
    search = mtl.analysis.weights(build, (ROWS, ROWS), candidates, METRICS, 2, epochs=2, folder=tmp_path, verbose=0)
    results = []
    for seed in (0, 1):
        keras.utils.set_random_seed(seed)
        model = build(candidates[1])
        model.fit(ROWS, epochs=2, verbose=0)
        logs = model.evaluate(ROWS, verbose=0, return_dict=True)
        results.append([logs["a_mae"], logs["b_pearson"]])
    expected = np.mean(results, 0)
    assert list(search.trials[1].results.values()) == pytest.approx(expected, rel=1e-5)
    assert [trial.weights for trial in search.trials] == candidates[:2]
    assert len(list(tmp_path.iterdir())) == 4

    def fail(weights):
        raise AssertionError("All models have been trained.")

    again = mtl.analysis.weights(fail, (ROWS, ROWS), candidates, METRICS, 2, epochs=2, folder=tmp_path, verbose=0)
    assert again == search
    assert "weight of a | weight of b |  a mae | b pearson | Pareto" in str(search)


def test_importance_for_a_method_and_models_without_b():
    importances = [{"a": 20.0, "b": 1.0}, {"a": 1.0, "b": 20.0}]
    search = mtl.analysis.weights(
        lambda weights: build(weights, importance=True),
        (ROWS, ROWS),
        importances,
        {"a": "rmse", "b": "rmse"},
        epochs=6,
        verbose=0,
    )
    first, second = (trial.results for trial in search.trials)
    assert first["a"] < second["a"]
    assert first["b"] > second["b"]
    assert search.pareto == search.trials


def brute_force(values, reference, points):
    """The share of random points of a box that some row exceeds, times the volume of the box."""
    high = values.max(0)
    draws = np.random.default_rng(1).uniform(reference, high, size=(points, len(reference)))
    return (draws[:, None] < values).all(-1).any(1).mean() * np.prod(high - reference)


@pytest.mark.parametrize("tasks", [1, 2, 3, 4])
def test_pareto_sets_and_hypervolumes(tasks):
    values = np.random.default_rng(tasks).uniform(size=(12, tasks))
    values[3] = values[7]
    expected = [not any((other >= row).all() and (other > row).any() for other in values) for row in values]
    np.testing.assert_array_equal(pareto(values), expected)
    reference = np.full(tasks, 0.1)
    exceeding = np.maximum(values, reference)
    volume = hypervolume(values, reference)
    assert volume == pytest.approx(brute_force(exceeding, reference, 100_000), rel=0.02)
    assert volume == pytest.approx(hypervolume(values[pareto(values)], reference))
    # inclusion and exclusion of the first three
    first = np.maximum(values[:3] - reference, 0)
    boxes = [
        (-1) ** (size + 1) * np.prod(np.min([first[i] for i in each], 0))
        for size in (1, 2, 3)
        for each in itertools.combinations(range(3), size)
    ]
    assert hypervolume(values[:3], reference) == pytest.approx(sum(boxes))


def test_directions_of_metrics_best_and_picture(tmp_path):
    trials = [({"a": 1.0, "b": 1.0}, {"a": a, "b": b}) for a, b in ((0.2, 0.6), (0.1, 0.5), (0.3, 0.55), (0.2, 0.9))]
    search = WeightSearch(tuple(Trial(*trial) for trial in trials), METRICS)
    assert search.pareto == (search.trials[1], search.trials[3])  # a low mae, a high correlation
    assert search.hypervolume({"a": 0.4, "b": 0.4}) == pytest.approx(0.2 * 0.5 + 0.1 * 0.1)
    assert search.best({"a": 0.2, "b": 0.5}) == search.trials[3]
    assert search.best({"a": 0.1, "b": 5.0}) == search.trials[1]
    reversed_ = WeightSearch(search.trials, METRICS, lower_is_better=("b",))
    assert reversed_.pareto == (search.trials[1], search.trials[2])
    with pytest.raises(ValueError, match="at least two"):
        WeightSearch(search.trials, {"a": "mae"}).plot(tmp_path / "picture.png")
    assert search.plot(tmp_path / "new" / "picture.png").stat().st_size > 5_000


def test_candidates():
    grid = mtl.analysis.weight_grid(["a", "b", "c"], steps=6)
    assert len(grid) == 10
    assert all(sum(each.values()) == pytest.approx(3) and min(each.values()) >= 0.5 for each in grid)
    assert len({tuple(each.values()) for each in grid}) == 10
    drawn = mtl.analysis.random_weights(["a", "b"], 500, spread=2.0)
    ratios = np.log([each["a"] / each["b"] for each in drawn[1:]])
    assert np.std(ratios) == pytest.approx(2 * np.sqrt(2), rel=0.1)
    assert drawn[0] == {"a": 1.0, "b": 1.0}
    assert drawn == mtl.analysis.random_weights(["a", "b"], 500, spread=2.0)


def test_suggested_weights_make_gradients_equally_long():
    model = build({"a": 1.0, "b": 1.0})
    batch = X, {"a": 7 * Y["a"], "b": Y["b"]}
    suggested = mtl.analysis.suggested_weights(mtl.analysis.affinity(model, [batch]))
    shared = model.get_layer("mlp_encoder").trainable_variables if model.layers else []
    norms = {}
    for task, y in batch[1].items():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(X)[task][:, 0] - y) ** 2)
        gradients = tape.gradient(loss, [v.value for v in shared])
        norms[task] = suggested[task] * np.sqrt(sum(float(tf.reduce_sum(g**2)) for g in gradients))
    assert norms["a"] == pytest.approx(norms["b"], rel=1e-4)
    assert sum(suggested.values()) == pytest.approx(2)
    unlabelled = mtl.analysis.affinity(model, [(X, Y, {"b": np.zeros(48, "float32")})])
    with pytest.raises(ValueError, match="none of \\['b'\\]"):
        mtl.analysis.suggested_weights(unlabelled)


def test_a_search_of_keras_tuner(tmp_path):
    import keras_tuner

    def tuned(hp):
        return build({task: hp.Float(f"weight_{task}", 0.1, 10, sampling="log") for task in ("a", "b")})

    objective = keras_tuner.Objective("val_loss", "min")
    tuner = keras_tuner.RandomSearch(tuned, objective, max_trials=3, seed=0, directory=tmp_path)
    names = {"a": "weight_a", "b": "weight_b"}
    metrics = {"a": "val_a_mae", "b": "val_b_pearson"}
    with pytest.raises(ValueError, match="Call its `search` first"):
        mtl.analysis.tuned_weights(tuner, names, metrics)
    tuner.search(ROWS, validation_data=ROWS, epochs=2, verbose=0)
    search = mtl.analysis.tuned_weights(tuner, names, metrics)
    assert len(search.trials) == 3
    assert len(search.pareto) >= 1
    for trial in tuner.oracle.trials.values():
        keras.utils.set_random_seed(0)
        weights = {task: trial.hyperparameters.get(name) for task, name in names.items()}
        history = trial.metrics.get_history("val_a_mae")
        expected = next(each.value[0] for each in history if each.step == trial.best_step)
        assert Trial(weights, {"a": expected, "b": pytest.approx(-1, abs=2)}) in search.trials
    with pytest.raises(ValueError, match="val_a_mae"):
        mtl.analysis.tuned_weights(tuner, names, {**metrics, "a": "val_a_mea"})


def test_results_that_are_not_numbers_are_never_best():
    results = [{"a": 0.2, "b": 0.6}, {"a": np.nan, "b": 0.9}, {"a": np.nan, "b": np.nan}]
    search = WeightSearch(tuple(Trial({"a": 1.0, "b": 1.0}, each) for each in results), METRICS)
    assert search.pareto == search.trials[:1]
    assert search.best({"a": 0.5, "b": 0.5}) == search.trials[0]
    assert search.hypervolume({"a": 0.4, "b": 0.4}) == pytest.approx(0.2 * 0.2)
    with pytest.raises(ValueError, match="references other than 0"):
        search.best({"a": 0.0, "b": 0.5})


def test_the_metric_decides_the_direction_not_the_name_of_the_task():
    trials = tuple(Trial({"angle": 1.0}, {"angle": value}) for value in (0.1, 0.2))
    assert WeightSearch(trials, {"angle": "val_angle_accuracy"}).pareto == trials[1:]


def test_a_wrong_metric_is_found_after_the_first_model():
    built = []

    def build_one(weights):
        built.append(weights)
        return build(weights)

    candidates = mtl.analysis.weight_grid(["a", "b"], 4)
    with pytest.raises(
        ValueError, match=r"`metrics\['b'\]` must be one of .*'mae'.*received 'mea'.*Did you mean 'mae'"
    ):
        mtl.analysis.weights(build_one, (ROWS, ROWS), candidates, {"a": "mae", "b": "mea"}, verbose=0)
    assert len(built) == 1


@pytest.mark.parametrize(
    ("candidates", "options", "words"),
    [
        ([], {}, "`candidates` must hold at least one"),
        ([{"a": 1.0}], {}, "`candidates`"),
        ([{"a": 1.0, "b": 1.0}], {"lower_is_better": ["mae"]}, "`lower_is_better`"),
        ([{"a": 1.0, "b": 1.0}], {"part": (1, 2)}, "Call `weights` again"),
    ],
)
def test_errors(candidates, options, words):
    with pytest.raises(ValueError, match=words):
        mtl.analysis.weights(build, (ROWS, ROWS), candidates, **{"metrics": METRICS, **options}, verbose=0)
