"""The base class of tasks: a head, a loss, metrics and decoding."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl._keys import MASK, after_key, key_of
from tf_mtl._located import Located
from tf_mtl._names import check_task_name
from tf_mtl.images import LocatedImages
from tf_mtl.layers._attach_mask import AttachMask
from tf_mtl.layers._join_features import JoinFeatures
from tf_mtl.tasks._head_arguments import checked_hidden_units, checked_layers, parts_by_task
from tf_mtl.tasks._image_labels import class_cells, class_index, file_of, image_field
from tf_mtl.tasks._raw_labels import EncodedLabels, TextRecords, encode_names_or_numbers


class Task(ABC):
    """A named objective: a head from features to one output, its loss, its metrics and its decoding.

    Subclasses define `output_units`, `loss`, `metrics` and `decode`. The default head reads one feature vector.

    Args:
        name: The task's name: the key of its output, labels, loss and metrics, and the name of its output layer.
        features: The features that the head reads, a key of the encoder's dict of features.
        hidden_units: Units of a hidden ReLU layer in the head, a list of them for several layers, or any layer, of
            which each model gets a copy with new weights; None for no hidden layer.
        dropout: Dropout rate of the head's inputs.
        after: The tasks that the head reads: their names, or `{task: part}`, with the part "output" (default),
            "probabilities", or "hidden", the hidden layer's features. They are joined with the task's own features: a
            vector is repeated at each position of a sequence or map, and a sequence or map is averaged for a vector.
        after_gradients: Whether the task's gradient also trains the tasks that it reads.
        layers: The encoder's stages of which the head reads a learned mix in place of the last one (Peters et al.,
            "Deep contextualized word representations", NAACL 2018): "all", or their indices; None for the last one.
            The encoder must be an `encoders.WithStages`.
        kernel_regularizer: The regularizer of the kernels of the head's dense layers, as Keras' layers take it.

    Attributes:
        labels: The names of the classes, in the order of the output's last axis; empty for tasks without classes.
        labels_words: Whether each word has a label, so that the head needs to know where words start.
        labels_are_lists: Whether a label may be a list of names, in place of a cell per class.
        locates_in: The kind of raw inputs that answers refer to: `tf_mtl.text.LocatedTexts` or
            `tf_mtl.images.LocatedImages`; None for tasks without `locate`.
        reads_all_positions: Whether `decode` reads all positions of the output, as exports check.

    Raises:
        ValueError: if the name is not an ASCII identifier, or another argument is out of range.
    """

    labels: Sequence[str] = ()
    labels_words = False
    labels_are_lists = False
    locates_in: type | None = None
    reads_all_positions = True

    def __init_subclass__(cls, **kwargs: Any):
        """Check that a task which locates its answers says in what."""
        super().__init_subclass__(**kwargs)
        if "locate" in vars(cls) and cls.locates_in is None:
            raise TypeError(
                f"{cls.__name__} defines `locate`, so it must set `locates_in`: tf_mtl.text.LocatedTexts or "
                "tf_mtl.images.LocatedImages."
            )

    def __init__(
        self,
        name: str,
        features: str = "pooled",
        hidden_units: int | Sequence[int] | keras.layers.Layer | None = None,
        dropout: float = 0.0,
        after: Sequence[str] | Mapping[str, str] = (),
        after_gradients: bool = True,
        layers: str | Sequence[int] | None = None,
        kernel_regularizer: str | keras.regularizers.Regularizer | None = None,
    ):
        check_task_name("`name` of a task", name)
        self.name = name
        self.features = features
        self.hidden_units = checked_hidden_units(hidden_units)
        self.dropout = in_range("dropout", dropout, 0, 1, open_high=True)
        self.after = parts_by_task(name, after)
        self.after_gradients = bool(after_gradients)
        self.layers = checked_layers(layers)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    @property
    @abstractmethod
    def output_units(self) -> int:
        """The size of the output's last axis."""

    @property
    def served_alone(self) -> dict[str, str]:
        """Decoded outputs that exports also serve by themselves, and the layers that they are; by default none."""
        return {}

    @property
    @abstractmethod
    def loss(self) -> keras.losses.Loss:
        """The task's loss. Its `call` returns one value per row, or per word or cell."""

    @abstractmethod
    def metrics(self) -> list[keras.metrics.Metric]:
        """Return new instances of the task's metrics."""

    def answer_metrics(self) -> list[keras.metrics.Metric]:
        """Return new metrics that compare the labels with the output without the tasks' own inputs; by default none.

        They are what `predict` would be measured by, in evaluation only, and need another forward pass.
        """
        return []

    @abstractmethod
    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the answer for an output [B, ...]: tensors by name, with the batch as the first axis.

        It must consist of TensorFlow ops, since exports run it in the graph.
        """

    def own_inputs(self) -> dict[str, keras.KerasTensor]:
        """Return optional inputs that the task adds to the model, by name; by default none.

        They are `keras.Input`s with `optional=True`, under their own names. `head` finds them among the features.
        `fill_own_inputs` fills them in training and evaluation. `predict`, answers and exports do without: layers that
        read one are then given None. The model's other inputs must be a dict.
        """
        return {}

    def fill_own_inputs(self, labels: Mapping[str, tuple[Any, Any]], training: bool) -> dict[str, tf.Tensor]:
        """Return the own inputs of a batch, by name, unless the data hold them; by default none.

        Args:
            labels: The batch's labels, as numbers, and their weights, None where all are labelled, by task. A model of
                fewer tasks, as `single_task` returns it, lacks those of the others.
            training: Whether the batch is trained on.

        Returns:
            Values that depend on the labels alone: those of arrays are filled once, for all rows.
        """
        return {}

    def encode_labels(self, labels: tf.Tensor | tf.RaggedTensor, records: TextRecords) -> EncodedLabels:
        """Return the labels of annotated texts as the loss expects them; `tf_mtl.data.encode_text` calls it.

        By default names become indices of `labels`, and numbers remain. An empty name, NaN and an index below 0 are
        missing labels. Labels of words are truncated as the words are.

        Args:
            labels: The labels of a batch of records [B, ...], or of their words, ragged [B, (W), ...].
            records: What the labels belong to.

        Raises:
            ValueError: for labels that do not fit, naming the record.
        """
        if self.labels_words and isinstance(labels, tf.Tensor) and labels.shape.rank > 1:
            labels = tf.RaggedTensor.from_tensor(labels)  # all texts have the same number of labels
        return encode_names_or_numbers(self.name, self.labels, labels, records)

    def encode_image_labels(self, record: Mapping[str, tf.Tensor], image: LocatedImages) -> tf.Tensor:
        """Return the label of an annotated image as the loss expects it; `tf_mtl.data.encode_images` calls it.

        By default it is the record's field with the task's name. Names become indices of `labels`, and a list of names
        a cell per class. An empty name becomes -1, and the label is missing.

        Args:
            record: The fields of the record.
            image: Where the pixels of the model's image come from, with a batch of one.

        Raises:
            ValueError: if the record lacks a field.
        """
        label = image_field(self.name, record, self.name)
        if label.dtype != tf.string:
            return label
        encode = class_cells if self.labels_are_lists else class_index
        return encode(self.name, self.labels, label, file_of(record))

    def locate(self, answer: Mapping[str, tf.Tensor], located: Any) -> dict[str, tf.Tensor]:
        """Return the parts of the raw inputs that an answer refers to; by default none.

        Args:
            answer: The tensors that `decode` returned.
            located: The raw inputs, of the kind that the task's `locates_in` is.
        """
        return {}

    def answer(self, output: tf.Tensor, located: Located | None = None) -> dict[str, tf.Tensor]:
        """Return the decoded output and, if raw inputs are given, the parts of them that it refers to.

        Args:
            output: The task's output [B, ...].
            located: The raw texts or images.
        """
        answer = self.decode(output)
        return {**answer, **self.locate(answer, located)} if isinstance(located, self.locates_in or ()) else answer

    def valid_mask(self, output: tf.Tensor) -> tf.Tensor | None:
        """Return which positions of the sequence are valid, [B, W], or which pairs of them, [B, W, W].

        By default it returns None, for outputs without a sequence.

        Labels at other positions never count, whatever their weights.
        """
        return None

    def predictions(self, output: tf.Tensor) -> tf.Tensor:
        """Return the predictions that metrics compare with the labels; by default the output."""
        return output

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the distance between an output and a teacher's, in the shape of the task's loss.

        By default it is the task's loss with the teacher's output as the label.

        Args:
            target: The teacher's output.
            output: The task's output.
        """
        return self.loss.call(target, output)

    def head(self, features: Mapping[str, keras.KerasTensor]) -> keras.KerasTensor:
        """Return the task's symbolic output, float32 under any precision policy, from an encoder's features.

        Raises:
            ValueError: if the encoder does not return the features that the task reads.
        """
        return self.output_layer(self.read(features))

    def read(self, features: Mapping[str, keras.KerasTensor]) -> keras.KerasTensor:
        """Return what the head makes of the features before its output layer: joined with others, dropped, hidden.

        The mask of a sequence among the features is attached to it, so that masked positions never count.

        Raises:
            ValueError: if the encoder does not return the features that the task reads.
        """
        self.check_features(features)
        x, mask = features[self.features], features.get(key_of(MASK, self.features))
        if mask is not None:
            x = AttachMask(name=f"{self.name}_mask")([x, mask])
        others = [features[after_key(task)] for task in self.joined_tasks()]
        if others:
            x = JoinFeatures(name=f"{self.name}_joined")([x, *others])
        if self.dropout:
            x = keras.layers.Dropout(self.dropout, name=f"{self.name}_dropout")(x)
        return self._hidden_features(x)

    def joined_tasks(self) -> list[str]:
        """Return the tasks whose parts are joined with the head's features; by default all those in `after`."""
        return list(self.after)

    def check_features(self, features: Mapping[str, keras.KerasTensor]) -> None:
        """Raise unless the encoder returns the features that the task reads.

        Raises:
            ValueError: naming them.
        """
        if self.features not in features:
            given = sorted({*features} - {*map(after_key, self.after)})
            raise ValueError(
                f"Task '{self.name}' reads features['{self.features}'], but the encoder gives {given}. "
                "Choose another encoder, or set the task's `features`."
            )

    def _hidden_features(self, x):
        if isinstance(self.hidden_units, keras.layers.Layer):
            config = {**self.hidden_units.get_config(), "name": f"{self.name}_hidden"}
            return type(self.hidden_units).from_config(config)(x)
        *first, last = self.hidden_units if isinstance(self.hidden_units, list) else [self.hidden_units]
        for number, units in enumerate(first, 1):
            x = self.dense(units, f"{self.name}_hidden_{number}", activation="relu", dtype=None)(x)
        return self.dense(last, f"{self.name}_hidden", activation="relu", dtype=None)(x) if last else x

    def dense(self, units: int, name: str, **options: Any) -> keras.layers.Dense:
        """Return a dense layer of the head: float32, with the task's `kernel_regularizer`."""
        return keras.layers.Dense(
            units, **{"dtype": "float32", "kernel_regularizer": self.kernel_regularizer, "name": name, **options}
        )

    def readable(self, output: keras.KerasTensor, part: str) -> keras.KerasTensor:
        """Return a part of the head that other tasks read, from the symbolic output.

        Args:
            output: What `head` returned.
            part: "output", "probabilities" or "hidden".

        Raises:
            ValueError: if the head does not have this part.
        """
        if part == "output":
            return output
        tensor = self.probabilities(output) if part == "probabilities" else layer_output(output, f"{self.name}_hidden")
        if tensor is None:
            remedy = "set its `hidden_units`" if part == "hidden" else "read its output"
            name = "hidden layer" if part == "hidden" else part
            raise ValueError(f"`after` reads the {name} of task '{self.name}', which has none: {remedy}.")
        return tensor

    def probabilities(self, output: keras.KerasTensor) -> keras.KerasTensor | None:
        """Return the symbolic probabilities for a symbolic output; by default None, for tasks without them."""
        return None

    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the output of the layer with the task's name."""
        return self.dense(self.output_units, self.name)(x)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "name": self.name,
            "features": self.features,
            "hidden_units": (
                keras.saving.serialize_keras_object(self.hidden_units)
                if isinstance(self.hidden_units, keras.layers.Layer)
                else self.hidden_units
            ),
            "dropout": self.dropout,
            "after": self.after,
            "after_gradients": self.after_gradients,
            "layers": self.layers,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }

    def use_layers_of(self, model: keras.Model) -> None:
        """Replace layers among the task's arguments by those of the loaded model that it belongs to; by default none.

        Args:
            model: The model.
        """
        return

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Task":
        """Return a task from `get_config`'s dict."""
        hidden = config.get("hidden_units")
        if isinstance(hidden, dict):
            config = {**config, "hidden_units": keras.saving.deserialize_keras_object(hidden)}
        return cls(**config)


def layer_output(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor | None:
    """Return the output of the layer of some name on the way to a symbolic tensor; None if there is none."""
    stack, seen = [tensor], set()
    while stack:
        tensor = stack.pop()
        operation, node_index, _ = tensor._keras_history
        if operation.name == name:
            return tensor
        if id(tensor) not in seen:
            seen.add(id(tensor))
            stack += operation._inbound_nodes[node_index].input_tensors
    return None
