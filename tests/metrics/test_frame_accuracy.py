"""FrameAccuracy compared with a count by hand, and saved with a model."""

import keras
import numpy as np
import pytest

import tf_mtl as mtl

SLOTS = ["O", "B-a", "I-a"]


def build():
    encoder = mtl.encoders.RecurrentEncoder(10, dim=4, units=4, dropout=0.0)
    tasks = [
        mtl.tasks.Classification("intent", labels=3),
        mtl.tasks.Tagging("slots", SLOTS, crf=True),
        mtl.tasks.BinaryClassification("polite"),
        mtl.tasks.Regression("length"),
    ]
    return mtl.build_model(keras.Input((5,), dtype="int32"), mtl.trunks.HardSharing(encoder), tasks)


def data(rows=40):
    rng = np.random.default_rng(0)
    is_token = np.arange(5) < rng.integers(1, 6, rows)[:, None]
    x = np.where(is_token, rng.integers(1, 10, (rows, 5)), 0)
    y = {
        "intent": rng.integers(0, 3, rows),
        "slots": rng.integers(0, 3, (rows, 5)),
        "polite": rng.integers(0, 2, rows),
        "length": rng.random(rows),
    }
    weights = {"slots": is_token * (rng.random((rows, 1)) < 0.8), "intent": rng.random(rows) < 0.8}
    return x, y, {task: weight.astype("float32") for task, weight in weights.items()}


def test_equals_a_count_by_hand():
    keras.utils.set_random_seed(0)
    model = build()
    x, y, weight = data()
    frame = mtl.metrics.FrameAccuracy(["intent", "slots", "polite"])
    model.compile("adam", joint_metrics=[frame])
    answers = model.decode(model.predict(x, verbose=0))
    y["slots"] = np.array([[SLOTS.index(tag) if tag else 0 for tag in row] for row in answers["slots"]["tags"]])
    has_wrong_tag = np.arange(40) % 3 == 0
    y["slots"][has_wrong_tag, 0] = (y["slots"][has_wrong_tag, 0] + 1) % 3
    is_correct = [
        answers["intent"]["label"][row] == str(y["intent"][row])
        and answers["polite"]["label"][row] == ["no", "yes"][y["polite"][row]]
        and not (has_wrong_tag[row] and weight["slots"][row, 0])
        for row in range(40)
    ]
    labelled = (weight["intent"] > 0) & (weight["slots"].sum(1) > 0)
    expected = np.sum(is_correct & labelled) / labelled.sum()
    assert 0 < expected < 1
    results = model.evaluate(x, y, sample_weight=weight, batch_size=16, verbose=0, return_dict=True)
    assert results["frame_accuracy"] == pytest.approx(expected)
    history = model.fit(x, y, sample_weight=weight, validation_data=(x, y, weight), verbose=0)
    assert {"frame_accuracy", "val_frame_accuracy"} <= set(history.history)


def test_is_saved_with_the_model(tmp_path):
    model = build()
    model.compile("adam", joint_metrics=[mtl.metrics.FrameAccuracy(["intent", "slots"], name="frame")])
    model.save(tmp_path / "model.keras")
    x, y, weight = data()
    loaded = keras.models.load_model(tmp_path / "model.keras")
    results = [m.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True) for m in (model, loaded)]
    assert results[0] == pytest.approx(results[1])
    assert "frame" in results[0]


def test_tasks_without_correct_and_wrong_predictions_are_refused():
    losses = {
        "intent": keras.losses.CategoricalCrossentropy(from_logits=True),
        "polite": keras.losses.BinaryCrossentropy(),
    }
    for task, loss in losses.items():
        with pytest.raises(ValueError, match=f"'{task}' does not allow"):
            build().compile("adam", loss={task: loss}, joint_metrics=[mtl.metrics.FrameAccuracy(["slots", task])])


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ([keras.metrics.Mean()], "metrics of several tasks"),
        ([mtl.metrics.FrameAccuracy(["intent", "slot"])], "Did you mean 'slots'"),
        ([mtl.metrics.FrameAccuracy(["intent", "length"])], "which 'length' does not allow"),
        ([mtl.metrics.FrameAccuracy(["intent"]), mtl.metrics.FrameAccuracy(["slots"])], "Rename one"),
        ([mtl.metrics.FrameAccuracy(["intent"], name="intent_accuracy")], "Rename one"),
    ],
)
def test_bad_joint_metrics(metrics, message):
    with pytest.raises(ValueError, match=message):
        build().compile("adam", joint_metrics=metrics)
