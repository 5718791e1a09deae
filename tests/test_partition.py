import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl._graph.partition import partition


def paths(variables):
    return sorted(v.path for v in variables)


def dense(name, units=3):
    return keras.layers.Dense(units, use_bias=False, name=name)


def test_hard_sharing():
    parts = partition(small_models.model())
    assert parts.tasks == ("topic", "price")
    assert paths(parts.shared) == ["encoder/bias", "encoder/kernel"]
    assert paths(parts.own["topic"]) == ["topic/bias", "topic/kernel"]
    assert paths(parts.own["price"]) == ["price/bias", "price/kernel"]
    assert parts.tied == ()
    assert [x.shape for x in parts.frontier] == [(None, 8)]
    assert parts.crossing == ()


def test_sharing_is_printed_once(capsys):
    model = small_models.model()
    print(model.describe_sharing())
    assert capsys.readouterr().out.count("tasks") == 1
    lines: list[str] = []
    sharing = model.describe_sharing(lines.append)
    print(sharing, repr(sharing))
    assert "encoder" in lines[0]
    assert "encoder" not in capsys.readouterr().out
    unprinted = model.describe_sharing(print_fn=None)
    assert str(unprinted) == lines[0] == sharing.table
    assert unprinted == sharing
    assert repr(sharing) == "<Sharing: 92 parameters, 148 in single-task models, 37.8% saved>"


def test_a_layer_shared_by_two_of_three_tasks():
    x = keras.Input((4,))
    h = dense("encoder")(x)
    middle = dense("middle")(h)
    model = keras.Model(x, {"a": dense("a")(middle), "b": dense("b")(middle), "c": dense("c")(h)})
    parts = partition(model)
    assert paths(parts.shared) == ["encoder/kernel", "middle/kernel"]
    assert {task: paths(own) for task, own in parts.own.items()} == {t: [f"{t}/kernel"] for t in "abc"}
    assert len(parts.frontier) == 2


def test_a_layer_called_by_two_heads_on_different_features():
    x = keras.Input((4,))
    common = dense("common", 4)
    own = {task: dense(f"own_{task}", 4)(x) for task in "ab"}
    parts = partition(keras.Model(x, {task: common(h) for task, h in own.items()}))
    assert paths(parts.shared) == paths(parts.tied) == ["common/kernel"]
    assert paths(parts.own["a"]) == ["own_a/kernel"]
    assert parts.frontier == ()


@keras.saving.register_keras_serializable("tests")
class TiedOutput(keras.layers.Layer):
    """Projects features with the transposed table of an embedding."""

    def __init__(self, embedding, **kwargs):
        super().__init__(**kwargs)
        self.embedding = embedding

    def build(self, input_shape):
        pass

    def call(self, h):
        return tf.matmul(h, self.embedding.embeddings, transpose_b=True)


def tied_model(model_class=mtl.MultiTaskModel):
    keras.utils.set_random_seed(3)
    x = keras.Input((5,), dtype="int32", name="x")
    embedding = keras.layers.Embedding(7, 4, name="embedding")
    h = keras.layers.Dense(4, name="encoder")(keras.layers.Flatten()(embedding(x)))
    return model_class(x, {"word": TiedOutput(embedding, name="word")(h), "price": dense("price", 1)(h)})


def test_an_embedding_tied_between_trunk_and_head():
    parts = partition(tied_model())
    assert paths(parts.shared) == ["embedding/embeddings", "encoder/bias", "encoder/kernel"]
    assert paths(parts.tied) == ["embedding/embeddings"]
    assert parts.own["word"] == ()


def test_a_head_that_also_reads_the_inputs():
    x = keras.Input((4,), name="x")
    h = dense("encoder")(x)
    wide = keras.layers.Concatenate()([h, x])
    parts = partition(keras.Model(x, {"a": dense("a")(wide), "b": dense("b")(h)}))
    assert paths(parts.shared) == ["encoder/kernel"]
    assert paths(parts.own["a"]) == ["a/kernel"]
    assert len(parts.frontier) == 1
    assert [t.name for t in parts.crossing] == ["x"]


def test_a_task_that_reads_another_tasks_output():
    x = keras.Input((4,))
    first = dense("a")(dense("encoder")(x))
    parts = partition(keras.Model(x, {"a": first, "b": dense("b")(first)}))
    assert paths(parts.shared) == ["a/kernel", "encoder/kernel"]
    assert parts.own["a"] == ()
    assert paths(parts.own["b"]) == ["b/kernel"]


def test_a_single_task():
    x = keras.Input((4,))
    parts = partition(keras.Model(x, {"a": dense("a")(dense("encoder")(x))}))
    assert parts.shared == parts.frontier == ()
    assert paths(parts.own["a"]) == ["a/kernel", "encoder/kernel"]


def test_nested_models_and_frozen_layers():
    inner_x = keras.Input((4,))
    inner = keras.Model(inner_x, dense("inside")(inner_x), name="inner")
    x = keras.Input((4,))
    frozen = dense("frozen", 4)
    frozen.trainable = False
    h = inner(frozen(x))
    parts = partition(keras.Model(x, {"a": dense("a")(h), "b": dense("b")(h)}))
    assert paths(parts.shared) == ["frozen/kernel", "inside/kernel"]
    parts.check_shared("Method")


def nested_model(model_class=mtl.MultiTaskModel):
    """A nested model with trunk and both heads, after an outer layer; its third head is not used."""
    keras.utils.set_random_seed(3)
    inner_x = keras.Input((4,))
    h = dense("inside", 4)(inner_x)
    inner = keras.Model(inner_x, {task: dense(task)(h) for task in ("a", "b", "unused")}, name="inner")
    x = keras.Input((4,))
    outputs = inner(dense("outer", 4)(x))
    return model_class(x, {"a": outputs["a"], "b": keras.layers.Activation("tanh")(outputs["b"])})


