"""MaskedMean against NumPy."""

import keras
import numpy as np
import pytest

from tf_mtl.layers import MaskedMean

MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]], bool)


def sequence():
    return np.random.default_rng(0).normal(size=(4, 4, 3)).astype("float32")


def test_means_of_unmasked_positions():
    x = sequence()
    expected = [row[mask].mean(0) if mask.any() else np.zeros(3) for row, mask in zip(x, MASK, strict=True)]
    for mask in (MASK, MASK.astype("int32"), MASK.astype("float32")):
        np.testing.assert_allclose(MaskedMean()(x, mask=mask), expected, rtol=1e-5, atol=1e-6)


def test_all_positions_without_a_mask():
    np.testing.assert_allclose(MaskedMean()(sequence()), sequence().mean(1), rtol=1e-5, atol=1e-6)


def test_the_mask_of_an_embedding_and_an_empty_row(tmp_path):
    x = keras.Input((None,), dtype="int32")
    embedding = keras.layers.Embedding(9, 3, mask_zero=True)
    model = keras.Model(x, MaskedMean()(embedding(x)))
    ids = np.array([[4, 7, 0], [0, 0, 0]])
    table = embedding.get_weights()[0]
    pooled = model.predict(ids, verbose=0)
    np.testing.assert_allclose(pooled, [(table[4] + table[7]) / 2, np.zeros(3)], rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(ids, verbose=0), pooled)


def test_the_mean_has_no_mask():
    x = keras.Input((4,), dtype="int32")
    output = MaskedMean()(keras.layers.Embedding(9, 3, mask_zero=True)(x))
    assert output.shape == (None, 3)
    assert getattr(output, "_keras_mask", None) is None


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    pooled = MaskedMean(dtype=policy)(sequence(), mask=MASK)
    assert keras.backend.standardize_dtype(pooled.dtype) == policy.removeprefix("mixed_")
    assert np.isfinite(keras.ops.convert_to_numpy(keras.ops.cast(pooled, "float32"))).all()
