"""Distillation, compared with its formula in NumPy."""

import keras
import numpy as np
import pytest

import tf_mtl as mtl
from tf_mtl.distribute import strategy

TASKS = {
    "kind": lambda: mtl.tasks.Classification("kind", 3),
    "sold": lambda: mtl.tasks.BinaryClassification("sold"),
    "tags": lambda: mtl.tasks.MultiLabel("tags", ["a", "b"]),
    "price": lambda: mtl.tasks.Regression("price"),
}


def build(*names):
    x = keras.Input((5,), name="x")
    return mtl.build_model(x, mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([6])), [TASKS[name]() for name in names])


def data(rows=8):
    rng = np.random.default_rng(0)
    y = {
        "kind": rng.integers(0, 3, rows),
        "sold": rng.integers(0, 2, rows).astype("float32"),
        "tags": rng.integers(0, 2, (rows, 2)).astype("float32"),
        "price": rng.normal(size=rows).astype("float32"),
    }
    weight = {name: np.ones(rows, "float32") for name in y}
    for index, name in enumerate(y):
        weight[name][index : index + 2] = 0
    return rng.normal(size=(rows, 5)).astype("float32"), y, weight


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def binary(target, logit):
    return -(target * np.log(sigmoid(logit)) + (1 - target) * np.log(1 - sigmoid(logit)))


HARD = {
    "kind": lambda y, s: -log_softmax(s)[np.arange(len(y)), y],
    "sold": lambda y, s: binary(y, s[:, 0]),
    "tags": binary,
    "price": lambda y, s: (y - s[:, 0]) ** 2,
}
SOFT = {
    "kind": lambda t, s: -(np.exp(log_softmax(t)) * log_softmax(s)).sum(-1),
    "sold": lambda t, s: binary(sigmoid(t[:, 0]), s[:, 0]),
    "tags": lambda t, s: binary(sigmoid(t), s),
    "price": lambda t, s: (t[:, 0] - s[:, 0]) ** 2,
}


def expected_loss(name, hard_weight, y, teacher, student, weight):
    values = hard_weight * HARD[name](y, student) + (1 - hard_weight) * SOFT[name](teacher, student)
    weight = weight.reshape(-1, *[1] * (values.ndim - 1)) * np.ones_like(values)
    return (weight * values).sum() / weight.sum()


def test_losses_follow_the_formula_and_end_on_the_labels():
    student = build(*TASKS)
    teachers = {name: build(name) for name in ("kind", "sold", "tags", "price")}
    trainer = mtl.distill(student, teachers, annealing_steps=4)
    trainer.compile(keras.optimizers.SGD(0.05))
    x, y, weight = data()
    for step in range(6):
        outputs = {name: output.numpy() for name, output in student(x).items()}
        teacher_outputs = {name: teacher(x)[name].numpy() for name, teacher in teachers.items()}
        logs = trainer.train_on_batch(x, y, sample_weight=weight, return_dict=True)
        for name in TASKS:
            loss = expected_loss(name, min(1, step / 4), y[name], teacher_outputs[name], outputs[name], weight[name])
            np.testing.assert_allclose(logs[f"{name}_loss"], loss, rtol=1e-4, err_msg=f"{name} {step}")
    for name, teacher in teachers.items():
        np.testing.assert_array_equal(teacher(x)[name], teacher_outputs[name])