def test_variables_of_heads_in_a_nested_model_are_own():
    model = nested_model()
    parts = partition(model)
    assert paths(parts.shared) == ["inside/kernel", "outer/kernel"]
    assert {task: paths(own) for task, own in parts.own.items()} == {"a": ["a/kernel"], "b": ["b/kernel"]}
    assert len(parts.nested) == 2
    x, y = np.ones((4, 4), "float32"), {"a": np.full((4, 3), np.nan), "b": np.ones((4, 3))}
    model.compile("adam", loss="mse", balancing=small_models.SumOfGradients())
    before = {v.path: v.numpy() for v in model.variables}
    model.fit(x, y, sample_weight={"a": np.zeros(4), "b": np.ones(4)}, verbose=0)
    changed = {v.path for v in model.variables if (v.numpy() != before[v.path]).any()}
    assert changed == {"inside/kernel", "outer/kernel", "b/kernel"}


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_nested_model_trains_like_keras():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 4)), {task: rng.normal(size=(8, 3)) for task in "ab"}
    final_weights = []
    for model_class, options in ((keras.Model, {}), (mtl.MultiTaskModel, {"balancing": small_models.SumOfGradients()})):
        model = nested_model(model_class)
        model.compile(keras.optimizers.SGD(0.1), loss={"a": "mse", "b": "mse"}, **options)
        model.fit(x, y, shuffle=False, verbose=0, epochs=2)
        final_weights.append({v.path: v.numpy() for v in model.variables})
    for path, value in final_weights[0].items():
        np.testing.assert_allclose(final_weights[1][path], value, rtol=1e-5, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("share_frozen", [False, True])
def test_gradient_methods_need_a_shared_trainable_variable(share_frozen):
    x = keras.Input((4,))
    frozen = dense("frozen", 4)
    frozen.trainable = False
    h = frozen(x) if share_frozen else x
    model = mtl.MultiTaskModel(x, {"a": dense("a")(h), "b": dense("b")(h)})
    model.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match=r"balancing='InverseNorm'.*nothing trainable is shared.*balancing='equal'"):
        model.compile("sgd", loss="mse", balancing=small_models.InverseNorm())


def graph_models():
    """Graphs for which balancing gradients of the frontier is difficult."""
    x = keras.Input((4,), name="x")
    h = dense("encoder", 4)(x)
    yield "reads the inputs", x, {"a": dense("a")(keras.layers.Concatenate()([h, x])), "b": dense("b")(h)}
    x = keras.Input((4,), name="x")
    first = dense("a", 4)(dense("encoder", 4)(x))
    yield "output feeds a task", x, {"a": first, "b": dense("b")(first)}
    x = keras.Input((4,), name="x")
    h, common = dense("encoder", 4)(x), dense("common", 4)
    yield "layer called twice", x, {t: common(keras.layers.Activation("tanh")(dense(f"own_{t}", 4)(h))) for t in "ab"}
    x = keras.Input((4,), name="x")
    h = dense("encoder", 4)(x)
    scaled = keras.ops.tanh(h) * 2.0
    yield "operations", x, {"a": dense("a")(scaled), "b": dense("b")(keras.ops.concatenate([scaled, h], -1))}


@pytest.mark.parametrize("case", list(graph_models()), ids=lambda case: case[0])
def test_training_by_features_sums_to_the_whole_gradient(case):
    """With weight 1 for every task, the two submodels together must give the gradient of the sum."""
    _, x, outputs = case
    rng = np.random.default_rng(0)
    data = rng.normal(size=(8, 4)).astype("float32")
    y = {task: rng.normal(size=(8, output.shape[-1])) for task, output in outputs.items()}
    model = mtl.MultiTaskModel(x, outputs)
    start = model.get_weights()
    final_weights = []
    for method, gradients in (("equal", "parameters"), (small_models.SumOfGradients(), "features")):
        model.set_weights(start)
        model.compile(keras.optimizers.SGD(0.1), loss="mse", balancing=method, gradients=gradients)
        model.fit(data, y, shuffle=False, verbose=0, epochs=2)
        final_weights.append(model.get_weights())
    assert small_models.largest_difference(*final_weights) < 1e-5
    assert small_models.largest_difference(start, final_weights[0]) > 1e-3


def test_training_by_features_with_a_tied_embedding():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 7, (16, 5))
    y = {"word": rng.integers(0, 7, 16), "price": rng.normal(size=16)}
    loss = {"word": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "price": "mse"}
    plain = tied_model(keras.Model)
    plain.compile(keras.optimizers.SGD(0.1), loss=loss)
    plain.fit(x, y, shuffle=False, verbose=0, epochs=2)
    for gradients in ("parameters", "features"):
        model = tied_model()
        model.compile(
            keras.optimizers.SGD(0.1), loss=loss, balancing=small_models.SumOfGradients(), gradients=gradients
        )
        model.fit(x, y, shuffle=False, verbose=0, epochs=2)
        assert small_models.largest_difference(plain.get_weights(), model.get_weights()) < 1e-5


def test_what_keras_reads_without_gradients_is_not_shared():
    x = keras.Input((4,))
    h = dense("encoder")(x)
    first = dense("a")(h)
    second = dense("b")(keras.layers.Concatenate()([h, keras.ops.stop_gradient(first)]))
    parts = partition(keras.Model(x, {"a": first, "b": second}))
    assert paths(parts.shared) == ["encoder/kernel"]
    assert paths(parts.own["a"]) == ["a/kernel"]
    assert paths(parts.own["b"]) == ["b/kernel"]
