"""The options of cross-entropy that tasks with binary labels share."""

from typing import Any

import keras

from tf_mtl._arguments import in_range
from tf_mtl.losses import CellwiseBinaryCrossentropy, SigmoidFocal


class BinaryCrossentropy:
    """The loss of binary labels with a task's options.

    Args:
        task: The task's name, for messages.
        pos_weight: The factor of positive cells: one number, or one for each label.
        label_smoothing: How far labels are moved towards 1/2.
        focal: The exponent of the focal loss.

    Raises:
        ValueError: if a number is out of range, or the focal loss is combined with another option.
    """

    def __init__(self, task: str, pos_weight: float | list[float], label_smoothing: float, focal: float):
        for number in pos_weight if isinstance(pos_weight, (list, tuple)) else [pos_weight]:
            in_range("pos_weight", number, 0)
        in_range("label_smoothing", label_smoothing, 0, 1, open_high=True)
        if in_range("focal", focal, 0) and (label_smoothing or pos_weight != 1):
            raise ValueError(
                f"`focal` of task '{task}' is not supported together with `pos_weight` or `label_smoothing`. For a "
                f"focal loss with a balance, pass compile(loss={{'{task}': tf_mtl.losses.SigmoidFocal(gamma, alpha)}})."
            )
        self.config: dict[str, Any] = {"pos_weight": pos_weight, "label_smoothing": label_smoothing, "focal": focal}

    def loss(self, plain: keras.losses.Loss) -> keras.losses.Loss:
        """Return the loss, which is `plain` without options."""
        pos_weight, label_smoothing, focal = self.config.values()
        if focal:
            return SigmoidFocal(focal, alpha=None)
        if pos_weight == 1 and not label_smoothing:
            return plain
        return CellwiseBinaryCrossentropy(pos_weight, label_smoothing)
