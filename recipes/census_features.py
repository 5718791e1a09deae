"""Features from the census' columns, by the same code in training and in the exported model."""

from collections.abc import Iterable, Mapping
from typing import Any

import census_data
import keras
import numpy as np
import tensorflow as tf

LONG_TAILED = ("wage_per_hour", "capital_gains", "capital_losses", "dividends_from_stocks")
MAX_VALUES = 400  # a number's most frequent values, which get embeddings


def derived(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns, every number also as a category, and the logarithms of long-tailed numbers."""
    numbers = [name for name in census_data.NUMERIC if name in columns]
    values = {f"{name}_value": keras.ops.cast(columns[name], "int64") for name in numbers}
    logarithms = {f"log_{name}": keras.ops.log1p(columns[name]) for name in numbers if name in LONG_TAILED}
    return {**columns, **values, **logarithms}


def feature_space(columns: Mapping[str, np.ndarray]) -> keras.utils.FeatureSpace:
    """Return a feature space adapted to raw columns."""
    feature, features = keras.utils.FeatureSpace, {}
    columns = {name: np.asarray(values) for name, values in derived(columns).items()}
    for name, values in columns.items():
        if values.dtype == object:
            features[name] = feature.string_categorical(output_mode="int")
        elif values.dtype == np.int64:
            features[name] = feature.integer_categorical(max_tokens=MAX_VALUES, output_mode="int")
        else:
            features[name] = feature.float_normalized()
    space = keras.utils.FeatureSpace(features, output_mode="dict")
    space.adapt(tf.data.Dataset.from_tensors({name: values.tolist() for name, values in columns.items()}))
    return space


def encode(space: keras.utils.FeatureSpace, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the indices and standardized numbers of raw columns."""
    features = space({name: tf.constant(np.asarray(values).tolist()) for name, values in derived(columns).items()})
    return {
        name: values.numpy().astype(np.int32 if values.dtype.is_integer else np.float32)
        for name, values in features.items()
    }


def preprocessor(space: keras.utils.FeatureSpace, columns: Iterable[str]) -> keras.Model:
    """Return the same as a model of raw columns [B] by name, for an export."""
    inputs = {
        name: keras.Input((), dtype="float32" if name in census_data.NUMERIC else "string", name=name)
        for name in columns
    }
    encoder = keras.Model(dict(space.get_inputs()), space.get_encoded_features())
    columns = {name: keras.ops.expand_dims(values, -1) for name, values in derived(inputs).items()}
    return keras.Model(inputs, encoder(columns))
