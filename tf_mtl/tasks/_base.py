"""What a task is: a head, a loss, metrics, and decoding."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from tf_mtl.text import LocatedTexts


class Task(ABC):
    """A named objective: layers from features to one output, its loss, its metrics and how its output is read.

    Subclasses give `output_units`, `loss`, `metrics` and `decode`; the head is common to all that read one vector.

    Args:
        name: The task's name: the key of its output, labels, loss and metrics, and its output layer's name.
        features: The feature vector that the head reads, a key of the encoder's features.
        hidden_units: Width of one hidden ReLU layer of the head's own; none by default.
        dropout: Share of the head's inputs dropped in training.

    Attributes:
        labels: The names of the classes, in the order of the output's last axis; none for tasks without classes.
        labels_words: Whether labels are one per word, so that inputs that mark the words must reach the head.

    Raises:
        ValueError: if the name is not a Python identifier, which serving needs.
    """

    labels: Sequence[str] = ()
    labels_words = False

    def __init__(self, name: str, features: str = "pooled", hidden_units: int | None = None, dropout: float = 0.0):
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(
                f"`name` of a task must be a Python identifier (it names a layer and a served output), "
                f"received {name!r}."
            )
        self.name = name
        self.features = features
        self.hidden_units = hidden_units
        self.dropout = dropout

    @property
    @abstractmethod
    def output_units(self) -> int:
        """Size of the output's last axis."""

    @property
    @abstractmethod
    def loss(self) -> keras.losses.Loss:
        """The task's loss, with one value per row."""

    @abstractmethod
    def metrics(self) -> list[keras.metrics.Metric]:
        """Return new metrics of the task."""

    @abstractmethod
    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the answer in the output [B, ...]: tensors whose first axis is the batch; runs in the graph."""

    def locate(self, answer: Mapping[str, tf.Tensor], located: LocatedTexts) -> dict[str, tf.Tensor]:
        """Return the parts of the texts that a decoded answer points at; by default none.

        Args:
            answer: What `decode` returned.
            located: The texts, and where their words are.
        """
        return {}

    def answer(self, output: tf.Tensor, located: LocatedTexts | None = None) -> dict[str, tf.Tensor]:
        """Return the decoded output, with the parts of the texts that it points at if these are given.

        Args:
            output: The task's output [B, ...].
            located: The texts, and where their words are.
        """
        answer = self.decode(output)
        return answer if located is None else {**answer, **self.locate(answer, located)}

    def valid_mask(self, output: tf.Tensor) -> tf.Tensor | None:
        """Return which positions [B, W] of a sequence are valid; None, the default, if the output is not a sequence.

        Labels at other positions never count, whatever their weights.
        """
        return None

    def predictions(self, output: tf.Tensor) -> tf.Tensor:
        """Return what metrics compare with the labels; by default the output as it is."""
        return output

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the distance of an output from a teacher's, one value per row.

        By default the task's loss with the teacher's output as the label.
        """
        return self.loss.call(target, output)

    def head(self, features: Mapping[str, keras.KerasTensor]) -> keras.KerasTensor:
        """Return the task's symbolic output, float32 under any precision policy, from an encoder's features.

        Raises:
            ValueError: if the encoder does not give the features that the task reads.
        """
        if self.features not in features:
            raise ValueError(
                f"Task '{self.name}' reads features['{self.features}'], but the encoder gives {sorted(features)}. "
                "Choose another encoder, or set the task's `features`."
            )
        x = features[self.features]
        if self.dropout:
            x = keras.layers.Dropout(self.dropout, name=f"{self.name}_dropout")(x)
        if self.hidden_units:
            x = keras.layers.Dense(self.hidden_units, activation="relu", name=f"{self.name}_hidden")(x)
        return self.output_layer(x)

    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the output of the layer that bears the task's name."""
        return keras.layers.Dense(self.output_units, dtype="float32", name=self.name)(x)

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return {
            "name": self.name,
            "features": self.features,
            "hidden_units": self.hidden_units,
            "dropout": self.dropout,
        }

    @classmethod
    def from_config(cls, config: dict) -> "Task":
        """Return a task from `get_config`'s dict."""
        return cls(**config)


def class_names(task: str, labels: Sequence[str] | int, least: int = 2) -> list[str]:
    """Return the names of a task's classes; a number n stands for "0" to "n-1".

    Raises:
        ValueError: for fewer than `least` classes, or for a name that occurs twice.
    """
    names = [str(i) for i in range(labels)] if isinstance(labels, int) else [str(name) for name in labels]
    if len(names) < least or len(set(names)) < len(names):
        raise ValueError(
            f"`labels` of task '{task}' must be at least {least} different names, or their number, received {labels}."
        )
    return names
