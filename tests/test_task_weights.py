"""Weightings are called on the CPU, whichever device the model is on."""

import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl


class DeviceRecorder(mtl.balancing.Weighting):
    """Counts its calls in a variable, and records the device of its operations."""

    devices = ()

    def build(self, input_shape):
        self.calls = self.add_state("calls", ())

    def call(self, gramian, losses=None):
        self.calls.assign(self.calls + 1)
        weights = 2 * tf.ones_like(losses)
        self.devices = (*self.devices, weights.device)
        return weights


@pytest.mark.parametrize("gradients", ["parameters", "features"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_weightings_run_on_the_cpu_unless_xla_places_them(gradients, jit_compile):
    with tf.device("/device:CPU:1"):
        model, method = small_models.model(), DeviceRecorder()
        model.compile("sgd", small_models.LOSS, balancing=method, gradients=gradients, jit_compile=jit_compile)
        x, y = small_models.full_data()
        model.fit(x, y, batch_size=40, verbose=0)
    assert "CPU:1" in method.calls.value.device
    assert float(method.calls) == 1
    assert all(device.endswith("CPU:0") != jit_compile for device in method.devices)
    assert method.devices
