"""The two forms of the CRF's sums and maxima: against all paths, against each other, and where each is used."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers import CRF, _crf, _crf_loop, _crf_tree

FORMS = [_crf_loop, _crf_tree]
LENGTHS = (5, 3, 2, 1, 0)
NONE = slice(None)


def chain(tags, lengths=LENGTHS, steps=5, scale=1.0, seed=0):
    """Return the arguments of the forms."""
    rng = np.random.default_rng(seed)
    shapes = (len(lengths), steps, tags), (tags, tags), (tags,), (tags,)
    scores = [tf.constant(scale * rng.normal(size=shape), tf.float32) for shape in shapes]
    return [*scores, tf.range(steps) < tf.constant(lengths, tf.int32)[:, None]]


def traced(function, kind):
    """Return a function of any length, of known lengths, or compiled by XLA."""
    unknown = [(None, None, NONE), (NONE, NONE), (NONE,), (NONE,), (None, None)]

    def call(*arguments):
        if kind != "length known":
            shapes = [
                [None if size is None else actual for size, actual in zip(shape, x.shape, strict=True)]
                for shape, x in zip(unknown, arguments, strict=True)
            ]
            signature = [tf.TensorSpec(shape, x.dtype) for shape, x in zip(shapes, arguments, strict=True)]
            return tf.function(function, input_signature=signature, jit_compile=kind == "XLA")(*arguments)
        return tf.function(function)(*arguments)

    return call


def paths_and_scores(arguments, row):
    """Return all paths [N, n] of a row and their scores [N]."""
    emissions, transitions, start, end, mask = (x.numpy() for x in arguments)
    n = mask[row].sum()
    paths = np.array(list(itertools.product(range(len(start)), repeat=n)))
    scores = start[paths[:, 0]] + end[paths[:, -1]] + emissions[row][np.arange(n), paths].sum(1)
    return paths, scores + transitions[paths[:, :-1], paths[:, 1:]].sum(1)


@pytest.fixture
def few_levels(monkeypatch):
    """Trees of few levels, which are traced and compiled sooner."""
    monkeypatch.setattr(_crf_tree, "_LEVELS", 4)


@pytest.mark.parametrize("kind", ["length known", "length unknown", "XLA"])
@pytest.mark.parametrize("form", FORMS)
def test_all_paths(few_levels, form, kind):
    arguments, tags = chain(3), 3
    log_partition, best, marginals = (
        traced(function, kind)(*arguments).numpy() for function in (form.log_partition, form.best_path, form.marginals)
    )
    for row, n in enumerate(LENGTHS[:-1]):
        paths, scores = paths_and_scores(arguments, row)
        assert log_partition[row] == pytest.approx(np.log(np.exp(scores).sum()), abs=1e-5)
        assert best[row, :n].tolist() == paths[scores.argmax()].tolist()
        probabilities = np.exp(scores) / np.exp(scores).sum()
        expected = (probabilities[:, None, None] * np.eye(tags)[paths]).sum(0)
        np.testing.assert_allclose(marginals[row, :n], expected, atol=1e-6)


def values_and_gradients(form, arguments, kind="length known", second=False):
    """Return the log-partition function and its gradients, and those of a function of the marginals."""

    def compute(*arguments):
        *scores, mask = arguments
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(scores)
            value = form.log_partition(*arguments)
            weighted = value * tf.range(1.0, tf.cast(tf.shape(value)[0], tf.float32) + 1)
            total = tf.reduce_sum(tf.where(mask[:, 0], weighted, 0.0))
            if second:
                squares = tf.reduce_sum(tf.where(mask[..., None], form.marginals(*arguments) ** 2, 0.0))
        return [value, *tape.gradient(total, scores), *(tape.gradient(squares, scores) if second else [])]

    return [x.numpy() for x in traced(compute, kind)(*arguments)]


def assert_same(arguments, kind="length known", atol=2e-5, second=False):
    loop, tree = (values_and_gradients(form, arguments, kind, second) for form in FORMS)
    rows = arguments[-1].numpy()[:, 0]
    np.testing.assert_allclose(tree[0][rows], loop[0][rows], rtol=1e-5, atol=1e-5)
    for ours, expected in zip(tree[1:], loop[1:], strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=atol)
    mask = arguments[-1].numpy()
    best = [form.best_path(*arguments).numpy() for form in FORMS]
    np.testing.assert_array_equal(best[1][mask], best[0][mask])


@pytest.mark.parametrize(("tags", "steps"), [(1, 3), (4, 1), (4, 7), (20, 33)])
def test_forms_agree(tags, steps):
    assert_same(chain(tags, [steps, steps // 2, 0, 1], steps), second=True)


@pytest.mark.parametrize("kind", ["length unknown", "XLA"])
def test_forms_agree_in_graphs_of_any_length(few_levels, kind):
    assert_same(chain(4, [7, 2, 0], 7), kind)


def test_no_rows():
    for form in FORMS:
        value, *gradients = values_and_gradients(form, chain(3, [], 4))
        assert value.shape == (0,)
        assert not any(gradient.any() for gradient in gradients)
        assert form.best_path(*chain(3, [], 4)).shape == (0, 4)


def test_forms_agree_with_impossible_moves_and_emissions():
    emissions, transitions, start, end, mask = chain(5, [40, 40, 11, 1], 40, scale=3.0)
    emissions = tf.where(tf.random.stateless_uniform(emissions.shape, [1, 2]) < 0.4, -1e9, emissions)
    emissions = tf.concat([emissions[..., :1] * 0, emissions[..., 1:]], 2)  # tag 0 is always possible
    forbidden = np.zeros((5, 5), bool)
    forbidden[1, 3:] = forbidden[2:, 1] = True
    transitions, start = tf.where(forbidden, -1e9, transitions), start + [0.0, 0.0, 0.0, 0.0, -1e9]
    assert_same([emissions, transitions, start, end, mask], atol=1e-4)


def test_gradients_are_finite_where_no_path_is_possible():
    emissions, _, start, end, mask = chain(3, [5, 2], 5)
    transitions = tf.where(np.diag([True, False, False]), 0.0, -1e9)
    start += [-1e9, 0.0, 0.0]
    value, *gradients = values_and_gradients(_crf_tree, [emissions, transitions, start, end, mask])
    assert np.isfinite(value).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_large_scores():
    """With emissions that differ by hundreds, most paths have the probability 0 in float32."""
    assert_same(chain(4, [64, 5], 64, scale=20.0), atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_nan_is_not_hidden(form):
    arguments = chain(3)
    for place in range(4):
        broken = list(arguments)
        flat = broken[place].numpy().copy()
        flat.reshape(-1)[0] = np.nan
        broken[place] = tf.constant(flat)
        assert np.isnan(form.log_partition(*broken)[0])


@pytest.mark.parametrize("form", FORMS)
def test_paths_of_equal_scores_are_legal(form):
    legal = np.array([[1, 1, 0], [0, 0, 1], [1, 0, 1]], bool)
    zeros, _, start, _, mask = chain(3, [9], 9, scale=0.0)
    tags = form.best_path(zeros, tf.where(legal, 0.0, -1e9), start, start, mask).numpy()[0]
    assert all(legal[i, j] for i, j in itertools.pairwise(tags))


def operations(function, arguments, steps):
    """Return the types of the operations in the graph for a length; none for any length."""
    emissions, *scores, _ = arguments
    rows, _, tags = emissions.shape
    signature = [tf.TensorSpec([rows, steps, tags]), *scores, tf.TensorSpec([rows, steps], tf.bool)]
    return [op.type for op in tf.function(function).get_concrete_function(*signature).graph.get_operations()]


@pytest.mark.parametrize("name", ["log_partition", "best_path", "marginals"])
def test_depth_of_trees_is_logarithmic(name):
    short, long, unknown = (operations(getattr(_crf_tree, name), chain(20), steps) for steps in (33, 1024, None))
    assert not any("While" in kind for kind in short + long + unknown)
    assert len(long) < 2 * len(short)  # 10 and 6 levels
    assert any("While" in kind for kind in operations(getattr(_crf_loop, name), chain(20), 33))


@pytest.fixture
def gpu(monkeypatch):
    """Let functions be traced as on a machine with a GPU."""
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: [tf.config.LogicalDevice("GPU:0", "GPU")])


def taken(steps=None, compiled=False, tags=3):
    """Return a function that tells which form is used: 0 for the loop, 1 for the tree."""

    def call(emissions, mask):
        scores = _crf._Scores(emissions, *(tf.zeros(shape) for shape in ((tags, tags), (tags,), (tags,))))
        return _crf._by_device(lambda *_: tf.constant(0), lambda *_: tf.constant(1), scores, mask)

    signature = [tf.TensorSpec([None, steps, tags]), tf.TensorSpec([None, steps], tf.bool)]
    return tf.function(call, input_signature=signature, jit_compile=compiled)


def inputs(steps, tags=3):
    return tf.zeros([2, steps, tags]), tf.ones([2, steps], tf.bool)


def test_loops_without_a_gpu():
    assert taken(compiled=True)(*inputs(4)) == 0


@pytest.mark.parametrize("steps", [None, 4])
def test_a_graph_of_a_gpu_has_loops_on_a_cpu(gpu, steps, tmp_path):
    function = taken(steps)
    assert function(*inputs(4)) == 0
    archive = tf.Module()
    archive.call = function
    tf.saved_model.save(archive, tmp_path)
    assert tf.saved_model.load(tmp_path).call(*inputs(4)) == 0


@pytest.mark.parametrize("steps", [None, 4])
def test_xla_has_trees_on_a_machine_with_a_gpu(gpu, steps):
    assert taken(steps, compiled=True)(*inputs(4)) == 1


def test_loops_for_many_tags(gpu):
    assert taken(compiled=True, tags=64)(*inputs(4, 64)) == 1
    assert taken(compiled=True, tags=65)(*inputs(4, 65)) == 0


@pytest.mark.parametrize("compiled", [False, True])
def test_too_many_positions_are_an_error(monkeypatch, compiled):
    monkeypatch.setattr(_crf_tree, "_LEVELS", 2)
    for name in ("log_partition", "best_path"):
        function = traced(getattr(_crf_tree, name), "XLA" if compiled else "length unknown")
        assert function(*chain(3, [4], 4)).shape[0] == 1
        with pytest.raises(tf.errors.InvalidArgumentError, match="compatible"):
            function(*chain(3, [5], 5))


def test_the_layer_with_either_form(gpu, few_levels, monkeypatch):
    """Masks with gaps; a CPU runs the loop, eagerly and in a graph with both forms, and XLA runs the tree."""
    keras.utils.set_random_seed(0)
    layer, rng = CRF(), np.random.default_rng(0)
    layer.build((None, None, 4))
    for variable in layer.weights:
        variable.assign(rng.normal(size=variable.shape))
    emissions = rng.normal(size=(4, 9, 4)).astype("float32")
    mask = rng.random((4, 9)) < [[0.9], [0.5], [0.2], [0.0]]
    tags = rng.integers(0, 4, (4, 9)).astype("int32")
    allowed = rng.random((4, 4)) < 0.8

    def call(emissions, tags, mask):
        with tf.GradientTape() as tape:
            tape.watch(emissions)
            output = layer(emissions)
            loss = CRF.negative_log_likelihood(output, tags, tf.cast(mask, tf.float32))
        gradients = tape.gradient(loss, [emissions, *(variable.value for variable in layer.weights)])
        return loss, *gradients, CRF.marginals(output, mask), CRF.viterbi(output, mask, allowed, allowed[0])

    kinds = tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None], tf.bool)
    on_cpu, elsewhere = (
        tf.function(call, input_signature=kinds, jit_compile=compiled)(emissions, tags, mask)
        for compiled in (False, True)
    )
    eager = call(tf.constant(emissions), tags, mask)
    monkeypatch.undo()
    without = tf.function(call)(tf.constant(emissions), tags, mask)
    for expected, loop, same, tree in zip(without, on_cpu, eager, elsewhere, strict=True):
        np.testing.assert_allclose(loop, expected, atol=1e-6)
        np.testing.assert_allclose(same, expected, atol=1e-6)
        np.testing.assert_allclose(tree, expected, atol=1e-5)
