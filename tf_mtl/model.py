"""A functional Keras model that is trained on several tasks."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl import balancing as methods
from tf_mtl import gradients as ways
from tf_mtl import lookahead, unlabelled
from tf_mtl._names import check_names
from tf_mtl.batch_losses import BatchLosses
from tf_mtl.checks import checked, readable_errors
from tf_mtl.data.mixture import Mixture
from tf_mtl.distribute import check_options, lost_worker_errors
from tf_mtl.division import divide
from tf_mtl.fitting import Fitting, check_ends, listed, one_epoch, paired, triple, with_epoch_end
from tf_mtl.metrics import Balance, TaskLosses
from tf_mtl.objectives import Objectives
from tf_mtl.partition import Partition, partition
from tf_mtl.replicas import replica_sum
from tf_mtl.sharing import Sharing, sharing
from tf_mtl.stream import split, stream
from tf_mtl.tasks import Task
from tf_mtl.trunks import Trunk
from tf_mtl.workarounds.global_gradients import take_global_gradients
from tf_mtl.workarounds.step_functions import predict_function, step_function


@dataclass(frozen=True)
class _Compiled:
    """What `compile` settled; a plain object, so that Keras does not take its parts for layers of the model."""

    arguments: dict[str, Any]
    objectives: Objectives
    balancing: methods.Balancing
    update: Callable[..., ways.Update]
    accumulate: int
    balance: Balance | None
    parts: Partition


@keras.saving.register_keras_serializable("tf_mtl")
class MultiTaskModel(keras.Model):
    r"""A functional Keras model with a dict of outputs, one per task, whose tasks are balanced in training.

    It differs from `keras.Model` in this:

    - each task's loss is sum(w * l) / sum(w) over the rows of the global batch that are labelled for the task, where
      `sample_weight[task]` is the label weight and 0 stands for "no label"; such a label may hold anything, NaN
      included. In a batch without any label for a task the task's own variables stay as they are;
    - `compile(balancing=...)` chooses how the tasks' losses or gradients become one update;
    - the same global batches give the same weights under `tf.distribute` strategies as on one device;
    - `metrics` count labelled rows once, `weighted_metrics` count them by their label weight;
    - `loss` in the logs is the sum of the tasks' losses times their loss weights, plus penalties, whatever
      the balancing minimises.

    Args:
        inputs: Symbolic inputs: a `keras.Input`, or a dict or list of them.
        outputs: `{task: symbolic output}`. Outputs of 16 bits are cast to float32.
        name: Name of the model.
        tasks: Task objects that give losses, metrics and decoding; `tf_mtl.build_model` passes them.
        trunk: The sharing structure that the graph was built with, which may add a penalty to the loss;
            `tf_mtl.build_model` passes it.
        **kwargs: See `keras.Model`.

    Raises:
        TypeError: if `outputs` is not a dict of tensors.
        ValueError: if `tasks` have other names than `outputs`.

    Example:

    >>> x = keras.Input((8,))
    >>> h = keras.layers.Dense(16, activation="relu")(x)
    >>> model = mtl.MultiTaskModel(
    ...     x, {"topic": keras.layers.Dense(3)(h), "price": keras.layers.Dense(1)(h)}
    ... )
    >>> loss = {"topic": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "price": "mse"}
    >>> model.compile("adam", loss=loss, metrics={"topic": ["accuracy"], "price": ["mae"]})
    >>> y = {"topic": np.array([0, 2, -1, 1]), "price": np.array([1.5, 2.0, 0.5, np.nan])}
    >>> weight = {"topic": np.array([1, 1, 0, 1]), "price": np.array([1, 1, 1, 0])}
    >>> history = model.fit(np.ones((4, 8)), y, sample_weight=weight, verbose=0)
    >>> sorted(history.history)
    ['loss', 'price_loss', 'price_mae', 'topic_accuracy', 'topic_loss']
    """

    def __init__(
        self,
        inputs,
        outputs,
        name=None,
        *,
        tasks: Sequence[Task] | None = None,
        trunk: Trunk | None = None,
        **kwargs,
    ):
        if not isinstance(outputs, Mapping) or not all(isinstance(t, keras.KerasTensor) for t in outputs.values()):
            raise TypeError(
                "`outputs` must be a flat dict {task: symbolic tensor}, which names the tasks; "
                f"received {type(outputs).__name__}: {outputs}."
            )
        if tasks is not None:
            check_names("tasks", [task.name for task in tasks], outputs)
        outputs = {task: _float32(task, output) for task, output in outputs.items()}
        super().__init__(inputs, outputs, name=name, **kwargs)
        self._freeze_again()
        self._tasks = tuple(tasks or ())
        self._trunk = trunk
        self._compiled = None
        self._fitting = None
        self._evaluating = False

    @property
    def task_names(self) -> tuple[str, ...]:
        """The tasks' names, in the order of the outputs."""
        return tuple(self.output)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The task objects that the model was built with; none for a plain functional graph."""
        return self._tasks

    @property
    def trunk(self) -> Trunk | None:
        """The sharing structure that the model was built with; None for a plain functional graph."""
        return self._trunk

    @property
    def losses(self):
        """The penalties: those of layers, as in Keras, and that of the trunk."""
        penalty = None if self._trunk is None else self._trunk.penalty(self)
        return super().losses + ([] if penalty is None else [penalty])

    @property
    def losses_by_task(self) -> dict[str, keras.losses.Loss]:
        """The losses that the tasks declare; after `compile`, the losses in force."""
        if self._compiled is not None:
            return dict(self._compiled.objectives.losses)
        return {task.name: task.loss for task in self._tasks}

    @property
    def metrics_by_task(self) -> dict[str, list[keras.metrics.Metric]]:
        """The metrics that the tasks declare; after `compile`, the metrics in force."""
        if self._compiled is not None:
            return self._compile_metrics.by_task(self.task_names)
        return {task.name: task.metrics() for task in self._tasks}

    @property
    def fitting(self) -> Fitting | None:
        """What `fit` works with; None while it does not run."""
        return self._fitting

    @property
    def balancing(self) -> methods.Balancing | None:
        """The balancing method in force."""
        return None if self._compiled is None else self._compiled.balancing

    def compile(
        self,
        optimizer="adamw",
        loss=None,
        loss_weights: Mapping[str, float] | None = None,
        metrics: Mapping[str, Any] | None = None,
        weighted_metrics: Mapping[str, Any] | None = None,
        *,
        joint_metrics: Sequence[keras.metrics.Metric] | None = None,
        balancing: str | methods.Balancing = "equal",
        gradients: str = "parameters",
        accumulate: int = 1,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Settle optimizer, losses, metrics and balancing.

        Args:
            optimizer: See `keras.Model.compile`.
            loss: `{task: loss}`, or one loss for all tasks. Tasks left out keep the loss they declare.
            loss_weights: `{task: factor}` of each task's loss, before balancing; 1 by default.
            metrics: `{task: metrics}`. Tasks left out keep the metrics they declare; [] stands for none.
            weighted_metrics: `{task: metrics}` that count rows by their label weight.
            joint_metrics: Metrics of several tasks at once, such as `tf_mtl.metrics.FrameAccuracy`.
            balancing: A method of `tf_mtl.balancing`, or the name of one.
            gradients: What gradient methods balance: "parameters", the gradients of shared variables (as the
                methods' papers do), or "features", those of the tensors between the shared part and the tasks' own,
                which needs one backward pass through the trunk instead of one per task.
            accumulate: Number of micro-batches that each batch is worked through in, one after the other. Their
                gradients make one update, that of the whole batch, for the memory of one of them (but see
                BatchNormalization, whose statistics are those of a micro-batch). Methods whose weights depend on the
                losses, scalarizers but "equal" and "fixed" above all, take one more forward pass.
            run_eagerly: See `keras.Model.compile`.
            steps_per_execution: See `keras.Model.compile`.
            jit_compile: See `keras.Model.compile`.
            auto_scale_loss: See `keras.Model.compile`.

        Raises:
            ValueError: for unknown or missing task names, losses or metrics that cannot be had, a
                gradient method where nothing is shared, or options that Keras cannot do under the strategy.
        """
        strategy = self.distribute_strategy
        with strategy.scope():
            optimizer = keras.optimizers.get(optimizer)
            scales_loss = auto_scale_loss and self.dtype_policy.name == "mixed_float16"
            check_options(strategy, optimizer, jit_compile)
            objectives = Objectives.of(self.output, self._tasks, loss, loss_weights)
            metrics_by_task = objectives.metrics(self._tasks, metrics, weighted_metrics, joint_metrics)
            method, parts = methods.get(balancing), partition(self)
            update = ways.choose(method, gradients, parts, accumulate)
            method.bind(self.task_names, ways.input_shape(method, gradients, parts), self)
            scales_loss = scales_loss or isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
            if scales_loss and any(v.dtype == "float32" for v in method.non_trainable_variables):
                raise ValueError(
                    f"balancing={type(method).__name__!r} keeps state, which the infinite gradients of a step that "
                    "float16 skips would spoil. Use the policy 'mixed_bfloat16', or balancing='equal'."
                )
            super().compile(
                optimizer=optimizer,
                run_eagerly=run_eagerly,
                steps_per_execution=steps_per_execution,
                jit_compile=jit_compile,
                auto_scale_loss=auto_scale_loss,
            )
            take_global_gradients(self.optimizer)
            self._loss_tracker = TaskLosses(self.task_names, objectives.loss_weights)
            self._compile_metrics = metrics_by_task
            arguments = {
                "loss": loss,
                "loss_weights": loss_weights,
                "metrics": metrics,
                "weighted_metrics": weighted_metrics,
                "joint_metrics": joint_metrics,
                "balancing": method,
                "gradients": gradients,
                "accumulate": accumulate,
            }
            balance = _balance(method, self.task_names)
            self._compiled = _Compiled(arguments, objectives, method, update, accumulate, balance, parts)

    @property
    def metrics(self):
        """The metrics that `fit` and `evaluate` report, and those of the layers."""
        own = [] if self._compiled is None else [self._loss_tracker, self._compile_metrics]
        if own and self._compiled.balance is not None and not self._evaluating:
            own.append(self._compiled.balance)
        return own + [metric for layer in self._flatten_layers(include_self=False) for metric in layer.metrics]

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        **kwargs,
    ):
        """Train the model; see `keras.Model.fit`.

        Data are (x, {task: y}) or (x, {task: y}, {task: weight}): a `tf.data.Dataset` of batches, arrays, a
        `keras.utils.PyDataset` or a generator. A task without an entry among the weights is labelled in every row.
        A `tf_mtl.data.Mixture` of batches tells by itself how many steps an epoch has, and the logs show the share
        of rows drawn from each source, `share_<source>`.

        Raises:
            ValueError: for labels, weights or inputs that do not fit the model or hold NaN where they count, and
                for data without end where no number of steps is given.
        """
        self._assert_compile_called("fit")
        if class_weight is not None:
            raise ValueError("`class_weight` is for models with one output: pass label weights, `sample_weight`.")
        check_ends("x", x, kwargs.get("steps_per_epoch"), "steps_per_epoch")
        mixture = x if isinstance(x, Mixture) else None
        if mixture is not None and kwargs.get("steps_per_epoch") is None:
            kwargs["steps_per_epoch"] = len(mixture)
        x, y, sample_weight = self._checked(x, y, sample_weight)
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = split((x, y, sample_weight), validation_split)
        if validation_data is not None:
            size, steps = kwargs.get("validation_batch_size") or batch_size, kwargs.get("validation_steps")
            validation_data = one_epoch("validation_data", validation_data, steps, "validation_steps")
            validation_data = stream(*self._checked(*triple(validation_data)), size)
        if self._needs_validation:
            x = paired(x, self.balancing, lambda data: self._checked(data, None, None)[0])
        training = stream(x, y, sample_weight, batch_size, shuffle)
        training.epoch = kwargs.get("steps_per_epoch")
        self._fitting = Fitting(training, validation_data, listed(callbacks), mixture)
        try:
            with readable_errors(), lost_worker_errors():
                return super().fit(
                    self._fitting.stream,
                    epochs=epochs,
                    verbose=verbose,
                    callbacks=with_epoch_end(callbacks, self, self._end_epoch, mixture),
                    validation_data=validation_data,
                    shuffle=False,
                    **kwargs,
                )
        finally:
            self._fitting = None

    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None, **kwargs):
        """Return `loss`, `<task>_loss` and `<task>_<metric>` over the labelled rows; see `keras.Model.evaluate`.

        Raises:
            ValueError: as `fit`.
        """
        self._assert_compile_called("evaluate")
        if not kwargs.get("_use_cached_eval_dataset"):
            x = one_epoch("x", x, kwargs.get("steps"), "steps")
            x = stream(*self._checked(x, y, sample_weight), batch_size)
        with readable_errors(), lost_worker_errors(), self._evaluation():
            return super().evaluate(x, verbose=verbose, **kwargs)

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """Return the outputs for all rows, in order; see `keras.Model.predict`."""
        x = one_epoch("x", x, steps, "steps")
        with lost_worker_errors():
            return super().predict(stream(x, batch_size=batch_size), None, verbose, steps, callbacks)

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """Run one training step on arrays; see `keras.Model.train_on_batch`."""
        if self._needs_validation:
            raise ValueError(f"{type(self.balancing).__name__} learns from other batches as well: train with `fit`.")
        x, y, sample_weight = self._checked(x, y, sample_weight)
        return super().train_on_batch(x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """Run one evaluation step on arrays; see `keras.Model.test_on_batch`."""
        x, y, sample_weight = self._checked(x, y, sample_weight)
        with self._evaluation():
            return super().test_on_batch(x, y, sample_weight, return_dict)

    def decode(
        self, outputs: Mapping[str, Any], texts: Sequence[str] | None = None, preprocessor: Any = None
    ) -> dict[str, dict[str, Any]]:
        """Return what the outputs say, by task: labels, scores, values.

        Args:
            outputs: What `predict` or a call of the model returned.
            texts: The texts that the outputs are about, in which spans are to be found.
            preprocessor: The `tf_mtl.text` object that the texts went through; given with them.

        Raises:
            ValueError: if the model was built without task objects, one of `texts` and `preprocessor` is missing,
                there are not as many texts as rows, or the outputs are those of batches that differ in length.

        Example:

        >>> tasks = [mtl.tasks.Regression("stars", low=1, high=5)]
        >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
        >>> model = mtl.build_model(keras.Input((4,)), trunk, tasks)
        >>> model.decode({"stars": np.array([[9.0]])})["stars"]["value"].tolist()
        [5.0]
        """
        if not self._tasks:
            raise ValueError(
                "`decode` needs task objects, which say how to read an output: build the model with "
                "tf_mtl.build_model, or pass `tasks` to MultiTaskModel."
            )
        if (texts is None) != (preprocessor is None):
            raise ValueError("`texts` and `preprocessor` go together: it tells where in them the words are.")
        rows = {task: outputs[task].shape[0] for task in self.task_names}
        if any(isinstance(output, tf.RaggedTensor) for output in outputs.values()):
            raise ValueError(
                "`outputs` are those of batches that differ in length: decode each batch, "
                "`model.decode(model.predict_on_batch(batch))`, or pad all to one length before `predict`."
            )
        located = None
        if texts is not None:
            if isinstance(texts, str) or any(len(texts) != number for number in rows.values()):
                raise ValueError(f"`texts` must be a list of as many texts as `outputs` have rows, {rows}.")
            texts = tf.constant(list(texts), tf.string)
            located = (texts, *preprocessor.locate(texts))
        return {
            task.name: {key: _numpy(value) for key, value in task.answer(outputs[task.name], located).items()}
            for task in self._tasks
        }

    def gradient_cosines(self, batch: Any) -> np.ndarray:
        """Return the cosines [T, T] between the tasks' gradients of the shared variables on a batch.

        They are measured in inference mode, and nothing of the model changes. NaN stands for a task whose gradient is
        zero, as without labels.

        Args:
            batch: (x, {task: y}) or (x, {task: y}, {task: weight}).

        Raises:
            ValueError: if the tasks share no trainable variable.
        """
        self._assert_compile_called("gradient_cosines")
        parts, objectives = self._compiled.parts, self._compiled.objectives
        parts.check_shared("gradient_cosines")
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        labels = objectives.labels(y, weight)

        @tf.function
        def products(x):
            def losses_of(outputs):
                return tf.math.divide_no_nan(*objectives.sums(labels, outputs))

            return ways.shared_gramian(self, x, losses_of, parts)

        found = products(x).numpy().astype("float64")
        norms = np.sqrt(np.diag(found))
        norms[norms == 0] = np.nan
        return found / np.outer(norms, norms)

    def describe_sharing(self, print_fn: Callable[[str], Any] | None = print) -> Sharing:
        """Print and return which layers are shared by which tasks, with their parameters.

        Args:
            print_fn: What prints the table, as in `summary`; None prints nothing.

        Example:

        >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
        >>> model = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression(name) for name in ("a", "b")])
        >>> sharing = model.describe_sharing(print_fn=None)
        >>> sharing.parameters, sharing.single_task
        (58, {'a': 49, 'b': 49})
        """
        found = sharing(self, self._tasks, self._trunk)
        if print_fn is not None:
            print_fn(str(found))
        return found

    def single_task(self, task: str, copy: bool = False) -> "MultiTaskModel":
        """Return a model of one of the tasks, to be tuned further by itself after the joint training.

        It has the same inputs, the output, task object and layers of the task, and is not compiled. Data need the
        labels of this task alone: `data.map(lambda x, y: (x, {"ner": y["ner"]}))`.

        Args:
            task: Name of the task.
            copy: Whether it has layers of its own, with the same weights, so that training it leaves this model as it
                is. By default both share their layers, and training one trains the other.

        Raises:
            ValueError: for an unknown task.

        Example:

        >>> tasks = [mtl.tasks.Classification("topic", labels=3), mtl.tasks.Regression("price")]
        >>> model = mtl.build_model(keras.Input((4,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8])), tasks)
        >>> tuned = model.single_task("price", copy=True)
        >>> tuned.compile(keras.optimizers.AdamW(1e-5))
        >>> _ = tuned.fit(np.ones((8, 4)), {"price": np.zeros(8)}, verbose=0)
        >>> tuned.task_names
        ('price',)
        """
        check_names("task", [task], self.task_names, required=False)
        tasks = [found for found in self._tasks if found.name == task]
        trunk = None if self._trunk is None else self._trunk.alone(task)
        output, name = {task: self.output[task]}, f"{self.name}_{task}"
        with self.distribute_strategy.scope():
            single = MultiTaskModel(self.input, output, name, tasks=tasks or None, trunk=trunk)
            if copy:
                shared, single = single, MultiTaskModel.from_config(single.get_config())
                single.set_weights(shared.get_weights())
        return single

    def train_step(self, data):
        """Run one training step on a global batch, in the replica context."""
        compiled, balancing = self._compiled, self.balancing
        data, validation = data if self._needs_validation else (data, None)
        batches = self._divided(data, compiled.accumulate)
        held = self._hold_unlabelled(batches[0].labels)
        if validation is not None:
            lookahead.learn_from_validation(self, balancing, *batches, *self._divided(validation))
        observes = isinstance(balancing, methods.Scalarizer) and balancing.observes_update
        seeds = lookahead.seeds(self) if observes else None
        update = compiled.update(self, balancing, batches, compiled.parts)
        self.optimizer.apply(*zip(*update.gradients, strict=True))
        for place, variables, values in held:
            unlabelled.put_back(variables, values, batches[0].labelled[place])
        if observes:
            balancing.observe(lookahead.losses(self, batches, seeds))
        if compiled.balance is not None:
            compiled.balance.update_state(update.weights, update.gramian)
        for batch, outputs in zip(batches, update.outputs, strict=True):
            self._track(batch.labels, outputs, *batch.sums)
        return self._results()

    def test_step(self, data):
        """Run one evaluation step on a global batch, in the replica context."""
        (batch,) = self._divided(data)
        outputs = self(batch.x, training=False)
        self._track(batch.labels, outputs, *self._compiled.objectives.sums(batch.labels, outputs), self._penalty())
        return self._results()

    def training_objectives(self, x: Any) -> Objectives:
        """Return what a training step minimises on rows with these inputs; subclasses may add to it."""
        return self._compiled.objectives

    def make_train_function(self, force=False):
        """Make the optimizer's variables, then the training function."""
        self._build_optimizer()
        return super().make_train_function(force)

    def make_predict_function(self, force=False):
        """Make the function that `predict` calls with a list of batches."""
        if self.predict_function is None or force:
            self.predict_function = predict_function(self)

    def get_config(self):
        """Return the graph's config, the tasks', and the trunk's unless it was given functions."""
        config = super().get_config()
        if self._tasks:
            config["tasks"] = [keras.saving.serialize_keras_object(task) for task in self._tasks]
        if self._trunk is not None and self._trunk.serializable:
            config["trunk"] = keras.saving.serialize_keras_object(self._trunk)
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Return a model from `get_config`'s dict."""
        config = dict(config)
        if "tasks" in config:
            config["tasks"] = [keras.saving.deserialize_keras_object(task, custom_objects) for task in config["tasks"]]
        if "trunk" in config:
            config["trunk"] = keras.saving.deserialize_keras_object(config["trunk"], custom_objects)
        return super().from_config(config, custom_objects)

    def get_compile_config(self):
        """Return what `compile` was called with, for saving."""
        if self._compiled is None:
            return {}
        own = {"optimizer": self.optimizer, **self._compiled.arguments}
        return {**super().get_compile_config(), **keras.saving.serialize_keras_object(own)}

    def compile_from_config(self, config):
        """Compile with `get_compile_config`'s dict, and make the optimizer's variables."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self._build_optimizer()

    def _freeze_again(self):
        """Freeze what lies within frozen layers: Keras makes parts trainable that a layer gets when it is built."""
        for layer in self._flatten_layers(include_self=False):
            if not layer.trainable:
                layer.trainable = True  # setting it to what it is does nothing
                layer.trainable = False

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras averages a batch over the replicas here, which fails for strings; everything is built by now.
        pass

    def _make_function(self, step):
        return step_function(self, step)

    def _get_metrics_result_or_logs(self, logs):
        if not logs:
            raise ValueError("The data set is empty: it gave no batch. Check its source, filters and `take`.")
        return {name: float(value) for name, value in logs.items()}

    def _build_optimizer(self):
        if self.optimizer is not None and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build([*self.trainable_variables, *self.balancing.trainable_variables])

    @property
    def _needs_validation(self):
        return isinstance(self.balancing, methods.Scalarizer) and self.balancing.needs_validation

    def _end_epoch(self):
        with self.distribute_strategy.scope():
            self.balancing.end_epoch()

    @contextlib.contextmanager
    def _evaluation(self):
        """Leave out of `metrics` what is measured in training only."""
        self._evaluating = True
        try:
            yield
        finally:
            self._evaluating = False

    def _divided(self, data, pieces=1):
        """Return this replica's rows of a global batch, as micro-batches with their losses."""
        objectives, found = self._compiled.objectives, []
        for first, part in divide(data, pieces):
            x, y, weight = keras.utils.unpack_x_y_sample_weight(part)
            labels = objectives.labels(y, weight)
            found.append(BatchLosses(self.training_objectives(x), x, labels, self._penalty, first, pieces))
        return found

    def _checked(self, x, y, sample_weight):
        specs = self._compiled.objectives.specs
        if y is None and not isinstance(x, tuple):
            return checked(x, specs), y, sample_weight
        return checked((x, y, sample_weight), specs)

    def _penalty(self):
        """Return the sum of regularizers and `add_loss` terms, or None."""
        penalties = [tf.cast(tf.reduce_sum(penalty), tf.float32) for penalty in self.losses]
        return tf.add_n(penalties) if penalties else None

    def _track(self, labels, outputs, totals, counts, penalty):
        self._loss_tracker.update_state(totals, counts, penalty)
        self._compile_metrics.update_state(self._compiled.objectives.counted(labels, outputs), outputs)

    def _results(self):
        """The metrics over all replicas, on each of them."""
        if self.distribute_strategy.num_replicas_in_sync == 1:
            return self.get_metrics_result()
        variables = [v for metric in self.metrics for v in metric.variables]
        values = replica_sum([tf.convert_to_tensor(v.value) for v in variables])
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return self.get_metrics_result()

    def _hold_unlabelled(self, labels):
        """Read what belongs to tasks that may have no label in this batch: [(place, variables, values)].

        The place is that of a task among the tasks, or `slice(None)` for variables with an entry for each.
        """
        own = self._compiled.parts.own
        places = [place for place, task in enumerate(self.task_names) if labels[task][1] is not None]
        owners = [(place, own[self.task_names[place]]) for place in places]
        if places and self.balancing.trainable_variables:
            owners.append((slice(None), self.balancing.trainable_variables))
        held = [(place, unlabelled.with_slots(self.optimizer, variables)) for place, variables in owners]
        size = (len(self.task_names),)
        held = [(p, vs if p != slice(None) else [v for v in vs if v.shape == size]) for p, vs in held]
        return [(place, variables, unlabelled.read(variables)) for place, variables in held]


def _balance(method, tasks):
    """The metric of what a method does, or None where there is nothing to tell."""
    if method.constant:
        return None
    return Balance(tasks, not isinstance(method, methods.Aggregator), not isinstance(method, methods.Scalarizer))


def _float32(task, output):
    if keras.backend.standardize_dtype(output.dtype) in ("float16", "bfloat16"):
        return keras.layers.Activation("linear", dtype="float32", name=f"{task}_float32")(output)
    return output


def _numpy(value):
    value = np.asarray(value)
    return np.char.decode(value.astype(bytes), "utf-8") if value.dtype == object else value
