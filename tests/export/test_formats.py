"""LiteRT, ONNX and quantised copies of a model, compared with the Keras model."""

import json

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnxruntime import InferenceSession

import tf_mtl as mtl


def build(activation="relu"):
    inputs = {"left": keras.Input((4,), name="left"), "right": keras.Input((3,), name="right")}
    shared = keras.layers.Concatenate()([inputs["left"], inputs["right"]])
    shared = keras.layers.Dense(32, activation=activation)(shared)
    tasks = [mtl.tasks.Classification("kind", ["a", "b", "c"], hidden_units=16), mtl.tasks.Regression("price")]
    outputs = {task.name: task.head({"pooled": shared}) for task in tasks}
    return mtl.MultiTaskModel(inputs, outputs, tasks=tasks)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return build()


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(7, size)).astype("float32") for name, size in (("left", 4), ("right", 3))}


def outputs_by_task(model, inputs):
    return {task: output.numpy() for task, output in model(inputs).items()}


@pytest.mark.parametrize(("quantization", "tolerance"), [(None, 1e-5), ("dynamic", 0.05)])
def test_litert_keeps_all_signatures(model, inputs, tmp_path, capsys, quantization, tolerance):
    path = mtl.export.litert(model, tmp_path / "model.tflite", quantization, inputs)
    interpreter = Interpreter(model_path=str(path))
    assert set(interpreter.get_signature_list()) == {"serving_default", "kind", "price"}
    expected = outputs_by_task(model, inputs)
    for name, tasks in {"serving_default": ["kind", "price"], "kind": ["kind"], "price": ["price"]}.items():
        outputs = interpreter.get_signature_runner(name)(**inputs)
        assert set(outputs) == set(tasks)
        for task in tasks:
            np.testing.assert_allclose(outputs[task], expected[task], atol=tolerance)
    assert "| serving_default |" in capsys.readouterr().out
    tasks = json.loads((tmp_path / "model.tflite.json").read_text())["tasks"]
    assert tasks[0]["labels"] == ["a", "b", "c"]


def test_dynamic_range_is_smaller(tmp_path):
    shared = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([256, 256]))
    model = mtl.build_model(keras.Input((64,), name="x"), shared, [mtl.tasks.Regression("price")])
    plain = mtl.export.litert(model, tmp_path / "plain.tflite").stat().st_size
    assert mtl.export.litert(model, tmp_path / "small.tflite", "dynamic").stat().st_size < 0.35 * plain


def test_litert_errors(model, tmp_path):
    with pytest.raises(ValueError, match='must be None or "dynamic"'):
        mtl.export.litert(model, tmp_path / "model.tflite", "int4")
    with pytest.raises(ValueError, match="must end in '.tflite'"):
        mtl.export.litert(model, tmp_path / "model.onnx")
    erf = build(lambda x: keras.ops.erfinv(keras.ops.tanh(x)))
    with pytest.raises(ValueError, match="LiteRT cannot express this model"):
        mtl.export.litert(erf, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tasks", [None, ["price"]])
def test_onnx(model, inputs, tmp_path, tasks):
    path = mtl.export.onnx(model, tmp_path / "model.onnx", tasks, inputs)
    session = InferenceSession(path)
    assert {i.name for i in session.get_inputs()} == {"left", "right"}
    names = [output.name for output in session.get_outputs()]
    assert set(names) == set(tasks or ["kind", "price"])
    for name, output in zip(names, session.run(names, inputs), strict=True):
        np.testing.assert_allclose(output, outputs_by_task(model, inputs)[name], rtol=1e-5, atol=1e-6)


def test_onnx_of_an_exact_gelu_is_refused(tmp_path):
    with pytest.raises(ValueError, match="approximate=True"):
        mtl.export.onnx(build("gelu"), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
    mtl.export.onnx(build(lambda x: keras.activations.gelu(x, approximate=True)), tmp_path / "model.onnx")


def test_bad_arguments_of_onnx(model, tmp_path):
    with pytest.raises(ValueError, match="unknown key 'prize'.*Did you mean 'price'"):
        mtl.export.onnx(model, tmp_path / "model.onnx", ["prize"])
    with pytest.raises(ValueError, match="must end in '.onnx'"):
        mtl.export.onnx(model, tmp_path / "model")


def test_a_conversion_with_other_outputs_is_refused(model, inputs, tmp_path, monkeypatch):
    from tf_mtl.export import _forward

    monkeypatch.setattr(_forward, "difference", lambda actual, expected: 1.0)
    for write, name in ((mtl.export.onnx, "m.onnx"), (mtl.export.litert, "m.tflite")):
        with pytest.raises(ValueError, match="differ from those of the Keras model"):
            write(model, tmp_path / name, examples=inputs)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("mode", "size_ratio", "tolerance"), [("int8", 0.35, 0.02), ("int4", 0.25, 0.3)])
def test_quantised_copies(mode, size_ratio, tolerance, tmp_path, capsys):
    shared = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([256, 256]))
    tasks = [mtl.tasks.BinaryClassification("sold"), mtl.tasks.Regression("price")]
    model = mtl.build_model(keras.Input((64,), name="x"), shared, tasks)
    model.compile("adam")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 64)).astype("float32")
    y = {"sold": (x[:, 0] > 0).astype("float32"), "price": x[:, 1]}
    weight = {"sold": np.ones(64), "price": np.r_[np.ones(60), np.zeros(4)]}
    before = [v.numpy() for v in model.weights]
    quantized = mtl.export.quantized(model, mode, (x, y, weight), batch_size=16)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    sizes = [sum(v.numpy().nbytes for v in m.variables if "adam" not in v.path) for m in (quantized, model)]
    assert sizes[0] < size_ratio * sizes[1]
    for task, output in outputs_by_task(model, x).items():
        np.testing.assert_allclose(quantized(x)[task], output, atol=tolerance)
    results = [m.evaluate(x, y, sample_weight=weight, return_dict=True, verbose=0) for m in (model, quantized)]
    row = [f"{results[0]['price_rmse']:.4f}", f"{results[1]['price_rmse']:.4f}"]
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| price_rmse")]
    assert [cell.strip() for cell in line.split("|")[2:4]] == row
    path = mtl.export.saved_model(quantized, tmp_path)
    mtl.export.check(path, quantized, {"x": x[:5]})
    stored = sum(file.stat().st_size for file in (path / "variables").glob("*.data*"))
    assert stored < size_ratio * 4 * model.count_params() + 8192


def test_quantized_errors(model):
    with pytest.raises(ValueError, match='must be "int8" or "int4"'):
        mtl.export.quantized(model, "float8")
    with pytest.raises(ValueError, match="call model.compile first"):
        mtl.export.quantized(model, "int8", (np.zeros((1, 4)), {}))
    x = keras.Input((4,), name="x")
    without_dense = mtl.MultiTaskModel(x, {"a": keras.layers.LayerNormalization()(x)})
    with pytest.raises(ValueError, match="no layer that Keras quantises"):
        mtl.export.quantized(without_dense, "int8")
