"""Features of the census' columns: the same code for the training data and in the exported model."""

from collections.abc import Iterable, Mapping
from typing import Any

import census_data
import keras
import numpy as np
import tensorflow as tf

HEAVY = ("wage_per_hour", "capital_gains", "capital_losses", "dividends_from_stocks")
VALUES = 400  # of a number that get an embedding, the most frequent ones


def derived(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Add every number's value as a category, and the logarithms of those with a long tail."""
    values = {f"{name}_value": keras.ops.cast(columns[name], "int64") for name in census_data.NUMERIC}
    return {**columns, **values, **{f"log_{name}": keras.ops.log1p(columns[name]) for name in HEAVY}}


def feature_space(columns: Mapping[str, np.ndarray]) -> keras.utils.FeatureSpace:
    """Return a feature space adapted to raw columns."""
    make, kinds = keras.utils.FeatureSpace, {}
    columns = {name: np.asarray(values) for name, values in derived(columns).items()}
    for name, values in columns.items():
        if values.dtype == object:
            kinds[name] = make.string_categorical(output_mode="int")
        elif values.dtype == np.int64:
            kinds[name] = make.integer_categorical(max_tokens=VALUES, output_mode="int")
        else:
            kinds[name] = make.float_normalized()
    space = keras.utils.FeatureSpace(kinds, output_mode="dict")
    space.adapt(tf.data.Dataset.from_tensors({name: values.tolist() for name, values in columns.items()}))
    return space


def encoded(space: keras.utils.FeatureSpace, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return indices and standardised numbers of raw columns."""
    found = space({name: tf.constant(np.asarray(values).tolist()) for name, values in derived(columns).items()})
    return {
        name: values.numpy().astype(np.int32 if values.dtype.is_integer else np.float32)
        for name, values in found.items()
    }


def preprocessor(space: keras.utils.FeatureSpace, columns: Iterable[str]) -> keras.Model:
    """Return the same as a model of raw columns [B], by name, which an export takes."""
    inputs = {
        name: keras.Input((), dtype="float32" if name in census_data.NUMERIC else "string", name=name)
        for name in columns
    }
    encode = keras.Model(dict(space.get_inputs()), space.get_encoded_features())
    return keras.Model(inputs, encode({k: keras.ops.expand_dims(v, -1) for k, v in derived(inputs).items()}))
