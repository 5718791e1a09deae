"""CKA against its kernel form and its invariances; the rows at which features of tasks are compared."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

RNG = np.random.default_rng(0)
IDS = RNG.integers(1, 20, (6, 8)) * (np.arange(8) < np.array([[8], [6], [3], [7], [1], [5]]))
WORD_STARTS = (IDS > 0) & (np.arange(8) % 2 == 0)


def of_kernels(a, b):
    """Linear CKA by HSIC of centred Gram matrices [N, N], the other form in the paper."""
    center = np.eye(len(a)) - 1 / len(a)
    k, m = (center @ x @ x.T @ center for x in (np.asarray(a, "float64"), np.asarray(b, "float64")))
    return np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))


def text_model(trunk, tasks):
    keras.utils.set_random_seed(1)
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "word_starts")}
    return mtl.build_model(inputs, trunk(mtl.encoders.RecurrentEncoder(20, dim=6, units=4)), tasks)


@pytest.mark.parametrize("rows", [5, 100])  # fewer and more than columns
def test_both_forms_agree(rows):
    a, b = 3 + RNG.normal(size=(rows, 10)), RNG.normal(size=(rows, 7))
    b[:, :3] += a[:, :3]
    assert mtl.analysis.cka(a, b) == pytest.approx(of_kernels(a, b), rel=1e-10)
    assert mtl.analysis.cka(a, b) == pytest.approx(mtl.analysis.cka(b, a), rel=1e-10)


def test_rotation_scale_and_shift_change_nothing():
    a, b = RNG.normal(size=(50, 6)), RNG.normal(size=(50, 6))
    rotation, _ = np.linalg.qr(RNG.normal(size=(6, 6)))
    assert mtl.analysis.cka(a, 3 * a @ rotation + 7) == pytest.approx(1, rel=1e-10)
    assert mtl.analysis.cka(a @ rotation, 0.1 * b - 1) == pytest.approx(mtl.analysis.cka(a, b), rel=1e-10)
    assert mtl.analysis.cka(a, a @ np.diag([9, 1, 1, 1, 1, 1])) < 0.99  # unlike a scale for each column


def test_features_that_do_not_vary():
    assert np.isnan(mtl.analysis.cka(np.ones((4, 2)), RNG.normal(size=(4, 2))))


@pytest.mark.parametrize("shapes", [((4, 2), (5, 2)), ((4,), (4, 2)), ((4, 2, 2), (4, 2)), ((0, 2), (0, 2))])
def test_shapes_that_do_not_fit(shapes):
    with pytest.raises(ValueError, match="the same number of rows and at least one, received the shapes"):
        mtl.analysis.cka(*map(np.zeros, shapes))


def test_shared_features_are_the_same():
    tasks = [mtl.tasks.Regression("a"), mtl.tasks.Classification("b", labels=2, hidden_units=3)]
    model = mtl.build_model(keras.Input((4,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([5])), tasks)
    np.testing.assert_allclose(mtl.analysis.similarity(model, RNG.normal(size=(40, 4))).matrix, np.ones((2, 2)))


def test_all_rows_count_whatever_the_batches():
    tasks = [
        mtl.tasks.Regression("a", hidden_units=3),
        mtl.tasks.Regression("b", after=["a"]),
        mtl.tasks.Regression("c"),
    ]
    model = mtl.build_model(keras.Input((4,)), mtl.trunks.CrossStitch(mtl.encoders.MLPEncoder([6, 5])), tasks)
    x = RNG.normal(size=(50, 4)).astype("float32")
    stitch = model.get_layer("cross_stitch_1")
    features = [np.asarray(each) for each in keras.Model(model.input, stitch.output)(x)]
    expected = [[of_kernels(one, other) for other in features] for one in features]
    batches = tf.data.Dataset.from_tensor_slices((x, {"a": x[:, 0]})).batch(7)
    for given in (x, batches):
        result = mtl.analysis.similarity(model, given)
        np.testing.assert_allclose(result.matrix, expected, rtol=1e-4)
    assert result.tasks == ("a", "b", "c")
    assert str(result).splitlines()[2].startswith("| a    | 1.000 |")


def test_sequences_are_compared_where_both_heads_read():
    """Words' first tokens for tags, all tokens for a masked language model, and means for vectors."""
    tasks = [
        mtl.tasks.Tagging("tags", labels=["O", "B-x"], crf=True, hidden_units=3),
        mtl.tasks.MaskedLM("lm", 20, tied=False),
        mtl.tasks.Classification("topic", labels=2),
    ]
    model = text_model(mtl.trunks.CrossStitch, tasks)
    x = {"token_ids": IDS, "word_starts": WORD_STARTS.astype("int32")}
    stitch = keras.Model(model.input, model.get_layer("cross_stitch_1").output)
    tags, lm, topic = (np.asarray(each) for each in stitch(x))
    means = [
        (each * valid[..., None]).sum(1) / np.maximum(valid.sum(1), 1)[:, None]
        for each, valid in ((tags, WORD_STARTS), (lm, IDS > 0), (topic, IDS > 0))
    ]
    matrix = mtl.analysis.similarity(model, x).matrix
    assert matrix[0, 1] == pytest.approx(of_kernels(tags[WORD_STARTS], lm[WORD_STARTS]), rel=1e-4)
    assert matrix[0, 2] == pytest.approx(of_kernels(means[0], means[2]), rel=1e-4)
    assert matrix[1, 2] == pytest.approx(of_kernels(means[1], means[2]), rel=1e-4)


def test_masks_that_keras_attaches_count():
    encoder = keras.Sequential(
        [keras.layers.Embedding(20, 4, mask_zero=True), keras.layers.LSTM(4, return_sequences=True)]
    )
    tasks = [mtl.tasks.Tagging("tags", labels=["O", "B-x"]), mtl.tasks.Tagging("pos", labels=3, scheme="none")]
    trunk = mtl.trunks.MMoE(encoder, keras.layers.Dense(4), experts=3)
    model = mtl.build_model(keras.Input((None,), dtype="int32"), trunk, tasks)
    for task in ("tags", "pos"):
        gate = model.get_layer(f"gate_{task}").kernel
        gate.assign(9 * RNG.normal(size=gate.shape))
    similarity = mtl.analysis.similarity(model, IDS).matrix[0, 1]
    assert similarity < 0.99
    longer = np.pad(IDS, [(0, 0), (0, 5)])
    assert mtl.analysis.similarity(model, longer).matrix[0, 1] == pytest.approx(similarity, rel=1e-5)


def test_models_and_data_that_do_not_fit():
    x = keras.Input((3,))
    with pytest.raises(ValueError, match="must have task objects"):
        mtl.analysis.similarity(mtl.MultiTaskModel(x, {"a": keras.layers.Dense(1, name="a")(x)}), np.ones((2, 3)))
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([2]))
    model = mtl.build_model(keras.Input((3,)), trunk, [mtl.tasks.Regression("a")])
    batches = tf.data.Dataset.from_tensors(np.ones((2, 3)))
    with pytest.raises(ValueError, match="`x` must end"):
        mtl.analysis.similarity(model, batches.repeat())
    with pytest.raises(ValueError, match="at least one row"):
        mtl.analysis.similarity(model, batches.take(0))