def test_labels_of_weight_0_may_be_anything():
    x, y, weight = data()
    changed_labels = {name: np.where(weight[name].reshape(-1, *[1] * (v.ndim - 1)) > 0, v, -7) for name, v in y.items()}
    weights = []
    for labels in (y, changed_labels):
        keras.utils.set_random_seed(1)
        student, teacher = build(*TASKS), build("price")
        trainer = mtl.distill(student, {"price": single_output(teacher)}, annealing_steps=3)
        trainer.compile("adam", balancing="upgrad")
        trainer.fit(x, labels, sample_weight=weight, epochs=4, verbose=0)
        weights.append(student.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def single_output(model):
    """The same model with a single output instead of a dict."""
    return keras.Model(model.input, model.output["price"])


def test_evaluation_uses_labels_only():
    student = build("price", "sold")
    trainer = mtl.distill(student, {"price": build("price")}, annealing_steps=100)
    for model in (trainer, student):
        model.compile("adam")
    x, y, weight = data()
    y, weight = ({name: part[name] for name in ("price", "sold")} for part in (y, weight))
    results = [m.evaluate(x, y, sample_weight=weight, return_dict=True, verbose=0) for m in (trainer, student)]
    assert results[0] == pytest.approx(results[1])


def test_a_good_teacher_helps_when_labels_are_noisy():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(512, 5)).astype("float32")
    truth = x[:, 0] - 2 * x[:, 1]
    teacher = build("price")
    teacher.compile(keras.optimizers.Adam(0.02))
    teacher.fit(x, {"price": truth}, epochs=30, verbose=0)
    noisy = {"price": truth + rng.normal(size=512).astype("float32") * 20, "sold": (x[:, 2] > 0).astype("float32")}
    errors = []
    for steps in (1, 100_000):
        keras.utils.set_random_seed(0)
        student = build("price", "sold")
        trainer = mtl.distill(student, {"price": teacher}, annealing_steps=steps)
        trainer.compile(keras.optimizers.Adam(0.02))
        trainer.fit(x[:64], {k: v[:64] for k, v in noisy.items()}, epochs=60, verbose=0)
        errors.append(np.square(student.predict(x, verbose=0)["price"][:, 0] - truth).mean())
    assert errors[1] < 0.1 * errors[0]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"accumulate": 4}, marks=pytest.mark.slow),
        {"steps_per_execution": 2},
        {"balancing": "upgrad", "gradients": "features"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_other_training_options(options):
    x, y, weight = data()
    weights = []
    for compile_options in (options, {k: v for k, v in options.items() if k == "balancing"}):
        keras.utils.set_random_seed(1)
        student, teachers = build(*TASKS), {"kind": build("kind"), "tags": build("tags")}
        trainer = mtl.distill(student, teachers, annealing_steps=5)
        trainer.compile(keras.optimizers.SGD(0.01), **compile_options)
        trainer.fit(x, y, 4, epochs=3, shuffle=False, sample_weight=weight, verbose=0)
        weights.append(student.get_weights())
    tolerance = 2e-2 if "gradients" in options else 1e-5  # balancing features gives another direction
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance)


def test_a_loss_with_one_value_per_row():
    x, y, _ = data(2)  # as many rows as labels: a wrong broadcast raises no error
    student, teacher = build("tags"), build("tags")
    trainer = mtl.distill(student, {"tags": teacher}, annealing_steps=2)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    trainer.compile(keras.optimizers.SGD(0.0), loss={"tags": loss})
    s, t = student(x)["tags"].numpy(), teacher(x)["tags"].numpy()
    for hard_weight in (0, 0.5, 1):
        logs = trainer.train_on_batch(x, {"tags": y["tags"]}, return_dict=True)
        expected = (hard_weight * binary(y["tags"], s) + (1 - hard_weight) * binary(sigmoid(t), s)).mean()
        assert logs["tags_loss"] == pytest.approx(expected, rel=1e-4)


def test_two_replicas_equal_one():
    x, y, weight = data()
    weights = []
    for distribution in (strategy("one_device"), strategy("mirrored")):
        keras.utils.set_random_seed(1)
        with distribution.scope():
            student, teacher = build(*TASKS), build("kind")
        trainer = mtl.distill(student, {"kind": teacher}, annealing_steps=4)
        with distribution.scope():
            trainer.compile(keras.optimizers.SGD(0.05))
        trainer.fit(x, y, 4, epochs=3, shuffle=False, sample_weight=weight, verbose=0)
        weights.append(student.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_errors(tmp_path):
    student = build("price", "sold")
    with pytest.raises(ValueError, match="unknown key 'prices'"):
        mtl.distill(student, {"prices": build("price")}, 10)
    with pytest.raises(ValueError, match="at least one model"):
        mtl.distill(student, {}, 10)
    with pytest.raises(ValueError, match="must be an integer, at least 1"):
        mtl.distill(student, {"price": build("price")}, 0)
    with pytest.raises(ValueError, match="must return 'price', but returns \\['sold'\\]"):
        mtl.distill(student, {"price": build("sold")}, 10)
    wide = keras.Model((x := keras.Input((5,))), keras.layers.Dense(2)(x))
    with pytest.raises(ValueError, match="must return outputs of shape"):
        mtl.distill(student, {"price": wide}, 10)
    narrow = keras.Model((x := keras.Input((4,))), keras.layers.Dense(1)(x))
    with pytest.raises(ValueError, match="does not accept the student's inputs"):
        mtl.distill(student, {"price": narrow}, 10)
    plain = mtl.MultiTaskModel((x := keras.Input((5,))), {"price": keras.layers.Dense(1)(x)})
    with pytest.raises(ValueError, match="needs task objects"):
        mtl.distill(plain, {"price": build("price")}, 10)
    with pytest.raises(NotImplementedError, match="save the student"):
        mtl.distill(student, {"price": build("price")}, 10).save(tmp_path / "trainer.keras")
