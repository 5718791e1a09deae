"""The options of cross-entropy that tasks with one of several classes share."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_mtl._arguments import in_range
from tf_mtl._names import nearest
from tf_mtl.losses import ClassCrossentropy


class Crossentropy:
    """The loss of class indices with a task's options.

    Args:
        task: The task's name, for messages.
        labels: The names of the classes.
        class_weights: `{label: factor}`; None for none.
        label_smoothing: The probability spread evenly over all classes.
        focal: The exponent of the focal loss.

    Raises:
        ValueError: for weights of unknown labels, numbers out of range, or label smoothing with the focal loss.
    """

    def __init__(
        self,
        task: str,
        labels: Sequence[str],
        class_weights: Mapping[str, float] | None,
        label_smoothing: float,
        focal: float,
    ):
        if class_weights is not None:
            if not isinstance(class_weights, Mapping):
                raise ValueError(
                    f"`class_weights` of task '{task}' must be {{label: weight}}, received {class_weights!r}. "
                    "tf_mtl.data.balanced_class_weights computes balanced ones from data."
                )
            class_weights = {str(label): weight for label, weight in class_weights.items()}
            unknown = next((label for label in class_weights if label not in labels), None)
            if unknown is not None:
                raise ValueError(
                    f"`class_weights` of task '{task}' must name its labels {list(labels)}, received {unknown!r}."
                    f"{nearest(str(unknown), labels)}"
                )
            class_weights = {label: float(in_range("class_weights", w, 0)) for label, w in class_weights.items()}
        in_range("focal", focal, 0)
        self.config: dict[str, Any] = {
            "class_weights": class_weights,
            "label_smoothing": label_smoothing,
            "focal": focal,
        }
        self._labels = labels
        self.loss()  # checks the numbers

    def loss(self) -> keras.losses.Loss:
        """Return the loss: that of Keras without options."""
        if not any(self.config.values()):
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        by_label = self.config["class_weights"]
        weights = None if by_label is None else [by_label.get(label, 1.0) for label in self._labels]
        return ClassCrossentropy(weights, self.config["label_smoothing"], self.config["focal"])
