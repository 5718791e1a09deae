"""Callbacks of Keras find the direction of every value that a model logs: `mode="auto"`."""

import inspect

import keras
import keras_hub
import keras_rs
import numpy as np
import pytest
import small_models

import tf_mtl as mtl

TOKENIZER = keras_hub.tokenizers.BertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"])
LABELS = ["O", "B-x", "I-x", "B-y", "I-y"]
TASKS = [
    mtl.tasks.BinaryClassification("binary"),
    mtl.tasks.Classification("topic", labels=3),
    mtl.tasks.MaskedLM("mlm", 9, tied=False),
    mtl.tasks.Generation("reply", TOKENIZER, 6, text_metrics=[mtl.metrics.ChrF(), mtl.metrics.RougeL()]),
    mtl.tasks.LanguageModel("texts", TOKENIZER, mtl.layers.Decoder(7, 6, dim=4, layers=1, heads=1)),
    mtl.tasks.Matching("pair", units=2, features=("pooled", "pooled"), limit=8),
    mtl.tasks.Conversion("buy", after="binary"),
    mtl.tasks.Count("number"),
    mtl.tasks.Detection("boxes", 2, (8, 12), ["P2"], hidden_units=[4], most=2),
    mtl.tasks.Segmentation("parts", 2, (8, 12), levels=["P2"], units=4),
    mtl.tasks.Depth("depth", (8, 12), levels=["P2"], units=4),
    mtl.tasks.Normals("normals", (8, 12), levels=["P2"], units=4),
    mtl.tasks.Keypoints("corners", 2, (8, 12), levels=["P2"], units=4),
    mtl.tasks.DependencyParse("parse", labels=3, arc_units=4, label_units=2),
    mtl.tasks.MultiLabel("tags", labels=2),
    mtl.tasks.Ordinal("pain", levels=3),
    mtl.tasks.Ranking("order", features="sequence", k=2),
    mtl.tasks.Regression("price"),
    mtl.tasks.SpanExtraction("span"),
    mtl.tasks.Relations("relations", labels=2, tags=LABELS, entities="words", units=3),
    mtl.tasks.Tagging("words", LABELS),
    mtl.tasks.Tagging("path", LABELS, crf=True),
]
JOINT_METRICS = [
    mtl.metrics.FrameAccuracy(["topic", "words"]),
    mtl.metrics.RelationF1(LABELS, 2, entities="words", average="macro"),
]
METRICS = [  # with arguments, and those that no task declares
    mtl.metrics.AbsoluteRelativeError(),
    mtl.metrics.Angles(),
    mtl.metrics.Bleu(),
    mtl.metrics.CalibrationError(),
    mtl.metrics.CorrectKeypoints(1.0),
    mtl.metrics.DepthAccuracy(),
    mtl.metrics.EqualErrorRate(limit=8),
    mtl.metrics.ChrF(),
    mtl.metrics.RougeL(),
    mtl.metrics.LabeledAttachmentScore(),
    mtl.metrics.LogitsBinaryAccuracy(),
    mtl.metrics.MacroF1(2),
    mtl.metrics.MeanAveragePrecision(2, limit=8),
    mtl.metrics.MultiLabelF1(2, average="macro"),
    mtl.metrics.NormalizedEntropy(),
    mtl.metrics.OfConversion(keras.metrics.AUC(from_logits=True), over="clicks"),
    mtl.metrics.OfConversion(mtl.metrics.CalibrationError(from_logits=True)),
    mtl.metrics.Pearson(),
    mtl.metrics.Perplexity(),
    mtl.metrics.QuadraticWeightedKappa(3),
    mtl.metrics.Retrieval(2, limit=8),
    mtl.metrics.RankingMetric(keras_rs.metrics.RecallAtK(k=1), name="recall@1"),
    mtl.metrics.SpanF1(LABELS, per_type=True),
    mtl.metrics.SpanExactMatch(),
    mtl.metrics.SpanOverlapF1(),
    mtl.metrics.Spearman(0, 1),
    mtl.metrics.UnlabeledAttachmentScore(),
]
DOWN = {"loss", "mae", "perplexity", "rmse", "abs_rel", "mean_angle", "median_angle", "eer", "min_dcf"}
DOWN |= {"calibration_error", "normalized_entropy"}


@pytest.fixture(scope="module")
def model():
    encoder = mtl.encoders.TransformerEncoder(9, 6, dim=4, layers=1, heads=1)

    def with_map(inputs):
        features = encoder(inputs)
        return {**features, "P2": keras.layers.Reshape((2, 3, 4))(features["sequence"])}

    trunk = mtl.trunks.HardSharing(with_map)
    model = mtl.build_model({"token_ids": keras.Input((6,), dtype="int32", name="token_ids")}, trunk, TASKS)
    model.compile("sgd", joint_metrics=JOINT_METRICS)
    return model


