"""The three kinds of balancing methods: losses -> scalar, Gramian -> weights, Jacobian -> direction."""

import inspect
import weakref
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf


@dataclass(frozen=True)
class _Binding:
    """What a method's state was created for."""

    owner: weakref.ref[keras.Model]
    tasks: tuple[str, ...]
    input_shape: tuple[int | None, ...]


class Balancing(keras.layers.Layer, ABC):
    """Base of all balancing methods: a layer with float32 state that is called in the graph.

    A method creates its state in `build` with `add_state`, so the state is saved with the model and is the same on
    every replica. Every replica calls the method with the same global values. A task without labels in a batch has the
    loss 0 and a gradient of zeros; methods leave such a task out.

    Args:
        name: Name of the layer.

    Attributes:
        tasks: The tasks' names, in the order of losses and rows; empty outside a model.
        kind: What the method balances: "losses", "gramian" or "jacobian".
        weights_are_constant: Whether the weights never change, so that there is nothing to log.
        needs_half_batches: Whether a weighting needs the Gramian J1 J2^T of the gradients on two halves of the batch
            instead of J J^T.
        has_jacobian_state: Whether the method has state of the Jacobian's width.
        observes_update: Whether `observe` needs the losses of the same batch after each update, which costs a
            forward pass.
        needs_validation: Whether the method learns from the batches of its attribute `validation`.
        is_robust: Whether a weighting tolerates arbitrary gradients: one of weight 0 is left out even if it is infinite
            or NaN.
        lowest_loss: The number that no loss of a labelled task may be below, where the method takes logarithms or
            ratios of losses; None for methods that take any loss. Training stops before a step that breaks the rule.
    """

    kind: str
    built: bool
    weights_are_constant = False
    needs_half_batches = False
    has_jacobian_state = False
    observes_update = False
    needs_validation = False
    is_robust = False
    lowest_loss: float | None = None

    def __init__(self, name: str | None = None):
        super().__init__(name=name or type(self).__name__.lower(), dtype="float32", autocast=False)
        self.tasks: tuple[str, ...] = ()
        self._binding: _Binding | None = None
        self._size: int | None = None  # the number of tasks

    def __call__(self, values: Any, losses: Any = None) -> tf.Tensor:
        """Call the method with tensors, arrays or lists of any numeric dtype."""
        arguments = {} if losses is None else {"losses": _float_tensor(losses)}
        values = _float_tensor(values)
        self._check_size(values.shape)
        given = values if self.kind == "losses" else arguments.get("losses")
        if given is not None and tf.executing_eagerly():
            self.check_losses(given)
        result = super().__call__(values, **arguments)
        result = None if result is None else tf.convert_to_tensor(result)
        self._check_result(result, values.shape)
        return result

    def bind(self, tasks: tuple[str, ...], input_shape: tuple[int | None, ...], owner: keras.Model) -> None:
        """Create the state for a model's tasks; `compile` calls this.

        Args:
            tasks: The tasks' names, in the order of losses and rows.
            input_shape: Shape of the first argument of `call`: losses, Gramian or Jacobian.
            owner: The model that is compiled.

        Raises:
            TypeError: if `call` of a weighting or an aggregator does not take `losses`.
            ValueError: if the method already balances other tasks, or was called outside a model; if it has variables,
                also for another model or gradients of another size.
        """
        self._check_call()
        binding = _Binding(weakref.ref(owner), tuple(tasks), tuple(input_shape))
        if self._binding is None and self.built:
            raise ValueError(
                f"This {type(self).__name__} object was already called outside a model. Create a new one for the model."
            )
        if self._binding is not None:
            has_other_tasks = self._binding.tasks != binding.tasks
            if has_other_tasks or (self.variables and self._binding != binding):
                raise ValueError(
                    f"This {type(self).__name__} object already balances the tasks {list(self.tasks)} of a compiled "
                    f"model. Its state does not fit another model, other tasks or other shared variables; the new "
                    f"tasks are {list(tasks)}. Create a new object for each model."
                )
        self._binding = binding
        self._size = len(binding.tasks)
        self.set_tasks(binding.tasks)
        if not self.built:
            self.build(input_shape)
            self.built = True

    def set_tasks(self, tasks: tuple[str, ...]) -> None:
        """Set the tasks' names; called before `build`."""
        self.tasks = tasks

    def transform(self, losses: tf.Tensor) -> tf.Tensor:
        """Return what replaces the losses, [T], before a weighting's or an aggregator's gradients are computed.

        Each entry is a function of its own loss; by default the loss itself. A task's own variables get the gradient of
        its entry, and the method's trainable variables get the gradient of the sum.
        """
        return losses

    @property
    def loss_rule(self) -> str:
        """The rule that losses are at least `lowest_loss`, for messages."""
        return (
            f"{type(self).__name__} needs losses of at least {self.lowest_loss:g}, since it takes logarithms or ratios "
            "of them. Choose losses that cannot be lower, such as 1 + the cosine similarity, or another `balancing`, "
            "such as 'equal'."
        )

    def is_too_low(self, losses: tf.Tensor) -> tf.Tensor:
        """Return which losses are below `lowest_loss`, [T]; those of tasks without labels are not."""
        lowest = losses.dtype.min if self.lowest_loss is None else self.lowest_loss
        return (losses < lowest) & (losses != 0)

    def check_losses(self, losses: tf.Tensor) -> None:
        """Check losses [T] that are known, outside a graph.

        Raises:
            ValueError: if one is below `lowest_loss`.
        """
        wrong = [index for index, is_low in enumerate(self.is_too_low(losses).numpy()) if is_low]
        if wrong:
            values = {self.tasks[index] if self.tasks else index: float(losses[index]) for index in wrong}
            raise ValueError(f"{self.loss_rule} Received: {values}.")

    def observe(self, losses: tf.Tensor) -> None:
        """Receive the losses [T] of the last batch after the update; called if `observes_update` is True."""

    def end_epoch(self) -> None:
        """Called at the end of each epoch of `fit`."""

    @property
    def derivatives_are_constant(self) -> bool:
        """Whether the derivatives of the objective with respect to the losses do not depend on the losses."""
        losses = tf.zeros([len(self.tasks)])
        return self.transform(losses) is losses

    def add_state(
        self,
        name: str,
        shape: tuple[int, ...],
        initializer: str | keras.initializers.Initializer = "zeros",
        dtype: str = "float32",
    ) -> keras.Variable:
        """Create a variable that the method itself updates with `assign`, not the optimizer."""
        return self.add_weight(
            shape=shape,
            initializer=initializer,
            dtype=dtype,
            trainable=False,
            aggregation="only_first_replica",
            name=name,
        )

    def _check_call(self):
        """Raise if `call` does not take the arguments that training passes."""
        parameters = inspect.signature(self.call).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        if self.kind != "losses" and "losses" not in parameters and not takes_any:
            raise TypeError(
                f"`call` of {type(self).__name__} must take `losses`, the losses [T], even if it does not use them; "
                f"received the arguments {list(parameters)}. Add `losses=None`."
            )

    def _check_size(self, shape):
        """Raise for another number of tasks than at the first call."""
        self._size = shape[0] if self._size is None else self._size
        if shape[0] not in (self._size, None):
            raise ValueError(
                f"This {type(self).__name__} object balances {self._size} tasks, received values of shape {shape} for "
                f"{shape[0]}. Create a new object for another number of tasks."
            )

    def _check_result(self, result, shape):
        """Raise for a result that cannot be an objective, weights or a direction."""
        expected = {"losses": [], "gramian": shape[:1], "jacobian": shape[1:]}[self.kind]
        if result is None or not result.shape.is_compatible_with(expected):
            results = {"losses": "a scalar, the objective", "gramian": "weights [T]", "jacobian": "a direction [P]"}
            raise ValueError(
                f"`call` of {type(self).__name__} must return {results[self.kind]}: a tensor of shape "
                f"{tf.TensorShape(expected)} for values of shape {shape}. Received "
                f"{None if result is None else f'the shape {result.shape}'}. Fix `call`."
            )

    def get_build_config(self) -> None:
        # Loading a file must not build the method: `compile` does so, when the tasks' names are known.
        return None

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


class Scalarizer(Balancing):
    """Turns the tasks' losses into one scalar, the objective."""

    kind = "losses"

    @property
    def derivatives_are_constant(self) -> bool:
        return self.weights_are_constant

    @abstractmethod
    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the objective, a scalar, from the losses [T]."""


class Weighting(Balancing):
    """Turns the Gramian of the tasks' gradients into weights; the update is the weighted sum of the gradients."""

    kind = "gramian"

    @abstractmethod
    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian G = J J^T, [T, T], and the losses [T]."""


class Aggregator(Balancing):
    """Turns the Jacobian of the tasks' losses into the direction of the update."""

    kind = "jacobian"

    @abstractmethod
    def call(self, jacobian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return the direction [P] from the Jacobian J, [T, P], and the losses [T]."""


def _float_tensor(values: Any) -> tf.Tensor:
    tensor = tf.convert_to_tensor(values)
    return tensor if tensor.dtype.is_floating else tf.cast(tensor, tf.float32)
