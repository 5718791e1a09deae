"""Learning rates that differ from layer to layer."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_mtl._graph.partition import partition
from tf_mtl._names import nearest
from tf_mtl._optimizers.internals import methods_replaced, unwrapped


def layerwise(
    optimizer: str | keras.optimizers.Optimizer,
    model: keras.Model,
    factors: Mapping[str | keras.layers.Layer, float],
) -> "Layerwise":
    r"""Return an optimizer that gives variables a learning rate of their own, a factor times that of another.

    A variable $\theta$ with the factor $f$ is updated as by the optimizer given with the learning rate $f \eta$, and
    its decoupled weight decay is $f \eta \lambda \theta$. The factor is 1 for variables that are not named. Variables
    of factor 0 do not move at all: the optimizer neither sees their gradients nor keeps momenta for them. Learning-rate
    schedules, callbacks that set `learning_rate`, and clipping go on as without; a global norm is that of the
    gradients of all variables that move.

    Args:
        optimizer: A Keras optimizer, or the name of one. It belongs to the result from then on.
        model: The model that it is to train, a functional one with a dict of outputs.
        factors: `{layer: factor}` by layer objects, names of layers at any depth, or names of tasks, which stand for
            all variables of the task's own. Where several hold a variable, the one with the fewest variables counts.

    Raises:
        TypeError: if `factors` is not a dict, or `optimizer` is such an optimizer already.
        ValueError: for unknown names, layers without weights of the model, and factors that are no numbers from 0 up.

    Example:

    >>> tasks = [mtl.tasks.Regression(name) for name in ("price", "rent")]
    >>> model = mtl.build_model(keras.Input((4,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8])), tasks)
    >>> model.compile(mtl.layerwise(keras.optimizers.AdamW(1e-3), model, {"mlp_encoder": 0.1, "rent": 5.0}))
    >>> sorted(set(model.optimizer.factors.values()))
    [0.1, 5.0]
    """
    if not isinstance(factors, Mapping):
        raise TypeError(f"`factors` must be a dict {{layer: factor}}, received {factors!r}.")
    chosen: dict[int, tuple[int, float]] = {}  # of a variable: how many its layer has, and the factor
    in_model = {id(v): v for v in model.weights}
    for layer, factor in factors.items():
        name = getattr(layer, "name", layer)
        if isinstance(factor, bool) or not 0 <= factor < math.inf:
            raise ValueError(f"`factors['{name}']` must be a number from 0 up, received {factor!r}.")
        found = {id(v) for v in _variables(model, layer)} & in_model.keys()
        if not found:
            raise ValueError(f"`factors` must name layers with weights of the model; '{name}' has none in it.")
        for key in found:
            chosen[key] = min(chosen.get(key, (math.inf, 1.0)), (len(found), float(factor)), key=lambda pair: pair[0])
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

    The stage $i$ of $L$, from 0 at the inputs, gets $d^{L - i}$: the last $d$, the first $d^L$; what stands above the
    encoder keeps the whole learning rate.

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
        raise TypeError(f"`encoder` must have `stages`, as those of tf_mtl.encoders have, received {encoder!r}.")
    if not 0 < decay <= 1:
        raise ValueError(f"`decay` must be above 0 and at most 1, received {decay!r}.")
    stages = list(encoder.stages)
    return {
        layer: decay ** (len(stages) - place)
        for place, stage in enumerate(stages)
        for layer in keras.tree.flatten(stage)
        if layer.weights
    }


@keras.saving.register_keras_serializable("tf_mtl")
class Layerwise(keras.optimizers.Optimizer):
    """An optimizer around another, whose learning rate it multiplies by a factor for each variable.

    `tf_mtl.layerwise` makes it from the names of layers.

    Args:
        inner_optimizer: The optimizer, which from then on works with the factors.
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

    def __init__(
        self, inner_optimizer: keras.optimizers.Optimizer, factors: Mapping[str, float], name: str = "layerwise"
    ):
        super().__init__(learning_rate=0.0, name=name)
        if any(isinstance(part, Layerwise) for part in unwrapped(inner_optimizer)):
            raise TypeError("`optimizer` has factors already: give one `layerwise` all of them.")
        self.inner_optimizer = inner_optimizer
        self.factors = dict(factors)
        self._by_key: dict[Any, float] = {}

    def build(self, variables):
        """Make the inner optimizer's variables for all that moves."""
        if self.built:
            return
        self._by_key = {self._var_key(v): self.factors.get(v.path, 1.0) for v in variables}
        self.inner_optimizer.build(self._moving(variables))
        self._trainable_variables_indices = {key: place for place, key in enumerate(self._by_key)}
        self._trainable_variables = list(variables)
        self.built = True

    def apply(self, grads, trainable_variables=None):
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

    def finalize_variable_values(self, var_list):
        """Let the inner optimizer put averages in the place of variables, where it keeps some."""
        self.inner_optimizer.finalize_variable_values(self._moving(var_list))

    def scale_loss(self, loss):
        """Return the loss as the inner optimizer wants it."""
        return self.inner_optimizer.scale_loss(loss)

    @property
    def variables(self):
        return self.inner_optimizer.variables

    @property
    def iterations(self):
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self):
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        self.inner_optimizer.learning_rate = learning_rate

    def get_config(self):
        inner = keras.saving.serialize_keras_object(self.inner_optimizer)
        return {"name": self.name, "inner_optimizer": inner, "factors": dict(self.factors)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Return an optimizer from `get_config`'s dict."""
        inner = keras.saving.deserialize_keras_object(config["inner_optimizer"], custom_objects)
        return cls(**{**config, "inner_optimizer": inner})

    def _moving(self, variables):
        return [v for v in variables if self._by_key[self._var_key(v)]]

    def _scaled(self, part):
        """Return an optimizer's methods with the learning rate times each variable's factor, also in weight decay."""
        kind = type(part)

        def update_step(gradient, variable, learning_rate):
            kind.update_step(part, gradient, variable, learning_rate * self._by_key[self._var_key(variable)])

        def apply_weight_decay(variables):
            by_factor: dict[float, list[Any]] = {}
            for variable in variables:
                by_factor.setdefault(self._by_key[self._var_key(variable)], []).append(variable)
            for factor, alike in by_factor.items():

                def rate(factor=factor):
                    return kind._get_current_learning_rate(part) * factor

                with methods_replaced(part, _get_current_learning_rate=rate):
                    kind._apply_weight_decay(part, alike)

        return {"update_step": update_step, "_apply_weight_decay": apply_weight_decay}


def _variables(model, key):
    """The variables of a layer, of all layers of a name, or of a task's own."""
    if isinstance(key, keras.layers.Layer):
        return key.weights
    if key in model.output:
        return partition(model).own[key]
    layers = model._flatten_layers(include_self=False)
    found = [layer for layer in layers if layer.name == key]
    if not found:
        known = [layer.name for layer in model.layers]
        close = nearest(key, [*model.output, *(layer.name for layer in layers)])
        raise ValueError(
            f"`factors` must name layers or tasks of the model, received {key!r}; its layers are {known}, and those "
            f"within them, its tasks {list(model.output)}.{close}"
        )
    return [v for layer in found for v in layer.weights]
