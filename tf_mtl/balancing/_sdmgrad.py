"""Direction-oriented stochastic multi-objective gradient descent."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range, integer
from tf_mtl.balancing import _simplex
from tf_mtl.balancing._base import Weighting
from tf_mtl.balancing._preference import Preference, WithPreference


@keras.saving.register_keras_serializable("tf_mtl")
class SDMGrad(WithPreference, Weighting):
    r"""SDMGrad: a common descent direction regularized towards the mean gradient, from two independent samples.

    A is $J_1 J_2^\top$ on two halves of the batch, divided by the square of the mean gradient length. w [T] takes steps
    with momentum on $A (w + \lambda p)$, each followed by a projection onto the simplex. It starts at $1/T$, and each
    call continues from the last one. If a task lacks labels in one of the halves, its w does not change, and those of
    the other tasks sum to 1. The weights of the whole batch's gradients are $(w + \lambda p) / (1 + \lambda)$. The
    paper draws a third sample for these gradients; here it is the two halves together.

    Needs: the Gramian of two halves of the batch.
    Cost: two backward passes per task.
    Reference: Xiao, Ban & Ji, "Direction-oriented Multi-objective Learning: Simple and Provable Stochastic Algorithms",
        NeurIPS 2023.

    Args:
        lam: lambda, the pull towards the mean gradient, at least 0; 0.3 in the authors' experiments.
        steps: The number of steps of w per call; 20 in the authors' code.
        learning_rate: Step size of w; 10 in the authors' code, on the scaled Gramian.
        momentum: Momentum of the steps, in [0, 1); 0.5 in the authors' code. It is reset at each call.
        preference: p, the tasks' importance: `{task: importance}`, or a list in their order. Scaled to the sum 1.
        name: Name of the layer.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> mtl.balancing.SDMGrad()(np.eye(2)).numpy().round(4).tolist()
    [0.5, 0.5]
    """

    needs_half_batches = True

    def __init__(
        self,
        lam: float = 0.3,
        steps: int = 20,
        learning_rate: float = 10.0,
        momentum: float = 0.5,
        preference: Preference = None,
        name: str | None = None,
    ):
        super().__init__(preference, name)
        self.lam = in_range("lam", lam, 0)
        self.steps = integer("steps", steps, 1)
        self.learning_rate = in_range("learning_rate", learning_rate, 0)
        self.momentum = in_range("momentum", momentum, 0, 1, open_high=True)

    def build(self, input_shape: tuple[int, ...]) -> None:
        size = input_shape[0]
        super().build(input_shape)
        self.simplex = self.add_state("simplex", (size,), keras.initializers.Constant(1 / size))

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T] of two halves of the batch, and update the state."""
        squares = tf.nn.relu(tf.linalg.diag_part(gramian))
        scale = tf.reduce_mean(tf.sqrt(squares + 1e-4)) ** 2
        scaled = tf.cast(gramian / tf.cast(scale, gramian.dtype), tf.float32)
        target = tf.constant(self.lam * self.importance, tf.float32)
        present = tf.linalg.diag_part(gramian) != 0

        def step(count: tf.Tensor, point: tf.Tensor, velocity: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            velocity = self.momentum * velocity + tf.linalg.matvec(scaled, point + target)
            point = tf.where(present, point - self.learning_rate * velocity, -1e30)
            return count + 1, _simplex.project_on_simplex(point), velocity

        def descent(start: tf.Tensor) -> tf.Tensor:
            initial = (0, start, tf.zeros_like(start))
            return tf.while_loop(lambda count, *_: count < self.steps, step, initial)[1]

        weights, point = _simplex.move_on_simplex(tf.convert_to_tensor(self.simplex), present, descent)
        self.simplex.assign(point)
        return tf.cast((weights + target) / (1 + self.lam), gramian.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "lam": self.lam,
            "steps": self.steps,
            "learning_rate": self.learning_rate,
            "momentum": self.momentum,
        }
