import keras
import numpy as np
import pytest

import tf_mtl as mtl
from tf_mtl._engine.masked_losses import as_loss


def test_each_cell_has_the_value_of_keras():
    rng = np.random.default_rng(0)
    y, z = rng.integers(0, 2, (5, 3)).astype("float32"), rng.normal(size=(5, 3)).astype("float32")
    values = mtl.losses.CellwiseBinaryCrossentropy().call(y, z)
    keras_loss = keras.losses.BinaryCrossentropy(from_logits=True)
    np.testing.assert_allclose(values, keras_loss.call(y[..., None], z[..., None]), rtol=1e-5)


def test_pos_weight_scales_positive_cells():
    z = np.array([[0.3, -1.0]], "float32")
    loss = mtl.losses.CellwiseBinaryCrossentropy(pos_weight=[2.0, 5.0])
    expected = np.log1p(np.exp(-z)) * [2.0, 5.0]
    np.testing.assert_allclose(loss.call(np.ones((1, 2)), z), expected, rtol=1e-5)
    restored = mtl.losses.CellwiseBinaryCrossentropy.from_config(loss.get_config())
    np.testing.assert_allclose(restored.call(np.ones((1, 2)), z), expected, rtol=1e-5)


def test_named_losses_become_objects_that_can_be_saved():
    loss = as_loss("a", "mse")
    restored = type(loss).from_config(loss.get_config())
    y, p = np.array([1.0, 2.0]), np.array([[2.0], [5.0]])
    np.testing.assert_allclose(restored.call(y, p), [1.0, 9.0])
    assert as_loss("a", loss) is loss
    with pytest.raises(ValueError, match="reduction='sum'"):
        as_loss("a", keras.losses.MeanSquaredError(reduction="sum"))
