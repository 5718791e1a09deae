"""What linear heads learn from a trained model's layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from tf_mtl._arguments import integer
from tf_mtl._graph.heads import heads
from tf_mtl._keys import MASK, WORD_STARTS, key_of
from tf_mtl._model import MultiTaskModel
from tf_mtl.analysis._inputs import batched
from tf_mtl.analysis._layer_outputs import find_layers, layer_outputs
from tf_mtl.report import table

_LEARNING_RATE = 0.01
_LINEAR = {"hidden_units": None, "dropout": 0.0, "layers": None}  # arguments of a linear head


@dataclass(frozen=True)
class Probes:
    """The results of linear heads on frozen layers; `print` shows a table.

    Attributes:
        results: The metrics on the test data, `{layer: {task: {metric: value}}}`.
        left_out: The reasons why tasks have no head on a layer, `{layer: {task: reason}}`.
    """

    results: dict[str, dict[str, dict[str, float]]]
    left_out: dict[str, dict[str, str]]

    def __str__(self) -> str:
        by_layer = {
            layer: {f"{task} {metric}": value for task, metrics in tasks.items() for metric, value in metrics.items()}
            for layer, tasks in self.results.items()
        }
        columns = list(dict.fromkeys(column for values in by_layer.values() for column in values))
        lines = [table(["layer", *columns], [[layer, *map(values.get, columns)] for layer, values in by_layer.items()])]
        lines += [f"{layer}, {task}: {why}" for layer, tasks in self.left_out.items() for task, why in tasks.items()]
        return "\n".join(lines)


def probe(
    model: MultiTaskModel, train: Any, test: Any, layers: Sequence[str] | None = None, epochs: int = 10
) -> Probes:
    """Return how well new, linear heads of the tasks do on the frozen outputs of a model's layers.

    The outputs are computed once, in inference mode, and held in memory. On those of each layer, a new head of each
    task is trained with Adam and a learning rate of 0.01: the task's own head without hidden layers and dropout, with
    its loss, metrics, and handling of missing labels. The model does not change. A layer on which a task's probe does
    as well as the model itself contains what the task needs; one on which another task's probe does well contains what
    this task could share.

    Args:
        model: A model built with task objects.
        train: Arrays (x, {task: y}) or (x, {task: y}, {task: weight}), or a data set of such batches that ends.
        test: The data that the metrics are computed on, in the same form.
        layers: Names of layers of the model, nested ones too, whose outputs are vectors, sequences or maps of floats,
            or dicts of features. By default the stages of encoders, and the layers whose outputs heads read.
        epochs: The number of epochs of the heads' training.

    Returns:
        The `Probes`. A task that has no head on a layer is in `left_out`, with the reason: it reads other tasks or
        needs own inputs, or the layer does not give the features that the head reads, such as a sequence. If the
        calls of a layer that is called several times give the same features, they are `<layer>/0`, `<layer>/1`, ...

    Raises:
        ValueError: for unknown layers, layers whose outputs are no features, a model without task objects, and data
            that end never or do not fit, as `fit`.

    Example:

    >>> x = np.random.default_rng(0).normal(size=(128, 4)).astype("float32")
    >>> data = x, {"sign": (x[:, 0] > 0).astype("int32"), "sum": x.sum(1)}
    >>> tasks = [mtl.tasks.Classification("sign", labels=2), mtl.tasks.Regression("sum")]
    >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([16, 8]))
    >>> model = mtl.build_model(keras.Input((4,)), trunk, tasks)
    >>> probes = mtl.analysis.probe(model, data, data, epochs=5)
    >>> list(probes.results)
    ['mlp_encoder_dense_0', 'mlp_encoder']
    >>> sorted(probes.results["mlp_encoder"]["sign"])
    ['accuracy', 'loss', 'macro_f1']

    Reference: Alain & Bengio, "Understanding intermediate layers using linear classifier probes", ICLR 2017 workshop.
    """
    epochs = integer("epochs", epochs, 1)
    outputs = layer_outputs(model, find_layers(model, layers))
    data = [_frozen(batched(part, name), outputs, model.tasks) for name, part in (("train", train), ("test", test))]
    probes = Probes({}, {})
    for layer, features in data[0].element_spec[0].items():
        if not features:
            raise ValueError(
                f"`layers` must have outputs that are features, received '{layer}', which has none. Choose layers that "
                "return vectors, sequences or maps of floats, or a dict of features."
            )
        probed, left_out = _linear_heads(model.tasks, features)
        if left_out:
            probes.left_out[layer] = left_out
        if probed:
            probes.results[layer] = _results(probed, features, [_of(part, layer, probed) for part in data], epochs)
    return probes


def _frozen(data, outputs, tasks):
    """Batches whose inputs are the features of each layer that a head may read, computed once."""
    read = {key for task in tasks for key in ("pooled", task.features, *_positions(task.features))}

    def computed(*batch):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        features = {
            layer: {key: value for key, value in of_layer.items() if key in read}
            for layer, of_layer in outputs(x).items()
        }
        return (features, y) if weight is None else (features, y, weight)

    return data.map(computed).cache()


def _positions(feature):
    return key_of(MASK, feature), key_of(WORD_STARTS, feature)


def _linear_heads(tasks, features):
    """The tasks with linear heads on a layer's features, and the reasons why others have none."""
    linear_heads, left_out = [], {}
    for task in tasks:
        if task.after or task.own_inputs():
            left_out[task.name] = "the head reads other tasks, or inputs of its own"
            continue
        config = task.get_config()
        linear = {key: value for key, value in _LINEAR.items() if key in config}
        try:
            head = type(task).from_config({**config, **linear})
            _model(features, [head])
        except ValueError as error:
            left_out[task.name] = str(error)
        else:
            linear_heads.append(head)
    return linear_heads, left_out


def _model(features, tasks):
    """A model whose heads read its inputs, features."""
    inputs = {key: keras.Input(spec.shape[1:], dtype=spec.dtype, name=key) for key, spec in features.items()}
    outputs = heads(tasks, {task.name: inputs for task in tasks}, inputs)
    return MultiTaskModel(inputs, outputs, tasks=tasks)


def _of(data, layer, tasks):
    """Batches of a layer's features, with the labels and weights of the tasks that have heads."""
    names = {task.name for task in tasks}

    def select(features, *by_task):
        return features[layer], *({task: x for task, x in part.items() if task in names} for part in by_task)

    return data.map(select)


def _results(tasks, features, data, epochs):
    """The loss and the metrics of each task, `{task: {metric: value}}`."""
    train, test = data
    model = _model(features, tasks)
    model.compile(keras.optimizers.Adam(_LEARNING_RATE))
    model.fit(train, epochs=epochs, verbose=0)
    values = model.evaluate(test, verbose=0, return_dict=True)
    by_task: dict[str, dict[str, float]] = {task: {} for task in model.task_names}
    for name, value in values.items():
        task = max((task for task in by_task if name.startswith(f"{task}_")), key=len, default=None)
        if task is not None:
            by_task[task][name.removeprefix(f"{task}_")] = value
    return by_task
