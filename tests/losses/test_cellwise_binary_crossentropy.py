import keras
import numpy as np
import pytest

import tf_mtl as mtl
from tf_mtl._engine.masked_losses import as_loss


def test_values_are_those_of_keras_cell_by_cell():
    rng = np.random.default_rng(0)
    y, z = rng.integers(0, 2, (5, 3)).astype("float32"), rng.normal(size=(5, 3)).astype("float32")
    found = mtl.losses.CellwiseBinaryCrossentropy().call(y, z)
    keras_loss = keras.losses.BinaryCrossentropy(from_logits=True)
    np.testing.assert_allclose(found, keras_loss.call(y[..., None], z[..., None]), rtol=1e-5)


def test_pos_weight_scales_positive_cells():
    z = np.array([[0.3, -1.0]], "float32")
    loss = mtl.losses.CellwiseBinaryCrossentropy(pos_weight=[2.0, 5.0])
    expected = np.log1p(np.exp(-z)) * [2.0, 5.0]
    np.testing.assert_allclose(loss.call(np.ones((1, 2)), z), expected, rtol=1e-5)
    again = mtl.losses.CellwiseBinaryCrossentropy.from_config(loss.get_config())
    np.testing.assert_allclose(again.call(np.ones((1, 2)), z), expected, rtol=1e-5)


def test_functions_become_losses_that_can_be_saved():
    loss = as_loss("a", "mse")
    again = type(loss).from_config(loss.get_config())
    y, p = np.array([1.0, 2.0]), np.array([[2.0], [5.0]])
    np.testing.assert_allclose(again.call(y, p), [1.0, 9.0])
    assert as_loss("a", loss) is loss
    with pytest.raises(ValueError, match="reduction='sum'"):
        as_loss("a", keras.losses.MeanSquaredError(reduction="sum"))
