"""From the forms of data that Keras takes to those that the pipeline works with."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.trainers.data_adapters import data_adapter_utils

_TENSORS = (np.ndarray, tf.Tensor, tf.SparseTensor, tf.RaggedTensor)


def arrays(data: Any) -> Any:
    """Return data with lists as tuples, which `tf.data` does not stack, and data frames and the like as arrays."""
    return keras.tree.map_structure(_array, keras.tree.lists_to_tuples(data), none_is_leaf=True)


def _array(leaf):
    if data_adapter_utils.is_scipy_sparse(leaf):
        return data_adapter_utils.scipy_sparse_to_tf_sparse(leaf)
    return leaf if isinstance(leaf, _TENSORS) or not hasattr(leaf, "__array__") else np.asarray(leaf)
