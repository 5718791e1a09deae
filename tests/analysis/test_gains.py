"""Gains over seeds: which models are trained, on what, and what their results say."""

import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.analysis._intervals import interval, t_quantile
from tf_mtl.analysis._runs import Run

TASKS = ("a", "b", "c")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 4)).astype("float32")
Y = {"a": X[:, 0], "b": X[:, 0] + 0.1 * X[:, 1], "c": -X[:, 2]}
WEIGHT = {"b": np.repeat([1.0, 0.0], 24).astype("float32")}


def rows(weight=True):
    data = (X, Y, WEIGHT) if weight else (X, Y)
    return tf.data.Dataset.from_tensor_slices(data).batch(16)


def builder(built):
    """A function that builds models, and adds their tasks to a list."""

    def build(tasks):
        built.append(tasks)
        trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([6]))
        model = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression(task) for task in tasks])
        model.compile(keras.optimizers.Adam(0.02), metrics={task: ["mae"] for task in tasks}, run_eagerly=True)
        return model

    return build


def test_models_are_paired_by_seed_and_equal_models_trained_alone():
    built = []
    result = mtl.analysis.gains(builder(built), (rows(), rows(False)), 2, TASKS, epochs=2, verbose=0)
    assert built == [TASKS, ("a",), ("b",), ("c",)] * 2
    keras.utils.set_random_seed(1)
    model = builder([])(("b",))
    model.fit(X, {"b": Y["b"]}, sample_weight=WEIGHT, batch_size=16, epochs=2, shuffle=False, verbose=0)
    expected = model.evaluate(X, {"b": Y["b"]}, verbose=0, return_dict=True)["b_mae"]
    assert result.results[("b",), 1]["b"]["mae"] == pytest.approx(expected, rel=1e-5)
    for gain in result.of():
        joint = np.array([result.results[TASKS, seed][gain.task]["mae"] for seed in (0, 1)])
        alone = np.array([result.results[(gain.task,), seed][gain.task]["mae"] for seed in (0, 1)])
        gains = (alone - joint) / alone  # lower is better
        assert gain.gain.mean == pytest.approx(gains.mean())
        assert gain.gain.high - gain.gain.low == pytest.approx(2 * 12.7062 * gains.std(ddof=1) / np.sqrt(2), rel=1e-4)
        assert gain.single_task == pytest.approx(alone.mean())
    assert str(result).startswith("a, b, c; 2 seeds:")


def test_finished_models_are_kept_and_processes_share_the_work(tmp_path):
    built, pairs = [], list(itertools.combinations(TASKS, 2))
    arguments = (builder(built), (rows(), rows()), [7], TASKS, pairs)
    with pytest.raises(ValueError, match=r"leaves 3 models to other processes.*Call `gains` again"):
        mtl.analysis.gains(*arguments, folder=tmp_path, part=(0, 2), verbose=0)
    assert len(built) == 3
    result = mtl.analysis.gains(*arguments, folder=tmp_path, part=(1, 2), verbose=0)
    assert sorted(built) == sorted([*pairs, *((task,) for task in TASKS)])
    again = mtl.analysis.gains(*arguments, folder=tmp_path, verbose=0)
    assert len(built) == 6
    assert again == result
    (file,) = tmp_path.glob("a+b.*.seed-7.epochs-1.json")
    assert json.loads(file.read_text())["results"] == result.results[("a", "b"), 7]
    mtl.analysis.gains(*arguments, epochs=2, folder=tmp_path, verbose=0)
    assert len(built) == 12  # results of other epochs are others
    matrix = result.matrix()
    assert str(result).count("delta-m, mean over tasks") == 3
    assert np.diag(matrix).tolist() == [0, 0, 0]
    assert matrix[0, 1] == pytest.approx(next(gain.gain.mean for gain in result.of("ab") if gain.task == "b"))
    assert matrix[1, 0] == pytest.approx(next(gain.gain.mean for gain in result.of("ba") if gain.task == "a"))
    assert mtl.analysis.group(matrix, TASKS, 2).is_exact
    assert {gain.verdict for gain in result.of(("a", "c"))} == {"one seed"}
    np.testing.assert_array_equal(result.matrix({"a": "mae"}), matrix)
    with pytest.raises(ValueError, match="'auc'"):
        result.matrix({"a": "auc"})


def test_names_of_files_are_short_and_results_of_0_are_left_out(tmp_path):
    tasks = tuple(f"task_{letter * 30}" for letter in "abcdefgh")
    names = ["+".join(tasks), "+".join(tasks[:-1])]
    assert len(Run(names[0], tasks, 0, 1).file) < 130
    assert "/" not in Run("a/b+c", ("a/b", "c"), 0, 1).file
    assert Run(names[0], tasks, 0, 1).file != Run(names[1], tasks[:-1], 0, 1).file
    results = {(("a", "b"), 0): {task: {"f1": 0.5, "auc": 0.6} for task in "ab"}}
    results |= {((task,), 0): {task: {"f1": 0.0 if task == "a" else 0.4, "auc": 0.5}} for task in "ab"}
    result = mtl.analysis.Gains(("a", "b"), (0,), (("a", "b"),), results)
    assert [(gain.task, gain.metric) for gain in result.of()] == [("a", "auc"), ("b", "f1"), ("b", "auc")]


def test_the_cost_is_shown_beforehand(capsys):
    mtl.analysis.gains(builder([]), (rows(), rows()), 1, ("a", "b"))
    assert capsys.readouterr().out.startswith("3 models, 0 of them finished; 3 to train here.")


