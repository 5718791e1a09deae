"""Outputs per pixel or token: decoded in full by the model and by exports; decoders that drop positions are refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

X = np.random.default_rng(0).random((3, 4, 5, 2)).astype("float32")


def build(*tasks, features="map"):
    keras.utils.set_random_seed(0)
    if features == "map":
        x, encoder = keras.Input((4, 5, 2), name="x"), keras.layers.Conv2D(3, 1, activation="tanh")
    else:
        x, encoder = keras.Input((5, 2), name="x"), keras.layers.Dense(3, activation="tanh")
    return mtl.build_model(x, mtl.trunks.HardSharing(encoder), tasks)


TASKS = {
    "depth": mtl.tasks.Regression("depth", features="map", low=-0.1, high=0.1, scale=2.0),
    "normals": mtl.tasks.Regression("normals", units=3, features="map"),
    "mask": mtl.tasks.BinaryClassification("mask", features="map"),
    "classes": mtl.tasks.Classification("classes", 3, features="map", top_k=2),
    "several": mtl.tasks.MultiLabel("several", 3, features="map"),
}


def test_every_pixel_is_decoded_by_model_and_export(tmp_path, fresh_process):
    model = build(*TASKS.values())
    outputs = model.predict(X, verbose=0)
    answers = model.decode(outputs)
    depth, logits = outputs["depth"][..., 0], outputs["mask"][..., 0]
    np.testing.assert_array_equal(answers["depth"]["raw"], depth)
    np.testing.assert_array_equal(answers["depth"]["value"], np.clip(depth, np.float32(-0.1), np.float32(0.1)))
    np.testing.assert_array_equal(answers["normals"]["value"], outputs["normals"])
    np.testing.assert_allclose(answers["mask"]["score"], 1 / (1 + np.exp(-logits)), rtol=1e-5)
    np.testing.assert_array_equal(answers["mask"]["label"], np.where(logits >= 0, "yes", "no"))
    assert answers["depth"]["value"].shape == answers["mask"]["label"].shape == (3, 4, 5)
    assert answers["classes"]["label"].shape == (3, 4, 5)
    assert answers["classes"]["top_scores"].shape == (3, 4, 5, 2)
    assert answers["several"]["labels"].shape == (3, 4, 5, 3)
    path = mtl.export.saved_model(model, tmp_path / "dense")
    served = tf.saved_model.load(str(path)).signatures["serving_default"](x=tf.constant(X))
    for task, answer in answers.items():
        for key, value in answer.items():
            exported = served[f"{task}_{key}"].numpy()
            assert exported.shape == value.shape
            if value.dtype.kind == "f":
                np.testing.assert_allclose(exported, value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "task", [mtl.tasks.Regression("t", features="sequence"), mtl.tasks.BinaryClassification("t", features="sequence")]
)
def test_every_token_is_decoded(task):
    model = build(task, features="sequence")
    outputs = model.predict(X[:, 0], verbose=0)
    assert {value.shape for value in model.decode(outputs)["t"].values()} == {(3, 5)}


@keras.saving.register_keras_serializable("tests")
class Dropping(mtl.tasks.Regression):
    """Decodes some of the positions only."""

    kept = np.s_[:, 0]

    def decode(self, output):
        answer = super().decode(output)
        return {key: value[self.kept] for key, value in answer.items()}


@pytest.mark.parametrize("kept", [np.s_[:, 0], np.s_[:, -1], np.s_[:, :, 1], np.s_[:, 1:3], np.s_[:, :, 0:2]])
@pytest.mark.parametrize("units", [1, 2])
def test_a_decoder_that_drops_positions_fails_the_check(kept, units, tmp_path):
    task = Dropping("t", units=units, features="map")
    task.kept = kept
    model = build(task, mtl.tasks.Regression("other"))
    with pytest.raises(ValueError, match="`decode` of task 't' ignores position . on axis [12]"):
        mtl.export.saved_model(model, tmp_path / "broken")
    assert not list(tmp_path.glob("broken/*"))
    if kept == np.s_[:, 0] and units == 1:
        path = mtl.export.saved_model(model, tmp_path / "unchecked", check=False)
        with pytest.raises(ValueError, match="`decode` of task 't' ignores position"):
            mtl.export.check(path, model, X)
