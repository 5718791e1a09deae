"""The steps of `benchmarks/balancing.py` in Keras and TensorFlow."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from balancing import Setting

import tf_mtl as mtl


class ForwardOnly(keras.Model):
    """A model whose training step ends at the loss."""

    def train_step(self, data):
        x, y = data
        return {"loss": self.compute_loss(x, y, self(x, training=True))}


def steps(setting: Setting) -> dict[str, Callable[[], object]]:
    """Return the steps by name: the forward pass, the plain step, and each method's."""
    tf.get_logger().setLevel("ERROR")
    tf.config.threading.set_intra_op_parallelism_threads(setting.threads)
    tf.config.threading.set_inter_op_parallelism_threads(setting.threads)
    found = {"forward": _step(ForwardOnly, setting), "plain": _step(keras.Model, setting)}
    for name in setting.methods:
        method, _, gradients = name.partition("/")
        options = {"balancing": mtl.balancing.get(method), "gradients": gradients or "parameters"}
        found[name] = _step(mtl.MultiTaskModel, setting, **options)
    return found


def megabytes(step: Callable[[], object]) -> float:
    """Return what TensorFlow allocates at most at once while a step runs."""
    tf.config.experimental.reset_memory_stats("CPU:0")
    before = tf.config.experimental.get_memory_info("CPU:0")["current"]
    step()
    return (tf.config.experimental.get_memory_info("CPU:0")["peak"] - before) / 2**20


def _step(model_class, setting, **options):
    keras.utils.set_random_seed(0)
    ids = keras.Input((setting.length,), dtype="int32")
    features = _trunk(setting, ids)
    names = [f"task_{i}" for i in range(setting.tasks)]
    model = model_class(ids, {name: keras.layers.Dense(setting.classes, name=name)(features) for name in names})
    loss = {name: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for name in names}
    model.compile(keras.optimizers.SGD(0.01), loss=loss, **options)
    data = _data(setting, names)
    model.make_train_function()
    iterator = iter(data)
    return lambda: tf.nest.map_structure(float, model.train_function(iterator))


def _trunk(setting, ids):
    if setting.trunk == "transformer":
        size = {"dim": setting.dim, "layers": setting.layers, "heads": setting.heads}
        encoder = mtl.encoders.TransformerEncoder(
            setting.vocabulary, setting.length, feedforward_dim=setting.feedforward, dropout=0.0, **size
        )
        return encoder(ids)["pooled"]
    tokens = keras.layers.Embedding(setting.vocabulary, setting.dim)(ids)
    return mtl.encoders.MLPEncoder(setting.units)(keras.layers.GlobalAveragePooling1D()(tokens))["pooled"]


def _data(setting, names, batches=8):
    rng = np.random.default_rng(0)
    rows = setting.batch * batches
    ids = rng.integers(1, setting.vocabulary, (rows, setting.length))
    labels = {name: rng.integers(0, setting.classes, rows) for name in names}
    return tf.data.Dataset.from_tensor_slices((ids, labels)).batch(setting.batch).cache().repeat().prefetch(2)
