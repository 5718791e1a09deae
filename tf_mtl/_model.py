"""A functional Keras model that is trained on several tasks."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tf_mtl import balancing as methods
from tf_mtl._assertions import readable_errors
from tf_mtl._decoding import answer, decode, forget_parts
from tf_mtl._engine.compiled import compiled_engine
from tf_mtl._engine.keras_hooks import KerasHooks, in_one_thread
from tf_mtl._graph.functional import ClonedOutputs, as_float32, check_layer_names, freeze_again
from tf_mtl._graph.sharing import Sharing, sharing
from tf_mtl._names import check_names
from tf_mtl._optimizers.options import check_loss_scaling, check_options
from tf_mtl._optional_inputs import make_optional
from tf_mtl._pipeline.checks import with_checks
from tf_mtl._pipeline.feed import evaluate_feed, fit_feed, predict_feed, with_epochs
from tf_mtl.distribute._workers import lost_worker_errors
from tf_mtl.tasks import Task
from tf_mtl.text import TextPreprocessor
from tf_mtl.trunks import Trunk

CLASS_WEIGHT_ERROR = "`class_weight` is for models with one output: pass label weights, `sample_weight`."


@keras.saving.register_keras_serializable("tf_mtl")
class MultiTaskModel(KerasHooks):
    r"""A functional Keras model with a dict of outputs, one per task, whose tasks are balanced in training.

    It differs from `keras.Model` as follows:

    - Each task's loss is sum(w * l) / sum(w) over the rows of the global batch that are labelled for the task, where
      `sample_weight[task]` is the label weight and 0 means "no label". A label of weight 0 may hold anything, even
      NaN. A batch without any label for a task leaves the task's own variables unchanged.
    - `compile(balancing=...)` chooses how the tasks' losses or gradients become one update.
    - The same global batches give the same weights under `tf.distribute` strategies as on one device.
    - `metrics` count labelled rows once, `weighted_metrics` count them by their label weight.
    - `loss` in the logs is the sum of the tasks' losses times their loss weights, plus penalties, whatever the
      balancing minimises.

    Args:
        inputs: Symbolic inputs: a `keras.Input`, or a dict or list of them.
        outputs: `{task: symbolic output}`. Outputs of 16 bits are cast to float32.
        name: Name of the model.
        tasks: Task objects, which define losses, metrics and decoding; `tf_mtl.build_model` passes them.
        trunk: The sharing structure that the graph was built with, which may add a penalty to the loss;
            `tf_mtl.build_model` passes it.
        **kwargs: See `keras.Model`.

    Raises:
        TypeError: if `outputs` is not a dict of tensors.
        ValueError: if `tasks` have other names than `outputs`, or a layer has a name that is not ASCII.

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
        inputs: Any,
        outputs: Mapping[str, keras.KerasTensor],
        name: str | None = None,
        *,
        tasks: Sequence[Task] | None = None,
        trunk: Trunk | None = None,
        **kwargs: Any,
    ):
        if not isinstance(outputs, Mapping) or not all(isinstance(t, keras.KerasTensor) for t in outputs.values()):
            raise TypeError(
                "`outputs` must be a flat dict {task: symbolic tensor}, which names the tasks; "
                f"received {type(outputs).__name__}: {outputs}."
            )
        if isinstance(outputs, ClonedOutputs):
            tasks, trunk = outputs.tasks or None, outputs.trunk
        if tasks is not None:
            check_names("tasks", [task.name for task in tasks], outputs)
        outputs = {task: as_float32(task, output) for task, output in outputs.items()}
        make_optional(inputs, [name for task in tasks or () for name in task.own_inputs()])
        super().__init__(inputs, outputs, name=name, **kwargs)
        check_layer_names(self)
        freeze_again(self)
        self._tasks = tuple(tasks or ())
        self._trunk = trunk

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
    def losses(self) -> list[Any]:
        """The penalties: those of layers, as in Keras, and that of the trunk."""
        penalty = None if self._trunk is None else self._trunk.penalty(self)
        return super().losses + ([] if penalty is None else [penalty])

    @property
    def losses_by_task(self) -> dict[str, keras.losses.Loss]:
        """The losses that the tasks declare; after `compile`, the losses in force."""
        if self._engine is not None:
            return dict(self._engine.objectives.losses)
        return {task.name: task.loss for task in self._tasks}

    @property
    def metrics_by_task(self) -> dict[str, list[keras.metrics.Metric]]:
        """The metrics that the tasks declare; after `compile`, the metrics in force."""
        if self._engine is not None:
            return self._engine.metrics.by_task(self.task_names)
        return {task.name: task.metrics() for task in self._tasks}

    @property
    def balancing(self) -> methods.Balancing | None:
        """The balancing method in force."""
        return None if self._engine is None else self._engine.balancing

    @in_one_thread
    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adamw",
        loss: Any = None,
        loss_weights: Mapping[str, float] | Sequence[float] | None = None,
        metrics: Mapping[str, Any] | Sequence | None = None,
        weighted_metrics: Mapping[str, Any] | Sequence | None = None,
        *,
        joint_metrics: Sequence[keras.metrics.Metric] | None = None,
        balancing: str | methods.Balancing = "equal",
        gradients: str = "parameters",
        accumulate: int = 1,
        check_inputs: bool = True,
        non_finite: str = "keep",
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Configure optimizer, losses, metrics and balancing.

        Args:
            optimizer: See `keras.Model.compile`.
            loss: `{task: loss}`, one loss for all tasks, or a list in the order of `model.outputs`, which is that of
                their names. Tasks left out keep the loss they declare. An output without a loss, or with None, is not
                trained, as in Keras.
            loss_weights: `{task: factor}`, or a list, with the factor of a task's loss, before balancing; 1 by default.
            metrics: `{task: metrics}`, or a list. Tasks left out keep the metrics they declare; [] means none.
            weighted_metrics: `{task: metrics}`, or a list, of metrics that count rows by their label weight.
            joint_metrics: Metrics of several tasks at once, such as `tf_mtl.metrics.FrameAccuracy`.
            balancing: A method of `tf_mtl.balancing`, or the name of one.
            gradients: What gradient methods balance: "parameters", the gradients of shared variables (as the
                methods' papers do), or "features", those of the tensors between the shared part and the tasks' own,
                which needs one backward pass through the trunk instead of one per task.
            accumulate: The number of micro-batches that each batch is split into. They are processed one after the
                other, and their gradients make one update, that of the whole batch, for the memory of one of them
                (BatchNormalization's statistics are those of a micro-batch). Methods whose weights depend on the
                losses, such as all scalarizers but "equal" and "fixed", and losses that compare rows need one more
                forward pass.
            check_inputs: Whether NaN and infinity in inputs raise an error; False for a model that replaces them.
            non_finite: What happens in a training step with NaN or infinity in a loss or gradient. "keep" updates
                nevertheless, as Keras does. "skip" undoes the step: weights, optimizer, balancing method and metrics
                stay as they were on every replica. A warning names the tasks and rows of the first such step, and
                `skipped_steps` in the logs counts all of them. "raise" undoes the step and raises a `ValueError` with
                the same message. "skip" and "raise" copy all state in each step.
            run_eagerly: See `keras.Model.compile`.
            steps_per_execution: See `keras.Model.compile`.
            jit_compile: See `keras.Model.compile`. Under a mirrored strategy, True compiles each replica's
                forward and backward passes with XLA, and "auto" does so on GPUs.
            auto_scale_loss: See `keras.Model.compile`.

        Raises:
            ValueError: for unknown task names, losses or metrics that are not supported, a
                gradient method where nothing is shared, or options that are not supported under the strategy.
            RuntimeError: on all workers of a cluster, if they differ in the model or the arguments.
        """
        strategy = self.distribute_strategy
        options: dict[str, Any] = {
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
            "joint_metrics": joint_metrics,
            "balancing": balancing,
            "gradients": gradients,
            "accumulate": accumulate,
        }
        execution = {
            "check_inputs": check_inputs,
            "non_finite": non_finite,
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile,
            "auto_scale_loss": auto_scale_loss,
        }
        self._check_workers(
            "compile", model=self, tasks=self._tasks, optimizer=optimizer, execution=execution, **options
        )
        with strategy.scope():
            optimizer = keras.optimizers.get(optimizer)
            check_options(strategy, optimizer)
            engine = compiled_engine(
                self,
                self._tasks,
                **options,
                check_inputs=check_inputs,
                non_finite=non_finite,
                jit_compile=jit_compile,
                run_eagerly=run_eagerly,
            )
            scales_loss = auto_scale_loss and self.dtype_policy.name == "mixed_float16"
            check_loss_scaling(optimizer, engine.balancing, scales_loss)
            super().compile(
                optimizer=optimizer,
                run_eagerly=run_eagerly,
                steps_per_execution=steps_per_execution,
                jit_compile=False if engine.compiled_passes else jit_compile,
                auto_scale_loss=auto_scale_loss,
            )
            forget_parts(self)
            self._loss_tracker, self._compile_metrics = engine.losses, engine.metrics
            self._engine = engine

    @in_one_thread
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> keras.callbacks.History:
        """Train the model; see `keras.Model.fit`.

        Data are (x, {task: y}) or (x, {task: y}, {task: weight}): a `tf.data.Dataset` of batches, arrays, a
        `keras.utils.PyDataset` or a generator. A task without an entry among the weights is labelled in every row.
        A `tf_mtl.data.Mixture` of batches knows how many steps an epoch has, and the logs show the share of rows
        drawn from each source, `share_<source>`. Of `tf_mtl.data.ShardedBatches`, each worker of a cluster reads its
        own shards only.

        Raises:
            ValueError: for labels, weights or inputs that do not fit the model or hold NaN where they count, and
                for endless data without a number of steps.
            RuntimeError: on all workers of a cluster, if they differ in model, data or options; if another thread
                trains or evaluates the model, or a worker is lost.
        """
        engine = self._engine_for("fit")
        if class_weight is not None:
            raise ValueError(CLASS_WEIGHT_ERROR)
        outer = self._feed  # of the `fit` that calls this one from a callback
        self._feed = fit_feed(
            engine.rules,
            self.distribute_strategy,
            engine.balancing,
            (x, y, sample_weight),
            batch_size,
            shuffle,
            steps_per_epoch,
            callbacks,
            validation_split,
            validation_data,
            validation_batch_size,
            validation_steps,
        )
        try:
            self._check_workers(
                "fit",
                data=self._feed.training,
                validation_data=self._feed.validation,
                epochs=[initial_epoch, epochs],
                steps_per_epoch=self._feed.steps_per_epoch,
                validation_steps=validation_steps,
                validation_freq=validation_freq,
            )
            with self._callbacks_undone(), readable_errors(), lost_worker_errors(), self._feed.at_end:
                return super().fit(
                    self._feed.training,
                    epochs=epochs,
                    verbose=verbose,
                    callbacks=with_epochs(callbacks, self, engine.balancing, self._feed.mixture),
                    validation_data=self._feed.validation,
                    shuffle=False,
                    initial_epoch=initial_epoch,
                    steps_per_epoch=self._feed.steps_per_epoch,
                    validation_steps=validation_steps,
                    validation_batch_size=validation_batch_size,
                    validation_freq=validation_freq,
                )
        finally:
            self._feed = outer

    @in_one_thread
    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Return `loss`, `<task>_loss` and `<task>_<metric>` over the labelled rows; see `keras.Model.evaluate`.

        Raises:
            ValueError: as `fit`.
            RuntimeError: as `fit`.
        """
        engine = self._engine_for("evaluate")
        if not kwargs.get("_use_cached_eval_dataset"):  # as `fit` asks, with streams of its own
            x = evaluate_feed(engine.rules, self.distribute_strategy, (x, y, sample_weight), batch_size, steps)
            self._check_workers("evaluate", data=x, steps=steps)
        with readable_errors(), lost_worker_errors(), self._evaluation():
            return super().evaluate(
                x, verbose=verbose, steps=steps, callbacks=callbacks, return_dict=return_dict, **kwargs
            )

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> dict[str, np.ndarray]:
        """Return the outputs for all rows, in order; see `keras.Model.predict`.

        Raises:
            ValueError: for `tf_mtl.data.ShardedBatches`, whose rows are in another order, and endless data without
                `steps`.
            RuntimeError: on all workers of a cluster, if they differ in model or data; on several replicas, if another
                thread trains or evaluates the model. On one device, a model may predict while another thread trains it.
        """
        if self.distribute_strategy.num_replicas_in_sync > 1:  # whose collective operations two threads would mix
            self._refuse_other_threads("predict")
        x = predict_feed(x, batch_size, steps)
        self._check_workers("predict", data=x, steps=steps)
        with lost_worker_errors():
            return super().predict(x, None, verbose, steps, callbacks)

    @in_one_thread
    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: None = None, return_dict: bool = False
    ) -> Any:
        """Run one training step on arrays; see `keras.Model.train_on_batch`."""
        engine = self._engine_for("train_on_batch")
        if class_weight is not None:
            raise ValueError(CLASS_WEIGHT_ERROR)
        if engine.balancing.needs_validation:
            raise ValueError(f"{type(engine.balancing).__name__} learns from other batches as well: train with `fit`.")
        x, y, sample_weight = with_checks((x, y, sample_weight), engine.rules)
        with readable_errors():
            return super().train_on_batch(x, y, sample_weight, return_dict=return_dict)

    @in_one_thread
    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Run one evaluation step on arrays; see `keras.Model.test_on_batch`."""
        engine = self._engine_for("test_on_batch")
        x, y, sample_weight = with_checks((x, y, sample_weight), engine.rules.for_evaluation)
        with readable_errors(), self._evaluation():
            return super().test_on_batch(x, y, sample_weight, return_dict)

    def decode(
        self,
        outputs: Mapping[str, Any],
        texts: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        preprocessor: TextPreprocessor | None = None,
    ) -> dict[str, dict[str, np.ndarray]]:
        """Return the decoded outputs by task: labels, scores, values.

        Args:
            outputs: What `predict` or a call of the model returned.
            texts: The texts that the outputs are about, in which spans are to be located; for pairs, a dict of both.
            preprocessor: The `tf_mtl.text` object that prepared the texts; passed together with them.

        Raises:
            ValueError: if the model was built without task objects, one of `texts` and `preprocessor` is missing,
                there are not as many texts as rows, or the outputs come from batches that differ in length.

        Example:

        >>> tasks = [mtl.tasks.Regression("stars", low=1, high=5)]
        >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
        >>> model = mtl.build_model(keras.Input((4,)), trunk, tasks)
        >>> model.decode({"stars": np.array([[9.0]])})["stars"]["value"].tolist()
        [5.0]
        """
        return decode(self._tasks, outputs, texts, preprocessor)

    def answer(
        self,
        inputs: Any,
        preprocessor: Callable[[Any], Any] | None = None,
        tasks: Sequence[str] | None = None,
        batch_size: int = 32,
    ) -> dict[str, dict[str, np.ndarray]]:
        """Return what the tasks say about raw inputs, decoded: what an export of the model returns.

        Args:
            inputs: Raw inputs as the preprocessor takes them, such as a list of texts, a dict of both texts of pairs
                or a dict of columns; without one, the model's inputs.
            preprocessor: What turns raw inputs into the model's, as `tf_mtl.export.saved_model` takes it.
            tasks: The names of the tasks to answer for; all by default.
            batch_size: The number of rows that the model is given at one time.

        Returns:
            `{task: {part: array}}`, with rows as the first axis, and texts as Python strings.

        Raises:
            ValueError: if the model was built without task objects, for unknown tasks, or inputs that do not fit the
                preprocessor.

        Example:

        >>> words = mtl.text.Words.learn(["good", "bad"], length=4)
        >>> encoder = mtl.encoders.RecurrentEncoder(words.vocabulary_size, dim=4, units=4)
        >>> tasks = [mtl.tasks.Classification("mood", labels=["sad", "happy"])]
        >>> model = mtl.build_model(words.inputs(), mtl.trunks.HardSharing(encoder), tasks)
        >>> answer = model.answer(["good, good", "bad"], words)
        >>> answer["mood"]["label"].shape
        (2,)
        """
        if self.distribute_strategy.num_replicas_in_sync > 1:
            self._refuse_other_threads("answer")
        return answer(self, self._tasks, inputs, preprocessor, tasks, batch_size, self._of_tasks)

    def gradient_cosines(self, batch: Any) -> np.ndarray:
        """Return the cosines [T, T] between the tasks' gradients of the shared variables on a batch.

        The gradients are taken in inference mode, and the model does not change. A task whose gradient is zero, for
        instance without labels, has NaN.

        Args:
            batch: (x, {task: y}) or (x, {task: y}, {task: weight}).

        Raises:
            ValueError: if the tasks share no trainable variable, and as `fit`.
        """
        engine = self._engine_for("gradient_cosines")
        data = with_checks(keras.utils.unpack_x_y_sample_weight(batch), engine.rules)
        with readable_errors():
            return engine.gradient_cosines.on(self, data)

    def describe_sharing(self, print_fn: Callable[[str], Any] | None = print) -> Sharing:
        """Print and return which layers are shared by which tasks, with their parameters.

        Args:
            print_fn: The function that prints the table, as in `summary`. With None nothing is printed, and
                `print(model.describe_sharing(None))` prints the table.

        Example:

        >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
        >>> model = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression(name) for name in ("a", "b")])
        >>> sharing = model.describe_sharing(print_fn=None)
        >>> sharing.parameters, sharing.single_task
        (58, {'a': 49, 'b': 49})
        """
        result = sharing(self, self._tasks, self._trunk)
        if print_fn is None:
            return result
        print_fn(result.table)
        return dataclasses.replace(result, is_printed=True)

    def single_task(self, task: str, copy: bool = False) -> "MultiTaskModel":
        """Return a model of one task alone, for instance to fine-tune it after the joint training.

        It has the same inputs, and the task's output, task object and layers; it is not compiled. Its data hold the
        labels of this task only: `data.map(lambda x, y: (x, {"ner": y["ner"]}))`.

        Args:
            task: Name of the task.
            copy: Whether to copy the layers with their weights, so that training the new model does not change this
                one. By default the models share their layers, and training one trains the other.

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
        tasks = [each for each in self._tasks if each.name == task]
        trunk = None if self._trunk is None else self._trunk.single_task(task)
        output, name = {task: self.output[task]}, f"{self.name}_{task}"
        with self.distribute_strategy.scope():
            single = MultiTaskModel(self.input, output, name, tasks=tasks or None, trunk=trunk)
            if copy:
                shared, single = single, MultiTaskModel.from_config(single.get_config())
                single.set_weights(shared.get_weights())
        return single

    def _of_tasks(self, tasks):
        """Return a model of some tasks, for their answers."""
        with self.distribute_strategy.scope():
            part = _Part(self, tasks)
        part.run_eagerly = self.run_eagerly
        return part

    def get_config(self) -> dict[str, Any]:
        """Return the config of the graph, the tasks, and the trunk unless it holds functions."""
        config = super().get_config()
        if self._tasks:
            config["tasks"] = [keras.saving.serialize_keras_object(task) for task in self._tasks]
        if self._trunk is not None and self._trunk.serializable:
            config["trunk"] = keras.saving.serialize_keras_object(self._trunk)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "MultiTaskModel":
        """Return a model from `get_config`'s dict."""
        config = dict(config)
        if "tasks" in config:
            config["tasks"] = [keras.saving.deserialize_keras_object(task, custom_objects) for task in config["tasks"]]
        if "trunk" in config:
            config["trunk"] = keras.saving.deserialize_keras_object(config["trunk"], custom_objects)
        model = super().from_config(config, custom_objects)
        for task in model._tasks:
            task.use_layers_of(model)
        return model


class _Part(MultiTaskModel):
    """A model's outputs for some tasks, which answers and does not change what is trained."""

    def __init__(self, whole: MultiTaskModel, tasks: Sequence[Task]):
        outputs = {task.name: whole.output[task.name] for task in tasks}
        super(MultiTaskModel, self).__init__(whole.input, outputs, name=whole.name)
        self._tasks, self._trunk = tuple(tasks), None
