"""From the forms of data that Keras takes to those that the pipeline works with."""

from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from keras.src.trainers.data_adapters import data_adapter_utils

Data: TypeAlias = tuple[Any, Any, Any]

_TENSORS = (np.ndarray, tf.Tensor, tf.SparseTensor, tf.RaggedTensor)


def arrays(data: Any) -> Any:
    """Return data with lists as tuples, which `tf.data` does not stack, and data frames and the like as arrays."""
    return keras.tree.map_structure(_array, keras.tree.lists_to_tuples(data), none_is_leaf=True)


def _array(leaf):
    if data_adapter_utils.is_scipy_sparse(leaf):
        return data_adapter_utils.scipy_sparse_to_tf_sparse(leaf)
    return leaf if isinstance(leaf, _TENSORS) or not hasattr(leaf, "__array__") else np.asarray(leaf)


def unpacked(data: Any) -> Data:
    """Return labelled data as (x, y, sample_weight), with None for what is absent."""
    return keras.utils.unpack_x_y_sample_weight(data) if isinstance(data, (tuple, list)) else (data, None, None)
