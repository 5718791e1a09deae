"""What Keras calls on a model to train, evaluate and save it."""

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, Concatenate, ParamSpec, TypeVar

import keras

from tf_mtl._engine.alignment import Alignment
from tf_mtl._engine.lowest_losses import refuses_under_xla
from tf_mtl._engine.non_finite import SKIPPED_STEPS
from tf_mtl._engine.objectives import Objectives
from tf_mtl._engine.saved_losses import serialized_losses
from tf_mtl._engine.step import Engine, results_over_replicas
from tf_mtl._engine.task_factors import TaskFactors
from tf_mtl._graph.functional import ClonedOutputs
from tf_mtl._optional_inputs import OptionalInputs
from tf_mtl._pipeline.feed import Feed
from tf_mtl._pipeline.step_functions import predict_function, step_function
from tf_mtl._pipeline.stream import Stream
from tf_mtl.distribute._agreement import check_agreement
from tf_mtl.distribute._workers import worker_index

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_LOCK = threading.Lock()


def in_one_thread(
    method: Callable[Concatenate[Any, _Arguments], _Result],
) -> Callable[Concatenate[Any, _Arguments], _Result]:
    """Decorate a method that changes what training and evaluation use: one thread at a time may be in such a method."""

    @functools.wraps(method)
    def wrapped(model: "KerasHooks", *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with model._in_this_thread(method.__name__):
            return method(model, *args, **kwargs)

    return wrapped


class KerasHooks(OptionalInputs):
    """A model that answers Keras' calls through its engine, which `compile` makes."""

    train_function: Any
    predict_function: Callable[[list], Any] | None
    _engine: Engine | None = None
    _evaluating = False
    _feed: Feed | None = None  # while `fit` runs
    _running: tuple[int, str] | None = None  # the thread that trains or evaluates, and the method that it called

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics that `fit` and `evaluate` report, and those of the layers."""
        own: list[keras.metrics.Metric] = []
        if self._engine is not None:
            own = [self._engine.losses, self._engine.metrics, self._engine.directions]
            of_training = [self._engine.balancing_log, self._engine.cancelled_steps, self._engine.alignment]
            of_answers = None if self._engine.answer_metrics is None else self._engine.answer_metrics.metrics
            own += [metric for metric in ([of_answers] if self._evaluating else of_training) if metric is not None]
        return own + [metric for layer in self._flatten_layers(include_self=False) for metric in layer.metrics]

    def train_step(self, data: Any) -> dict[str, Any]:
        """Run one training step on a global batch, in the replica context."""
        self._engine_for("fit").train_step(self, data, self._training_objectives)
        return results_over_replicas(self)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Run one evaluation step on a global batch, in the replica context."""
        self._engine_for("evaluate").test_step(self, data)
        return results_over_replicas(self)

    def make_train_function(self, force: bool = False) -> Any:
        """Make the optimizer's variables, then the training function."""
        self._build_optimizer()
        if force or self.train_function is None:
            super().make_train_function(force)
            engine = self._engine_for("fit")
            if refuses_under_xla(self, engine.balancing):
                self.train_function = engine.refused_losses.stop_after(self.train_function)
            if engine.cancelled_steps is not None:
                self.train_function = engine.cancelled_steps.reported_after(self, self.train_function)
        return self.train_function

    def make_predict_function(self, force: bool = False) -> None:
        """Make the function that `predict` calls."""
        if force or self.predict_function is None:
            self.predict_function = predict_function(self)

    def get_compile_config(self) -> dict[str, Any]:
        """Return what `compile` was called with, for saving."""
        if self._engine is None:
            return {}
        own = {"optimizer": self.optimizer, **self._engine.compile_arguments}
        serialized = keras.saving.serialize_keras_object(own)
        return {**super().get_compile_config(), **serialized, "loss": serialized_losses(own["loss"])}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile with `get_compile_config`'s dict, and make the optimizer's variables."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self._build_optimizer()

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras averages a batch over the replicas here, which fails for strings; the model is already built.
        pass

    def _run_through_graph(self, inputs, **options):
        outputs = super()._run_through_graph(inputs, **options)
        # Only `clone_model` passes both options. It makes the new model from inputs, outputs and name alone.
        cloning = {"operation_fn", "call_fn"} <= options.keys()
        return ClonedOutputs(outputs, self.tasks, self.trunk) if cloning else outputs

    def _make_function(self, step):
        measures_answers = step == self.test_step and self._engine_for("evaluate").answer_metrics is not None
        return step_function(self, step, jit_compile=self.jit_compile and not measures_answers)

    def _get_metrics_result_or_logs(self, logs):
        if not logs:
            raise ValueError("The data set is empty: it has no batch. Check its source, filters and `take`.")
        values = {name: float(value) for name, value in logs.items()}
        skipped = values.get(SKIPPED_STEPS, 0)
        if skipped and self._feed is not None and skipped >= self._feed.training.epoch_batches:
            values = {name: value if name == SKIPPED_STEPS else math.nan for name, value in values.items()}
        return values

    def _build_optimizer(self):
        if self.optimizer is not None and not self.optimizer.built:
            learned = self._engine_for("fit").balancing.trainable_variables
            with self.distribute_strategy.scope():
                self.optimizer.build([*self.trainable_variables, *learned])

    def _training_objectives(self, x: Any) -> Objectives:
        """Return what a training step minimises on rows with these inputs; a subclass may add to it."""
        return self._engine_for("fit").objectives

    def _refresh_trainable(self):
        """Train the variables that are trainable now; state is kept, and the training step is traced again."""
        self._engine = self._engine_for("fit").with_current_trainable(self)
        self.make_train_function(force=True)

    def _task_factors(self) -> TaskFactors:
        """Return the factors of the tasks' losses that callbacks set; the first call traces the training step again."""
        engine = self._engine_for("fit")
        if engine.objectives.task_factors is not None:
            return engine.objectives.task_factors
        with self.distribute_strategy.scope():
            factors = TaskFactors(engine.parts.tasks)
        self._engine = engine.with_task_factors(factors)
        self.make_train_function(force=True)
        return factors

    def _measure_alignment(self):
        """Measure how far the optimizer turns the updates, until `fit` ends; the training step is traced again."""
        engine = self._engine_for("fit")
        engine.parts.check_shared("UpdateAlignment")
        with self.distribute_strategy.scope():
            alignment = Alignment(engine.parts.shared)
        self._engine = engine.with_alignment(alignment)
        self.make_train_function(force=True)

    @contextlib.contextmanager
    def _callbacks_undone(self):
        """Undo at the end what callbacks do to the training step, but not what those of an outer `fit` have done."""
        before = self._engine_for("fit")
        factors = before.objectives.task_factors
        by_owner = {} if factors is None else factors.by_owner()
        try:
            yield
        finally:
            engine = self._engine_for("fit")
            if engine.objectives.task_factors is not None:
                engine.objectives.task_factors.restore(by_owner)
            if engine.alignment is not before.alignment:
                self._engine = engine.with_alignment(before.alignment)
                self.make_train_function(force=True)

    def _engine_for(self, caller: str) -> Engine:
        """Return the engine for a method, which `compile` must precede."""
        if self._engine is None:
            raise ValueError(f"You must call `compile()` before calling `{caller}()`.")
        return self._engine

    @contextlib.contextmanager
    def _in_this_thread(self, method: str) -> Iterator[None]:
        """Refuse to begin a method while another thread is in one that this would disturb."""
        with _LOCK:
            self._refuse_other_threads(method)
            before = self._running
            self._running = before or (threading.get_ident(), method)
        try:
            yield
        finally:
            self._running = before

    def _refuse_other_threads(self, method: str) -> None:
        """Raise if another thread trains or evaluates the model."""
        if self._running is not None and self._running[0] != threading.get_ident():
            running = self._running[1]
            raise RuntimeError(
                f"`{method}` was called while `{running}` runs in another thread on the same model, which `{method}` "
                f"would disturb. Call it when `{running}` has returned or from a callback, or use another model, such "
                "as one that keras.saving.load_model returns."
            )

    def _check_workers(self, method: str, **parts: Any) -> None:
        """Raise on all workers of a cluster if they call a method with another model, other data or other arguments."""
        if worker_index(self.distribute_strategy)[1] > 1:
            for name, part in parts.items():
                if isinstance(part, Stream):
                    parts[name] = {"batches": part.num_batches, "batch": part.dataset.element_spec}
            trained = self.trainable_variables
            check_agreement(self.distribute_strategy, method, outputs=self.output, trained_variables=trained, **parts)

    @contextlib.contextmanager
    def _evaluation(self):
        """Leave out of `metrics` what is measured in training only."""
        self._evaluating = True
        try:
            yield
        finally:
            self._evaluating = False
