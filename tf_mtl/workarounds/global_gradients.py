"""Keras' optimizers clip each replica's gradient, and sum over the replicas afterwards.

So `global_clipnorm`, `clipnorm`, `clipvalue` and the search for infinities of float16 see what one replica found. Here
an optimizer takes gradients that are summed already, and uses them as they are.
"""

import keras

from tf_mtl._optimizers import with_inner


def take_global_gradients(optimizer: keras.optimizers.Optimizer) -> None:
    """Let an optimizer, and those that it wraps, take gradients of the global batch, the same on every replica."""
    for part in with_inner(optimizer):
        part._all_reduce_sum_gradients = list
