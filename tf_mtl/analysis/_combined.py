"""One model of the tasks of several."""

from collections.abc import Sequence

import keras

from tf_mtl._model import MultiTaskModel


def combine(models: Sequence[MultiTaskModel], name: str | None = None) -> MultiTaskModel:
    """Return one model with the tasks of several, such as those of groups that were trained apart, to serve them all.

    The models become parts of the new one, and keep their weights. The new model answers as each of them does, and its
    export has all of their signatures. It is not compiled.

    Args:
        models: Models with the same inputs, different tasks, and different names of their own (`build_model(name=)`).
        name: Name of the new model.

    Raises:
        ValueError: for models with other inputs than the first, or two with the same task or name.

    Example:

    >>> def build(tasks):
    ...     trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    ...     heads = [mtl.tasks.Regression(task) for task in tasks]
    ...     return mtl.build_model(keras.Input((4,), name="x"), trunk, heads, name="_".join(tasks))
    >>> model = mtl.analysis.combine([build(group) for group in (("a", "b"), ("c",))])
    >>> model.task_names
    ('a', 'b', 'c')
    """
    first, *others = models
    for other in others:
        if _shapes(other) != _shapes(first):
            raise ValueError(f"`models` must have the same inputs, received {_shapes(first)} and {_shapes(other)}.")
    for kind, names in (
        ("tasks", [task for model in models for task in model.task_names]),
        ("names", [model.name for model in models]),
    ):
        repeated = next((each for each in names if names.count(each) > 1), None)
        if repeated is not None:
            raise ValueError(f"`models` must have different {kind}, received '{repeated}' twice.")
    inputs = keras.tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name, sparse=x.sparse), first.input
    )
    outputs = {task: output for model in models for task, output in model(inputs).items()}
    tasks = [task for model in models for task in model.tasks]
    return MultiTaskModel(inputs, outputs, name, tasks=tasks or None)


def _shapes(model):
    """The shapes and types of a model's inputs, in their structure."""
    return keras.tree.map_structure(lambda x: (x.shape, x.dtype), model.input)
