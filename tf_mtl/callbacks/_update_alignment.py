"""Log how far the optimizer turns away from the direction that balancing gave."""

from typing import Any

import keras


class UpdateAlignment(keras.callbacks.Callback):
    r"""Logs `alignment`: the cosine between the change of the shared variables and the balanced direction, over steps.

    $$\cos(\theta - \theta', d)$$

    $d$ is the gradient that the balancing method gives the optimizer, penalties included, $\theta'$ the variables after
    the step. It is 1 for plain SGD. Momentum, the division by the gradients' magnitude in Adam, clipping by value and
    weight decay turn the step: the lower the alignment, the less remains of what the method has balanced. Each epoch
    logs the mean over its steps, without those that were skipped. Each step copies the shared variables; the training
    step is traced once more.

    Place it before `tf_mtl.callbacks.Checkpoint`: a run that is resumed mid-epoch then counts the earlier steps.

    Raises:
        ValueError: in `fit`, for a model whose tasks share no trainable variable.

    Example:

    >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    >>> model = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression(name) for name in ("a", "b")])
    >>> model.compile("sgd", balancing="upgrad")
    >>> data = np.eye(4), {"a": np.ones(4), "b": np.zeros(4)}
    >>> history = model.fit(*data, callbacks=[mtl.callbacks.UpdateAlignment()], verbose=0)
    >>> round(history.history["alignment"][0], 3)
    1.0
    """

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin to measure."""
        self.model._measure_alignment()
