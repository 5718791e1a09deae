"""Random numbers that depend on the seed alone: they are the same with and without XLA, and on every device.

TensorFlow's stateless operations draw different numbers under XLA, which Keras uses on one device but not on several.
"""

import random
from typing import Any

import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl.balancing._base import Balancing


class WithSeed(Balancing):
    """A method that draws random numbers, with `self.seeds.next()` as the seed of each draw.

    Args:
        seed: Seed of the random numbers; by default one that `keras.utils.set_random_seed` determines.
        name: Name of the layer.

    Raises:
        ValueError: if `seed` is not a non-negative integer.
    """

    def __init__(self, seed: int | None = None, name: str | None = None):
        super().__init__(name=name)
        self.seed = random.randint(1, 2**31 - 1) if seed is None else integer("seed", seed, 0)

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.seeds = SeedSequence(self, self.seed)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


class SeedSequence:
    """Seeds for `uniform` and `normal`: the same on every replica, and a new one at each call.

    Args:
        owner: The method that draws the numbers. Create the sequence in its `build`.
        seed: The first half of every seed.
    """

    def __init__(self, owner: Balancing, seed: int):
        self._seed = seed
        self._count = owner.add_state("seeds", (), dtype="int64")

    def next(self) -> tf.Tensor:
        """Return a new seed, [2]."""
        self._count.assign(self._count + 1)
        return tf.stack([tf.constant(self._seed, tf.int64), tf.convert_to_tensor(self._count)])


def uniform(count: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return numbers in (0, 1), [count], float32: hashes of their indices (Wellons' lowbias32, two rounds).

    Args:
        count: The number of values.
        seed: Two integers, [2].
    """
    seed = tf.cast(seed, tf.uint32)
    indices = tf.cast(tf.range(count), tf.uint32)
    bits = _hashed(_hashed(indices + _hashed(seed[0])) + _hashed(seed[1] + tf.constant(0x9E3779B9, tf.uint32)))
    return (tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) + 0.5) / 2.0**24


def normal(count: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return standard normal numbers, [count], float32."""
    return 2.0**0.5 * tf.math.erfinv(2 * uniform(count, seed) - 1)


def _hashed(bits: tf.Tensor) -> tf.Tensor:
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint32)))
        bits *= tf.constant(factor, tf.uint32)
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(16, tf.uint32)))
