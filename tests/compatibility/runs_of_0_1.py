"""The models and runs whose files of version 0.1 lie in `files/`, and what becomes of them in further training.

`python tests/compatibility/runs_of_0_1.py` wrote the files with the code of commit 27e2a4b. They
must stay as they are: the test beside this script reads them with today's code.
"""

import contextlib
import shutil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

FILES = Path(__file__).parent / "files"
TEXTS = ["Anna lives in Paris", "Tom Hanks visited Rome today", "nothing here", "In Oslo Kim met Anna"]
TAGS = ["O", "B-PER", "I-PER", "B-LOC"]
LABELS = {
    "ner": [[1, 0, 0, 3], [1, 2, 0, 3, 0], [0, 0], [0, 3, 1, 0, 1]],
    "mood": [0, 1, 1, 0],
}


@keras.saving.register_keras_serializable("tests")
def absolute_error(y_true, y_pred):
    return tf.abs(y_true - y_pred)


def columns(rows=24):
    """Inputs, labels and label weights of the models of numbers."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 5)).astype("float32")
    y = {
        "topic": rng.integers(0, 3, rows),
        "price": x[:, :2].sum(1),
        "sold": rng.integers(0, 2, rows),
        "marks": rng.integers(0, 2, (rows, 2)),
    }
    weight = {"price": (rng.random(rows) < 0.7).astype("float32"), "sold": (rng.random(rows) < 0.7).astype("float32")}
    return x, y, weight


def batches():
    return tf.data.Dataset.from_tensor_slices(columns()).batch(8)


def tabular():
    """Gated experts, four kinds of tasks, and a moving average of UPGrad's weights."""
    keras.utils.set_random_seed(1)
    trunk = mtl.trunks.PLE(mtl.encoders.MLPEncoder([6]), keras.layers.Dense(4, "relu"), tower=keras.layers.Dense(3))
    tasks = [
        mtl.tasks.Classification("topic", labels=["news", "sport", "arts"], hidden_units=4),
        mtl.tasks.Regression("price", low=-3, high=3),
        mtl.tasks.BinaryClassification("sold"),
        mtl.tasks.MultiLabel("marks", labels=["new", "red"]),
    ]
    model = mtl.build_model(keras.Input((5,), name="x"), trunk, tasks)
    model.compile(keras.optimizers.Adam(0.01), balancing=mtl.balancing.EMA(mtl.balancing.UPGrad()), jit_compile=False)
    return model


def functional():
    """A graph of plain layers, a function for a loss, learning rates by layer, and a method with learned weights."""
    keras.utils.set_random_seed(2)
    x = keras.Input((5,), name="x")
    h = keras.layers.Dense(6, "tanh", name="encoder")(x)
    outputs = {"topic": keras.layers.Dense(3, name="topic")(h), "price": keras.layers.Dense(1, name="price")(h)}
    model = mtl.MultiTaskModel(x, outputs)
    topic = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        mtl.layerwise(keras.optimizers.AdamW(0.01), model, {"encoder": 0.5}),
        loss={"topic": topic, "price": absolute_error},
        metrics={"topic": ["accuracy"], "price": ["mae"]},
        balancing=mtl.balancing.GradNorm(),
        jit_compile=False,
    )
    return model


def functional_batches():
    return batches().map(lambda x, y, w: (x, {t: y[t] for t in ("topic", "price")}, {"price": w["price"]}))


def preprocessor():
    return mtl.text.Words.learn(TEXTS, length=6)


def tagging():
    """Tags of words with a CRF beside a class of the text, balanced by Nash-MTL."""
    keras.utils.set_random_seed(3)
    words = preprocessor()
    encoder = mtl.encoders.RecurrentEncoder(words.vocabulary_size, dim=4, units=3, dropout=0.0)
    tasks = [mtl.tasks.Tagging("ner", labels=TAGS, crf=True), mtl.tasks.Classification("mood", labels=2)]
    model = mtl.build_model(words.inputs(), mtl.trunks.HardSharing(encoder), tasks)
    model.compile(keras.optimizers.Adam(0.01), balancing="nash_mtl", jit_compile=False)
    return model


def tagging_batches():
    x = preprocessor()(tf.constant(TEXTS))
    ner = [row + [0] * (6 - len(row)) for row in LABELS["ner"]]
    return tf.data.Dataset.from_tensor_slices((x, {"ner": ner, "mood": LABELS["mood"]})).batch(2)


RUNS = {
    "tabular": (tabular, batches),
    "functional": (functional, functional_batches),
    "tagging": (tagging, tagging_batches),
}


class Interruption(Exception):
    """Ends a run in the middle of an epoch, as a kill does."""


def train_with_checkpoints(directory, epochs, stop_after=None):
    """Train the functional model on shuffled rows; end after so many steps, if any are given."""
    model, steps = functional(), 0

    def count(batch, logs):
        nonlocal steps
        steps += 1
        if steps == stop_after:
            raise Interruption

    shuffled = functional_batches().unbatch().shuffle(24, seed=5).batch(8)
    callbacks = [
        mtl.callbacks.Checkpoint(directory, every="2 steps"),
        keras.callbacks.LambdaCallback(on_train_batch_end=count),
    ]
    history = model.fit(shuffled, epochs=epochs, callbacks=callbacks, verbose=0).history
    return model, history


def write():
    """Write the files, and what is expected of whoever reads them."""
    shutil.rmtree(FILES, ignore_errors=True)
    FILES.mkdir()
    for name, (build, data) in RUNS.items():
        model = build()
        model.fit(data(), epochs=2, verbose=0)
        model.save(FILES / f"{name}.keras")
        expected = {f"output/{task}": values for task, values in model.predict(data(), verbose=0).items()}
        logs = model.fit(data(), epochs=2, verbose=0).history
        expected |= {f"log/{key}": np.array(values) for key, values in logs.items()}
        expected |= {f"weight/{i:03d}": values for i, values in enumerate(model.get_weights())}
        np.savez(FILES / f"{name}.npz", **expected)
    mtl.text.save(preprocessor(), FILES / "words.json")
    with contextlib.suppress(Interruption):
        train_with_checkpoints(FILES / "checkpoints", epochs=3, stop_after=5)
    model, history = train_with_checkpoints(FILES / "undisturbed", epochs=3)
    shutil.rmtree(FILES / "undisturbed")
    expected = {f"log/{key}": np.array(values) for key, values in history.items()}
    np.savez(FILES / "checkpoints.npz", **expected, **{f"weight/{i:03d}": w for i, w in enumerate(model.get_weights())})
    model = keras.models.load_model(FILES / "tabular.keras")
    path = mtl.export.saved_model(model, FILES / "export")
    answers = tf.saved_model.load(str(path)).signatures["serving_default"](x=tf.constant(columns()[0]))
    texts = {name: value.numpy().astype("S") for name, value in answers.items() if value.dtype == tf.string}
    np.savez(FILES / "export.npz", **{name: value.numpy() for name, value in answers.items()} | texts)


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    write()