def callbacks(monitor):
    yield keras.callbacks.EarlyStopping(monitor)
    yield keras.callbacks.ReduceLROnPlateau(monitor)
    yield keras.callbacks.ModelCheckpoint("model.keras", monitor, save_best_only=True)


def check(model, names):
    """Check the direction by the end of each name."""
    assert names
    for name in names:
        is_down = name.removeprefix("val_") == "loss" or any(name.endswith(f"_{word}") for word in DOWN)
        for callback in callbacks(name):
            callback.set_model(model)
            callback._set_monitor_op()
            assert callback.monitor_op is (keras.ops.less if is_down else keras.ops.greater), name


def test_all_tasks_and_metrics_are_tested():
    public = {getattr(mtl.tasks, name) for name in mtl.tasks.__all__}
    assert {type(task) for task in TASKS} == {
        each for each in public if issubclass(each, mtl.tasks.Task) and not inspect.isabstract(each)
    }
    tested = {type(metric) for metric in [*METRICS, *JOINT_METRICS]}
    assert tested == set(filter(inspect.isclass, (getattr(mtl.metrics, name) for name in mtl.metrics.__all__)))


def test_every_value_that_evaluate_reports(model):
    tags = np.zeros((2, 6), "int32")
    y = {"binary": [0, 1], "topic": [0, 1], "tags": [[0, 1], [1, 1]], "price": [0.0, 1.0], "words": tags, "path": tags}
    y |= {
        "pain": [0, 2],
        "buy": [0, 1],
        "number": [0, 2],
        "parts": np.ones((2, 8, 12), "int32"),
        "depth": np.ones((2, 8, 12)),
        "normals": np.ones((2, 8, 12, 3)),
        "corners": np.ones((2, 2, 2)),
        "boxes": [[[0, 0, 4, 4, 1]], [[2, 1, 4, 4, 0]]],
        "mlm": tags,
        "reply": tags + 5,
        "texts": tags + 5,
        "pair": [0, 1],
        "span": [[1, 2], [0, 0]],
        "order": tags,
        "parse": np.zeros((2, 6, 2), "int32"),
        "relations": np.zeros((2, 6, 6, 2), "int32"),
    }
    y = {task: np.array(labels) for task, labels in y.items()}
    results = model.evaluate({"token_ids": np.ones((2, 6), "int32")}, y, verbose=0, return_dict=True)
    assert {"frame_accuracy", "words_span_f1", "price_pearson", "binary_auc", "topic_loss"} <= set(results)
    check(model, [*results, *(f"val_{name}" for name in results)])


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_every_metric(metric):
    model = small_models.model()
    metric = type(metric).from_config(metric.get_config())
    metrics = {"topic": [metric], "price": []}
    model.compile("sgd", loss=small_models.LOSS, metrics=metrics, weighted_metrics=metrics)
    names = [metric.name] if not hasattr(metric, "result_names") else list(metric.result())
    check(model, [f"val_topic_{prefix}{name}" for name in names for prefix in ("", "weighted_")])


def test_in_fit(tmp_path):
    x, y = small_models.full_data()
    model = small_models.model()
    metrics = {"topic": [mtl.metrics.MacroF1(3)], "price": [mtl.metrics.Pearson()]}
    model.compile("sgd", loss=small_models.LOSS, metrics=metrics)
    best = tmp_path / "best.keras"
    given = [
        keras.callbacks.EarlyStopping("val_topic_macro_f1", patience=9),
        keras.callbacks.ReduceLROnPlateau("price_loss", patience=9),
        keras.callbacks.ModelCheckpoint(best, "val_price_pearson", save_best_only=True),
    ]
    history = model.fit(x, y, validation_data=(x, y), epochs=2, verbose=0, callbacks=given).history
    assert given[2].best == max(history["val_price_pearson"])
    assert given[0].best == max(history["val_topic_macro_f1"])
    assert best.is_file()


def test_a_value_without_a_direction_is_refused_by_keras():
    model = small_models.model()
    model.compile("sgd", loss=small_models.LOSS, metrics={"topic": [keras.metrics.Mean("size")], "price": []})
    callback = keras.callbacks.EarlyStopping("val_topic_size")
    callback.set_model(model)
    with pytest.raises(ValueError, match="mode='max'"):
        callback._set_monitor_op()
