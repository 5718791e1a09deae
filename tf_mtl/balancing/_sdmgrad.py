"""Direction-oriented stochastic multi-objective gradient descent."""

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl.balancing import _solvers
from tf_mtl.balancing._arguments import Preference, importance, in_range, preferred
from tf_mtl.balancing._base import Weighting


@keras.saving.register_keras_serializable("tf_mtl")
class SDMGrad(Weighting):
    r"""SDMGrad: a common descent direction held near the mean gradient, from two independent samples.

    With $A = J_1 J_2^\top$ on two halves of the batch, over its mean squared gradient length, w [T] takes steps with
    momentum on $A (w + \lambda p)$, each followed by a projection on the simplex; it begins at $1/T$ and goes on
    from step to step. A task without labels in either half keeps its w, and the others share the simplex. The weights
    of the whole batch's gradients are $(w + \lambda p) / (1 + \lambda)$. The paper's third sample is the two halves
    together here.

    Needs: the Gramian of two halves of the batch.
    Cost: two backward passes per task.
    Reference: Xiao, Ban & Ji, "Direction-oriented Multi-objective Learning: Simple and Provable Stochastic Algorithms",
        NeurIPS 2023.

    Args:
        lam: lambda, the pull towards the mean gradient, not negative; 0.3 in the authors' runs.
        steps: Steps on w per call; 20 in the authors' code.
        learning_rate: Step size of w; 10 in the authors' code, on the scaled Gramian.
        momentum: In [0, 1); 0.5 in the authors' code. It begins anew at each call.
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
        super().__init__(name=name)
        self.lam = in_range("lam", lam, 0)
        self.steps = integer("steps", steps, 1)
        self.learning_rate = in_range("learning_rate", learning_rate, 0)
        self.momentum = in_range("momentum", momentum, 0, 1, open_high=True)
        self.preference = preferred(preference)

    def build(self, input_shape):
        size = input_shape[0]
        self.importance = importance(self.preference, self.tasks, size)
        self.simplex = self.add_state("simplex", (size,), keras.initializers.Constant(1 / size))

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T] of two halves of the batch, and update the state."""
        squares = tf.nn.relu(tf.linalg.diag_part(gramian))
        scale = tf.reduce_mean(tf.sqrt(squares + 1e-4)) ** 2
        scaled = tf.cast(gramian / tf.cast(scale, gramian.dtype), tf.float32)
        target = tf.constant(self.lam * self.importance, tf.float32)

        present = tf.linalg.diag_part(gramian) != 0

        def step(done, point, speed):
            speed = self.momentum * speed + tf.linalg.matvec(scaled, point + target)
            return done + 1, self._projected(point - self.learning_rate * speed, present), speed

        def moved(start):
            state = (0, start, tf.zeros_like(start))
            return tf.while_loop(lambda done, *_: done < self.steps, step, state)[1]

        weights, point = _solvers.move_on_simplex(tf.convert_to_tensor(self.simplex), present, moved)
        self.simplex.assign(point)
        return tf.cast((weights + target) / (1 + self.lam), gramian.dtype)

    def _projected(self, point, present):
        return _solvers.project_on_simplex(tf.where(present, point, -1e30))

    def get_config(self):
        return {
            **super().get_config(),
            "lam": self.lam,
            "steps": self.steps,
            "learning_rate": self.learning_rate,
            "momentum": self.momentum,
            "preference": self.preference,
        }
