"""How far the optimizer turns away from the direction that balancing gave."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tf_mtl._engine.gradients import Gradient


class Alignment(keras.metrics.Mean):
    """The mean, over steps, of the cosine between the shared variables' changes and the balanced direction.

    Args:
        shared: The shared variables.
    """

    def __init__(self, shared: Sequence[keras.Variable]):
        super().__init__(name="alignment")
        self._shared = tuple(shared)

    def values(self) -> list[tf.Tensor]:
        """Read the shared variables, before the update."""
        return [tf.identity(v.value) for v in self._shared]

    def update_from(self, before: Sequence[tf.Tensor], gradients: Sequence[tuple[Gradient, keras.Variable]]) -> None:
        """Count a step, unless nothing moved, there was no gradient, or one was too large.

        Args:
            before: What `values` returned before the update.
            gradients: The gradients that the optimizer was given, paired with their variables.
        """
        by_variable = {id(variable): gradient for gradient, variable in gradients}
        sums = []
        for variable, value in zip(self._shared, before, strict=True):
            gradient = by_variable.get(id(variable))  # none while it is frozen
            if gradient is not None:
                against = tf.cast(tf.convert_to_tensor(gradient), tf.float32)
                change = tf.cast(value - variable.value, tf.float32)
                sums.append(tf.stack([tf.reduce_sum(one) for one in (against * change, against**2, change**2)]))
        if sums:
            product, *squares = tf.unstack(tf.add_n(sums))
            norm = tf.sqrt(squares[0]) * tf.sqrt(squares[1])
            counts = (norm > 0) & tf.math.is_finite(norm)
            cosine = tf.where(counts, tf.math.divide_no_nan(product, norm), 0.0)
            self.update_state(cosine, sample_weight=tf.cast(counts, tf.float32))
