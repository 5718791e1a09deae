"""Exports that take raw inputs: columns by name, encoded images, texts of any length."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

TASKS = (mtl.tasks.Classification("kind", 3, top_k=2), mtl.tasks.Regression("price"))


def export_and_load(model, folder, preprocessor, **kwargs):
    """Return the loaded export, which keeps the variables alive, and its signatures."""
    path = mtl.export.saved_model(model, folder, preprocessor=preprocessor, **kwargs)
    loaded = tf.saved_model.load(str(path))
    return loaded, loaded.signatures


def assert_answers(outputs, model, inputs):
    for task, answer in model.decode(model(inputs)).items():
        for key, value in answer.items():
            output = outputs[f"{task}_{key}"].numpy()
            if value.dtype.kind == "U":
                assert output.astype("U").tolist() == value.tolist()
            else:
                np.testing.assert_allclose(output, value, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def columns():
    rng = np.random.default_rng(0)
    return {"age": rng.uniform(18, 80, 40).tolist(), "job": rng.choice(["cook", "smith", "clerk"], 40).tolist()}


@pytest.fixture(scope="module")
def space(columns):
    kinds = {
        "age": "float_normalized",
        "job": keras.utils.FeatureSpace.string_categorical(output_mode="int"),
    }
    feature_space = keras.utils.FeatureSpace(kinds, output_mode="dict")
    feature_space.adapt(columns)
    return feature_space


def tabular(space):
    encoder = mtl.encoders.TabularEncoder.from_features(space, dim=4)
    return mtl.build_model(encoder.inputs(), mtl.trunks.HardSharing(encoder), TASKS)


def test_columns_by_name_of_a_feature_space(space, columns, tmp_path):
    model = tabular(space)
    examples = {name: values[:5] for name, values in columns.items()}
    _, signatures = export_and_load(model, tmp_path, space, warmup=examples)
    assert {name: spec.shape for name, spec in signatures["kind"].structured_input_signature[1].items()} == {
        "age": [None],
        "job": [None],
    }
    outputs = signatures["serving_default"](age=tf.constant(examples["age"]), job=tf.constant(examples["job"]))
    assert_answers(outputs, model, space({name: tf.constant(values) for name, values in examples.items()}))
    unknown = signatures["kind"](age=tf.constant([30.0]), job=tf.constant(["astronaut"]))
    assert np.isfinite(unknown["kind_score"]).all()


def test_columns_by_name_of_a_functional_model(space, columns, tmp_path):
    inputs = {"job": keras.Input((), dtype="string", name="job"), "years": keras.Input((), name="years")}
    encode = keras.Model(dict(space.get_inputs()), space.get_encoded_features())
    named = {"job": inputs["job"], "age": inputs["years"]}
    preprocessor = keras.Model(inputs, encode({k: keras.ops.expand_dims(v, -1) for k, v in named.items()}))
    model = tabular(space)
    examples = {"years": columns["age"][:3], "job": columns["job"][:3]}
    _, signatures = export_and_load(model, tmp_path, preprocessor, warmup=examples, check=False)
    outputs = signatures["serving_default"](years=tf.constant(examples["years"]), job=tf.constant(examples["job"]))
    assert_answers(outputs, model, space({"age": tf.constant(examples["years"]), "job": tf.constant(examples["job"])}))


def test_encoded_images(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image")])
    def decode(image):
        def one(encoded):
            pixels = tf.io.decode_image(encoded, 1, expand_animations=False)
            return tf.image.resize(tf.cast(pixels, tf.float32) / 255, (8, 8))

        return tf.map_fn(one, image, fn_output_signature=tf.TensorSpec((8, 8, 1), tf.float32))

    encoder = mtl.encoders.ConvEncoder([4])
    model = mtl.build_model(keras.Input((8, 8, 1), name="pixels"), mtl.trunks.HardSharing(encoder), TASKS)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1)).astype("uint8")
    files = [tf.io.encode_png(image).numpy() for image in pixels[:2]] + [tf.io.encode_jpeg(pixels[2]).numpy()]
    with pytest.raises(ValueError, match="pass real ones as `warmup`"):
        mtl.export.saved_model(model, tmp_path, preprocessor=decode)
    _, signatures = export_and_load(model, tmp_path, decode, warmup=files)
    assert_answers(signatures["serving_default"](image=tf.constant(files)), model, decode(tf.constant(files)))


def tokens(length):
    encoder = mtl.encoders.TransformerEncoder(9, 6, dim=8, layers=1, heads=2)
    return mtl.build_model(keras.Input((length,), dtype="int32", name="ids"), mtl.trunks.HardSharing(encoder), TASKS)


@pytest.mark.parametrize("kind", ["dense", "ragged"])
def test_texts_of_any_length_are_truncated_and_padded(kind, tmp_path):
    words = keras.layers.TextVectorization(vocabulary=["good", "bad"], ragged=kind == "ragged")
    model = tokens(6)
    _, signatures = export_and_load(model, tmp_path, words, warmup=["good", "bad good"], signatures={})
    for text in ("", "good bad", "good bad " * 40):
        ids = [words(tf.constant([text]))[0].numpy().tolist()]
        ids = np.array([(ids[0] + [0] * 6)[:6]], "int32")
        assert_answers(signatures["serving_default"](text=tf.constant([text])), model, ids)


def test_a_dict_without_the_models_input_names_is_refused(tmp_path):
    ids = keras.Input((6,), dtype="int32", name="ids")
    encoder = mtl.encoders.TransformerEncoder(9, 6, dim=8, layers=1, heads=2)
    model = mtl.build_model({"ids": ids}, mtl.trunks.HardSharing(lambda x: encoder(x["ids"])), TASKS)
    with pytest.raises(ValueError, match="'missing': \\['ids'\\], 'unknown': \\['tokens'\\]"):
        mtl.export.saved_model(model, tmp_path, preprocessor=lambda text: {"tokens": tf.zeros((3, 6), "int32")})


def test_a_preprocessor_of_another_rank_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`preprocessor` must give the input 'ids' the shape"):
        mtl.export.saved_model(tokens(6), tmp_path, preprocessor=lambda text: tf.strings.length(text))


class Lookup(keras.layers.Layer):
    """A custom layer with a TensorFlow lookup table and a weight."""

    def __init__(self):
        super().__init__()
        keys = tf.lookup.KeyValueTensorInitializer(["good", "bad"], tf.constant([2, 3], tf.int64))
        self.table = tf.lookup.StaticHashTable(keys, 1)
        self.shift = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False)

    def call(self, text):
        return self.table.lookup(tf.strings.split(text)).to_tensor() + tf.cast(self.shift, tf.int64)


def byte_pairs():
    letters = {"<s>": 0, "<pad>": 1, "</s>": 2, "<mask>": 3, "g": 4, "o": 5, "d": 6, "go": 7}
    tokenizer = keras_hub.models.RobertaTokenizer(vocabulary=letters, merges=["g o"])
    packer = keras_hub.models.RobertaTextClassifierPreprocessor(tokenizer, sequence_length=6)
    return packer


@pytest.mark.parametrize("layer", [Lookup, lambda: keras.layers.StringLookup(vocabulary=["good", "bad"])])
def test_layers_with_tables_need_no_call_before_the_export(layer, tmp_path):
    layer = layer()
    has_table = isinstance(layer, Lookup)
    preprocessor = layer if has_table else keras.Sequential([keras.Input((6,), dtype="string", name="text"), layer])
    examples = ["good bad", "bad"] if has_table else [["good"] * 6, ["bad"] * 6]
    mtl.export.saved_model(tokens(6), tmp_path, preprocessor=preprocessor, warmup=examples)


@pytest.mark.parametrize("check", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_byte_pair_tokens(check, tmp_path):
    packer = byte_pairs()
    encoder = mtl.encoders.TransformerEncoder(8, 6, dim=8, layers=1, heads=2)
    inputs = {name: keras.Input((6,), dtype="int32", name=name) for name in ("token_ids", "padding_mask")}
    model = mtl.build_model(inputs, mtl.trunks.HardSharing(lambda x: encoder(x["token_ids"])), TASKS)
    options = {} if check else {"signatures": {}}  # each further signature traces the tokenizer
    _, signatures = export_and_load(model, tmp_path, packer, warmup=["good", "go"], check=check, **options)
    assert_answers(
        signatures["serving_default"](text=tf.constant(["good god"])), model, packer(tf.constant(["good god"]))
    )


def test_tables_within_the_model(tmp_path):
    words = keras.layers.TextVectorization(vocabulary=["good", "bad"], output_sequence_length=6)
    text = keras.Input((), dtype="string", name="review")
    encoder = mtl.encoders.TransformerEncoder(9, 6, dim=8, layers=1, heads=2)
    model = mtl.build_model(text, mtl.trunks.HardSharing(lambda x: encoder(words(x))), TASKS)
    _, signatures = export_and_load(model, tmp_path, None, warmup=["good bad", ""])
    reviews = tf.constant(["bad", "good good"])
    assert_answers(signatures["kind"](review=reviews) | signatures["price"](review=reviews), model, reviews)


def test_a_function_with_a_table_is_refused(tmp_path):
    words = keras.layers.TextVectorization(vocabulary=["good", "bad"], output_sequence_length=6)
    with pytest.raises(ValueError, match="an attribute of a Keras layer"):
        mtl.export.saved_model(tokens(6), tmp_path, preprocessor=lambda text: words(text))
    assert not list(tmp_path.iterdir())


def test_lengths_that_depend_on_the_batch_are_refused(tmp_path):
    words = keras.layers.TextVectorization(vocabulary=["good", "bad"])
    encoder = mtl.encoders.TransformerEncoder(9, 16, dim=8, layers=1, heads=2)
    model = mtl.build_model(
        keras.Input((None,), dtype="int32", name="ids"), mtl.trunks.HardSharing(encoder), [mtl.tasks.Regression("a")]
    )
    with pytest.raises(ValueError, match="as long as the batch's longest row"):
        mtl.export.saved_model(model, tmp_path / "short", preprocessor=words)
    path = mtl.export.saved_model(model, tmp_path / "plain", check=False)
    mtl.export.check(path, model, {"ids": np.ones((2, 12), "int32")})


def test_raw_inputs_with_the_names_of_the_models_inputs(tmp_path):
    scale = keras.layers.Rescaling(0.5)
    x = keras.Input((3,), name="x")
    preprocessor = keras.Model(x, scale(x))
    model = mtl.build_model(
        keras.Input((3,), name="x"), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([4])), [mtl.tasks.Regression("a")]
    )
    path = mtl.export.saved_model(model, tmp_path, preprocessor=preprocessor, check=False)
    mtl.export.check(path, model, {"x": np.ones((2, 3))}, preprocessor)
    mtl.export.check(path, model)
    with pytest.raises(ValueError, match="'x' must have the shape"):
        mtl.export.check(path, model, {"x": np.ones((2, 4))}, preprocessor)


@pytest.mark.parametrize(
    ("preprocessor", "message"),
    [
        (
            lambda text: tf.zeros((tf.size(text), 2)),
            "must give the input 'x' the shape .*received the shape \\(None, 2\\)",
        ),
        (
            tf.function(lambda a, b: a, input_signature=[tf.TensorSpec([None], name=n) for n in "ab"]),
            "take one argument",
        ),
        (tf.function(lambda a: a, input_signature=[tf.TensorSpec([None, 3])]), "with named specs"),
        (keras.Sequential([keras.layers.Dense(3)]), "must be functional"),
        (lambda text: (tf.zeros((2, 3)),) * 2, "one tensor for each .*received 2"),
    ],
)
def test_preprocessors_that_do_not_fit(preprocessor, message, tmp_path):
    encoder = mtl.encoders.MLPEncoder([4])
    model = mtl.build_model(keras.Input((3,), name="x"), mtl.trunks.HardSharing(encoder), [mtl.tasks.Regression("a")])
    with pytest.raises(ValueError, match=message):
        mtl.export.saved_model(model, tmp_path, preprocessor=preprocessor)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (lambda: [keras.Input((3,)), keras.Input((3,), name="b")], 'keras.Input\\(..., name="x"\\)'),
        (lambda: [keras.Input((3,), name="my x"), keras.Input((3,), name="b")], "received 'my x'"),
        (lambda: [keras.Input(batch_shape=(8, 3), name="x")] * 2, "any number of rows"),
    ],
)
def test_inputs_that_requests_cannot_contain(x, message, tmp_path):
    encoder = mtl.encoders.MLPEncoder([4])
    trunk = mtl.trunks.HardSharing(lambda x: encoder(x[0] + x[1]))
    model = mtl.build_model(x(), trunk, [mtl.tasks.Regression("a")])
    for write in (mtl.export.saved_model, mtl.export.onnx, mtl.export.litert):
        with pytest.raises(ValueError, match=message):
            write(model, tmp_path / {"saved_model": "m", "onnx": "m.onnx", "litert": "m.tflite"}[write.__name__])


def test_inputs_without_a_name_have_the_same_name_in_every_version(tmp_path):
    encoder = mtl.encoders.MLPEncoder([4])
    for version in (1, 2):
        model = mtl.build_model(keras.Input((3,)), mtl.trunks.HardSharing(encoder), [mtl.tasks.Regression("a")])
        _, signatures = export_and_load(model, tmp_path / "one", None, check=False)
        assert list(signatures["a"].structured_input_signature[1]) == ["inputs"], version
    both = {"left": keras.Input((3,)), "right": keras.Input((3,), name="given")}
    trunk = mtl.trunks.HardSharing(lambda x: encoder(x["left"] - x["right"]))
    _, signatures = export_and_load(mtl.build_model(both, trunk, [mtl.tasks.Regression("a")]), tmp_path / "two", None)
    assert set(signatures["a"].structured_input_signature[1]) == {"left", "given"}


def test_custom_signatures(tmp_path):
    encoder = mtl.encoders.MLPEncoder([4])
    tasks = [mtl.tasks.Regression(name) for name in ("a", "b", "c")]
    model = mtl.build_model(keras.Input((3,), name="x"), mtl.trunks.HardSharing(encoder), tasks)
    _, signatures = export_and_load(model, tmp_path, None, signatures={"pair": ["a", "c"]}, check=False)
    assert set(signatures) == {"serving_default", "pair"}
    assert set(signatures["pair"].structured_outputs) == {"a_value", "a_raw", "c_value", "c_raw"}
    for invalid, message in [
        ({"pair": ["a", "d"]}, "unknown key 'd'"),
        ({"pair": "a"}, "must be a list of tasks"),
        ({"pair": []}, "must be a list of tasks"),
        ({"": ["a"]}, "must be an identifier"),
        ({"serving_default": ["a"]}, "names another signature"),
        ("all", 'must be "per_task" or a dict'),
    ]:
        with pytest.raises(ValueError, match=message):
            mtl.export.saved_model(model, tmp_path, signatures=invalid)


class CustomDecode(mtl.tasks.Regression):
    """A regression whose `decode` is a given function."""

    def __init__(self, name, decode_output):
        super().__init__(name)
        self.decode_output = decode_output

    def decode(self, output):
        return self.decode_output(output)


@pytest.mark.parametrize(
    ("decode_output", "message"),
    [
        (lambda x: {"only": x[:, 0]}, "at least two outputs, received \\['a_only'\\]"),
        (
            lambda x: {"value": x[:, 0], "labels": tf.constant(["low", "high"])},
            "first axis of decoded output 'a_labels' must be the batch",
        ),
        (lambda x: {"value": x[:, 0], "png_bytes": x[:, 0]}, "must not end in '_bytes'"),
    ],
)
def test_decoded_outputs_that_a_server_would_change(decode_output, message, tmp_path):
    encoder = mtl.encoders.MLPEncoder([4])
    model = mtl.build_model(
        keras.Input((3,), name="x"), mtl.trunks.HardSharing(encoder), [CustomDecode("a", decode_output)]
    )
    with pytest.raises(ValueError, match=message):
        mtl.export.saved_model(model, tmp_path)
    assert not list(tmp_path.iterdir())