@pytest.mark.parametrize(
    ("joint", "verdict"),
    [([0.8, 0.82, 0.81], "gain"), ([0.6, 0.62, 0.61], "negative transfer"), ([0.6, 0.8, 0.71], "no difference")],
)
def test_verdicts(joint, verdict):
    results = {(("a", "b"), seed): {task: {"auc": joint[seed]} for task in "ab"} for seed in range(3)}
    results |= {((task,), seed): {task: {"auc": 0.7 + 0.001 * seed}} for task in "ab" for seed in range(3)}
    result = mtl.analysis.Gains(("a", "b"), (0, 1, 2), (("a", "b"),), results)
    assert {gain.verdict for gain in result.of()} == {verdict}
    assert result.gain_per_task().mean == pytest.approx(-result.drop_per_metric().mean)
    assert f", {verdict}" in str(result)


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.7062), (2, 4.30265), (4, 2.77645), (30, 2.04227)])
def test_student_s_quantiles(freedom, quantile):
    assert t_quantile(0.975, freedom) == pytest.approx(quantile, rel=1e-5)
    assert t_quantile(0.5, freedom) == pytest.approx(0, abs=1e-9)


def test_an_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [interval(rng.normal(size=4)) for _ in range(400)]
    assert 0.92 < np.mean([each.low < 0 < each.high for each in intervals]) < 0.98


def test_mixtures_and_numpy_seeds():
    sources = {task: tf.data.Dataset.from_tensor_slices((X, {task: Y[task]})) for task in ("a", "b")}
    mixture = mtl.data.mix(sources, batch_size=8, epoch=5, seed=0)
    steps = []

    def build(tasks):
        model = builder([])(tasks)
        steps.append(model.optimizer)
        return model

    data = mixture, rows(False)
    result = mtl.analysis.gains(build, data, np.arange(2), ("a", "b"), epochs=2, verbose=0)
    assert [int(optimizer.iterations) for optimizer in steps] == [10] * 6
    assert result == mtl.analysis.gains(build, data, np.int64(2), ("a", "b"), epochs=2, verbose=0)


def test_errors():
    assert interval([0.1, float("nan"), 0.2]).verdict == "undefined"
    data = rows(), rows()
    with pytest.raises(ValueError, match="'d'"):
        mtl.analysis.gains(builder([]), data, 1, TASKS, [("a", "d")])
    with pytest.raises(ValueError, match="at least two"):
        mtl.analysis.gains(builder([]), data, 1, TASKS, [("a",)])
    with pytest.raises(ValueError, match="`build` must return a model of the tasks"):
        mtl.analysis.gains(lambda tasks: builder([])(("a",)), data, 1, ("a", "b"), verbose=0)
    zero = {(("a", "b"), 0): {t: {"f1": 0.5} for t in "ab"}, **{((t,), 0): {t: {"f1": 0.0}} for t in "ab"}}
    with pytest.raises(ValueError, match=r"`metrics\['b'\]` must be one of \[\]"):
        mtl.analysis.Gains(("a", "b"), (0,), (("a", "b"),), zero).matrix()
    for seeds in ([], [1, 1]):
        with pytest.raises(ValueError, match="`seeds` must be different numbers"):
            mtl.analysis.gains(builder([]), data, seeds, TASKS)
    for part in ((0, 0), (2, 2), (-1, 2)):
        with pytest.raises(ValueError, match="`part` must be"):
            mtl.analysis.gains(builder([]), data, 1, TASKS, part=part)
    result = mtl.analysis.Gains(TASKS, (0,), (("a", "b"),), {})
    with pytest.raises(ValueError, match="must be one of the subsets"):
        result.of(("a", "c"))


@pytest.mark.slow
def test_gaps_at_equal_training_loss(tmp_path):
    from tf_mtl.analysis._gaps import at_equal_training_loss

    one = [[2.0, 3.0], [1.0, 2.0], [0.5, 1.8], [0.2, 1.9]]
    other = [[2.0, 2.9], [0.8, 1.5], [0.4, 1.6]]
    level, first, second = at_equal_training_loss(one, other)
    assert (level, second) == (0.4, 1.6)
    assert first == pytest.approx(1.8 + 0.1 / 0.3 * 0.1)
    arguments = (builder([]), (rows(), rows(False)), 2, ("a", "b"))
    result = mtl.analysis.gains(*arguments, epochs=3, folder=tmp_path, gaps=True, verbose=0)
    keras.utils.set_random_seed(1)
    model = builder([])(("a",))
    losses = [[model.evaluate(X, {"a": Y["a"]}, verbose=0, return_dict=True)["a_loss"]] * 2]
    for _ in range(3):
        model.fit(X, {"a": Y["a"]}, batch_size=16, shuffle=False, verbose=0)
        losses.append([model.evaluate(X, {"a": Y["a"]}, verbose=0, return_dict=True)["a_loss"]] * 2)
    np.testing.assert_allclose(result.losses[("a",), 1]["a"], losses, rtol=1e-4)
    gap = result.gaps()[0]
    assert (gap.task, gap.multi_task) == ("a", pytest.approx(gap.train_loss, rel=1e-5))  # the same rows
    assert gap.difference.mean == pytest.approx(0, abs=1e-5)
    assert mtl.analysis.gains(*arguments, epochs=3, folder=tmp_path, gaps=True, verbose=0) == result
    plain = mtl.analysis.gains(*arguments, epochs=3, folder=tmp_path, verbose=0)
    assert plain.results == result.results  # measuring changes nothing
    with pytest.raises(ValueError, match="`gaps=True`"):
        plain.gaps()
