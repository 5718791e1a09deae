"""Learning rates that differ from layer to layer."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_mtl._graph.partition import partition
from tf_mtl._names import nearest
from tf_mtl._optimizers.internals import methods_replaced, original_method, unwrapped


def layerwise(
    optimizer: str | keras.optimizers.Optimizer,
    model: keras.Model,
    factors: Mapping[str | keras.layers.Layer, float],
) -> "Layerwise":
    r"""Return an optimizer that gives variables a learning rate of their own, a factor times that of another.

    A variable $\theta$ with the factor $f$ is updated as by the optimizer given with the learning rate $f \eta$, and
    its decoupled weight decay is $f \eta \lambda \theta$. The factor is 1 for variables that are not named. Variables
    with factor 0 do not move at all: the optimizer neither sees their gradients nor has slots for them. Learning-rate
    schedules, callbacks that set `learning_rate`, and clipping work as usual; a global norm is that of the gradients of
    all variables that move.

    Args:
        optimizer: A Keras optimizer, or the name of one, which the result wraps.
        model: The model to be trained, a functional one with a dict of outputs.
        factors: `{layer: factor}`. A key is a layer, the name of a layer at any depth, or the name of a task, which
            means all of the task's own variables. Where several keys hold a variable, the one with the fewest variables
            counts.

    Raises:
        TypeError: if `factors` is not a dict, or `optimizer` already has factors.
        ValueError: for unknown names, layers without weights of the model, and negative factors.

    Example:

    >>> tasks = [mtl.tasks.Regression(name) for name in ("price", "rent")]
    >>> model = mtl.build_model(keras.Input((4,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8])), tasks)
    >>> model.compile(mtl.layerwise(keras.optimizers.AdamW(1e-3), model, {"mlp_encoder": 0.1, "rent": 5.0}))
    >>> sorted(set(model.optimizer.factors.values()))
    [0.1, 5.0]
    """
    if not isinstance(factors, Mapping):
        raise TypeError(f"`factors` must be a dict {{layer: factor}}, received {factors!r}.")
    chosen: dict[int, tuple[float, float]] = {}  # by variable: how many variables the layer has, and the factor
    in_model = {id(v): v for v in model.weights}
    for layer, factor in factors.items():
        name = getattr(layer, "name", layer)
        if isinstance(factor, bool) or not 0 <= factor < math.inf:
            raise ValueError(f"`factors['{name}']` must be a number, at least 0, received {factor!r}.")
        keys = {id(v) for v in _variables(model, layer)} & in_model.keys()
        if not keys:
            raise ValueError(f"`factors` must name layers with weights of the model; '{name}' has none in it.")
        for key in keys:
            chosen[key] = min(chosen.get(key, (math.inf, 1.0)), (len(keys), float(factor)), key=lambda pair: pair[0])
    by_path: dict[str, float] = {}
    for key, (_, factor) in chosen.items():
        path = in_model[key].path
        if by_path.setdefault(path, factor) != factor:
            raise ValueError(f"`factors` gives two variables of one path, '{path}', different factors. Rename a layer.")
    alike = {v.path for v in model.weights if id(v) not in chosen} & by_path.keys()
    if alike:
        raise ValueError(f"`factors` gives one of two variables of the path '{min(alike)}' a factor. Rename a layer.")
    with model.distribute_strategy.scope():
        return Layerwise(keras.optimizers.get(optimizer), by_path)


def layerwise_decay(encoder: keras.layers.Layer, decay: float) -> dict[keras.layers.Layer, float]:
    r"""Return factors for `layerwise` that fall with the depth below the heads.

    Stage $i$ of $L$, counted from 0 at the inputs, gets $d^{L - i}$: the last stage $d$, the first $d^L$. Layers above
    the encoder keep the full learning rate.

    Args:
        encoder: An encoder with `stages`, such as `tf_mtl.encoders.TransformerEncoder`, built.
        decay: The factor $d$ from one stage to the next below it, in (0, 1]; 0.65 to 0.95 is usual.

    Raises:
        TypeError: if the encoder has no stages.
        ValueError: for another decay.

    Example:

    >>> encoder = mtl.encoders.MLPEncoder([16, 8])
    >>> model = mtl.build_model(keras.Input((4,)), mtl.trunks.HardSharing(encoder), [mtl.tasks.Regression("price")])
    >>> optimizer = mtl.layerwise("adamw", model, {**mtl.layerwise_decay(encoder, 0.5), "price": 2.0})
    >>> [optimizer.factors[v.path] for v in model.trainable_variables if v.name == "kernel"]
    [0.25, 0.5, 2.0]

    Reference: Howard & Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018; Clark et al.,
    "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators", ICLR 2020.
    """
    if not isinstance(getattr(encoder, "stages", None), Sequence):
        raise TypeError(f"`encoder` must have `stages`, like those of tf_mtl.encoders, received {encoder!r}.")
    if not 0 < decay <= 1:
        raise ValueError(f"`decay` must be above 0 and at most 1, received {decay!r}.")
    stages = list(encoder.stages)
    return {
        layer: decay ** (len(stages) - index)
        for index, stage in enumerate(stages)
        for layer in keras.tree.flatten(stage)
        if layer.weights
    }


@keras.saving.register_keras_serializable("tf_mtl")
class Layerwise(keras.optimizers.Optimizer):
    """An optimizer that wraps another and multiplies its learning rate by a factor for each variable.

    `tf_mtl.layerwise` makes it from layers and their names.

    Args:
        inner_optimizer: The wrapped optimizer.
        factors: `{path of a variable: factor}`; 1 for all others.
        name: Name of the optimizer.

    Raises:
        TypeError: if `inner_optimizer` is, or wraps, an optimizer of this kind.

    Example:

    >>> optimizer = mtl.Layerwise(keras.optimizers.SGD(1.0), {"slow": 0.1})
    >>> slow, fast = keras.Variable([1.0], name="slow"), keras.Variable([1.0], name="fast")
    >>> optimizer.apply([np.ones(1), np.ones(1)], [slow, fast])
    >>> round(float(slow[0]), 4), round(float(fast[0]), 4)
    (0.9, 0.0)
    """

    built: bool

    def __init__(
        self, inner_optimizer: keras.optimizers.Optimizer, factors: Mapping[str, float], name: str = "layerwise"
    ):
        super().__init__(learning_rate=0.0, name=name)
        if any(isinstance(part, Layerwise) for part in unwrapped(inner_optimizer)):
            raise TypeError("`optimizer` already has factors: pass all of them to one `layerwise`.")
        self.inner_optimizer = inner_optimizer
        self.factors = dict(factors)
        self._by_key: dict[Any, float] = {}
        self._decay_factors: dict[int, float] = {}

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Make the inner optimizer's variables for all variables that move."""
        if self.built:
            return
        self._by_key = {self._var_key(v): self.factors.get(v.path, 1.0) for v in variables}
        self.inner_optimizer.build(self._moving(variables))
        self._trainable_variables_indices = {key: index for index, key in enumerate(self._by_key)}
        self._trainable_variables = list(variables)
        self.built = True

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """Update the variables that move."""
        variables = list(self._trainable_variables if trainable_variables is None else trainable_variables)
        self.build(variables)
        self._check_variables_are_known(variables)
        pairs = [(g, v) for g, v in zip(grads, variables, strict=True) if self._by_key[self._var_key(v)]]
        if not pairs:
            return
        gradients, moving = zip(*pairs, strict=True)
        with contextlib.ExitStack() as stack:
            for part in unwrapped(self.inner_optimizer):
                stack.enter_context(methods_replaced(part, **self._scaled(part)))
            self.inner_optimizer.apply(list(gradients), list(moving))

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """Let the inner optimizer replace variables by their averages, where it keeps some."""
        self.inner_optimizer.finalize_variable_values(self._moving(var_list))

    def scale_loss(self, loss: Any) -> Any:
        """Return the loss scaled as the inner optimizer expects it."""
        return self.inner_optimizer.scale_loss(loss)

    @property
    def variables(self) -> list[keras.Variable]:
        return self.inner_optimizer.variables

    @property
    def iterations(self) -> Any:
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.inner_optimizer.learning_rate = learning_rate

    def get_config(self) -> dict[str, Any]:
        inner = keras.saving.serialize_keras_object(self.inner_optimizer)
        return {"name": self.name, "inner_optimizer": inner, "factors": dict(self.factors)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Layerwise":
        """Return an optimizer from `get_config`'s dict."""
        inner = keras.saving.deserialize_keras_object(config["inner_optimizer"], custom_objects)
        return cls(**{**config, "inner_optimizer": inner})

    def _moving(self, variables):
        return [v for v in variables if self._by_key[self._var_key(v)]]

    def _scaled(self, part):
        """Return an optimizer's methods with the learning rate times each variable's factor, also in weight decay."""
        self._decay_factors[id(part)] = 1.0

        def update_step(gradient, variable, learning_rate):
            factor = self._by_key[self._var_key(variable)]
            original_method(part, "update_step")(gradient, variable, learning_rate * factor)

        def apply_weight_decay(variables):
            by_factor: dict[float, list[Any]] = {}
            for variable in variables:
                by_factor.setdefault(self._by_key[self._var_key(variable)], []).append(variable)
            for factor, alike in by_factor.items():  # each replica sets the factor right before and after the decay
                self._decay_factors[id(part)] = factor
                original_method(part, "_apply_weight_decay")(alike)
                self._decay_factors[id(part)] = 1.0

        def learning_rate():
            return original_method(part, "_get_current_learning_rate")() * self._decay_factors[id(part)]

        return {
            "update_step": update_step,
            "_apply_weight_decay": apply_weight_decay,
            "_get_current_learning_rate": learning_rate,
        }


def _variables(model, key):
    """The variables of a layer, of all layers of a name, or of a task's own."""
    if isinstance(key, keras.layers.Layer):
        return key.weights
    if key in model.output:
        return partition(model).own[key]
    layers = model._flatten_layers(include_self=False)
    named = [layer for layer in layers if layer.name == key]
    if not named:
        known = [layer.name for layer in model.layers]
        close = nearest(key, [*model.output, *(layer.name for layer in layers)])
        raise ValueError(
            f"`factors` must name layers or tasks of the model, received {key!r}; its layers are {known}, and those "
            f"within them, its tasks {list(model.output)}.{close}"
        )
    return [v for layer in named for v in layer.weights]
