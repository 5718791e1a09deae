"""An encoder of tables: numeric columns, and categorical ones with embeddings."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tf_mtl._arguments import integer


@keras.saving.register_keras_serializable("tf_mtl")
class TabularEncoder(keras.layers.Layer):
    """Embeddings of categorical columns, concatenated with numeric columns.

    From `{column: [B] or [B, 1]}` to vectors [B, D], where D is `dim` times the number of categorical columns plus the
    number of numeric ones. Numeric columns should be standardised. Categorical columns contain indices; the embedding
    of an index outside the column's range is zero. `from_features` builds the encoder from an adapted
    `keras.utils.FeatureSpace`, which computes both kinds from raw columns.

    The gradient of the embeddings is dense. With a sparse gradient, Keras' Adam would square the gradient of each row
    of the batch separately, and in a column with few categories each category occurs in many rows.

    Args:
        numeric: Names of the numeric columns.
        categorical: `{column: number of categories}`.
        dim: Width of each column's embeddings.
        dropout: Fraction of the vectors' entries that is dropped in training.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Raises:
        TypeError: if `numeric` is a string.
        ValueError: if no column is named, if a column is named twice, or for a number of categories below one.

    Example:

    >>> encoder = mtl.encoders.TabularEncoder(["age"], {"job": 5, "city": 9}, dim=4)
    >>> encoder({"age": np.array([0.3, -1.2]), "job": np.array([4, 0]), "city": np.array([1, 8])}).shape
    TensorShape([2, 9])
    """

    def __init__(
        self,
        numeric: Sequence[str] = (),
        categorical: Mapping[str, int] | None = None,
        dim: int = 8,
        dropout: float = 0.0,
        name: str = "tabular_encoder",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        if isinstance(numeric, str):
            raise TypeError(f"`numeric` must be a list of columns, received {numeric!r}. Write [{numeric!r}].")
        self.numeric = list(numeric)
        self.categorical = {
            column: integer(f"categorical[{column!r}]", number, 1) for column, number in (categorical or {}).items()
        }
        both = sorted(set(self.numeric) & set(self.categorical))
        if not self.numeric and not self.categorical:
            raise ValueError("`numeric` and `categorical` must name at least one column, received none.")
        if both or len(set(self.numeric)) < len(self.numeric):
            raise ValueError(
                f"`numeric` and `categorical` must name each column once, received {both or self.numeric}."
            )
        self.dim = dim
        self.dropout = dropout
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    @classmethod
    def from_features(cls, features: keras.utils.FeatureSpace, **kwargs: Any) -> "TabularEncoder":
        """Return an encoder of the columns that an adapted `FeatureSpace` with `output_mode="dict"` returns.

        Columns of indices are categorical, columns of floats numeric.

        Args:
            features: The adapted feature space; categorical features must have `output_mode="int"`.
            **kwargs: See `TabularEncoder`.

        Raises:
            ValueError: if a feature is neither one float nor one index per row.

        Example:

        >>> space = keras.utils.FeatureSpace(
        ...     {
        ...         "age": "float_normalized",
        ...         "job": keras.utils.FeatureSpace.string_categorical(output_mode="int"),
        ...     },
        ...     output_mode="dict",
        ... )
        >>> space.adapt({"age": [20.0, 40.0, 60.0], "job": ["cook", "smith", "cook"]})
        >>> mtl.encoders.TabularEncoder.from_features(space).categorical
        {'job': 3}
        """
        numeric, categorical = [], {}
        for name, encoded in features.get_encoded_features().items():
            number = _number_of_categories(features.preprocessors.get(name) or features.crossers.get(name))
            if encoded.shape[1:] != (1,) or (number is None and not keras.backend.is_float_dtype(encoded.dtype)):
                raise ValueError(
                    f"Feature '{name}' must be one float or one index per row, received {encoded.dtype} of shape "
                    f"{encoded.shape}. Give it output_mode='int', and the FeatureSpace output_mode='dict'."
                )
            if number is None:
                numeric.append(name)
            else:
                categorical[name] = number
        return cls(numeric, categorical, **kwargs)

    def inputs(self) -> dict[str, keras.KerasTensor]:
        """Return a symbolic input [B, 1] for each column."""
        dtypes = {**dict.fromkeys(self.numeric, "float32"), **dict.fromkeys(self.categorical, "int32")}
        return {column: keras.Input((1,), dtype=dtype, name=column) for column, dtype in dtypes.items()}

    def build(self, input_shape: Any) -> None:
        """Create one table with the embeddings of all columns, for a dict of shapes.

        Raises:
            ValueError: if a column is missing, or has several values per row.
        """
        missing = [column for column in [*self.numeric, *self.categorical] if column not in input_shape]
        if missing:
            raise ValueError(
                f"`inputs` of TabularEncoder must have the columns {missing} as well, received {sorted(input_shape)}."
            )
        for column in [*self.numeric, *self.categorical]:
            if tuple(input_shape[column][1:]) not in ((), (1,)):
                raise ValueError(f"Column '{column}' must be [B] or [B, 1], received the shape {input_shape[column]}.")
        sizes = list(self.categorical.values())
        self.sizes = np.array(sizes, "int32")
        self.first = np.cumsum([0, *sizes])[:-1].astype("int32")
        if sizes:
            self.embeddings = self.add_weight(shape=(sum(sizes), self.dim), initializer="uniform", name="embeddings")

    def call(self, inputs: Any) -> Any:
        """Return vectors [B, D]."""
        parts = []
        if self.categorical:
            embedded = self.embedded({column: inputs[column] for column in self.categorical})
            parts.append(keras.ops.reshape(embedded, (-1, len(self.categorical) * self.dim)))
        if self.numeric:
            parts.append(keras.ops.stack([_flat(inputs[column], self.compute_dtype) for column in self.numeric], 1))
        return self.drop(keras.ops.concatenate(parts, 1))

    def embedded(self, columns: Any) -> Any:
        """Return the embeddings [B, columns, dim] of the categorical columns, a dict in their order."""
        indices = keras.ops.stack([_flat(column, "int32") for column in columns.values()], 1)
        table = self.embeddings * 1  # the gradient of the variable itself would be sparse
        in_range = (indices >= 0) & (indices < self.sizes)
        embedded = keras.ops.take(table, keras.ops.where(in_range, indices, 0) + self.first, axis=0)
        return embedded * keras.ops.cast(in_range, embedded.dtype)[..., None]

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        """Return [B, D]."""
        rows = next(iter(input_shape.values()))[0]
        return (rows, len(self.categorical) * self.dim + len(self.numeric))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "numeric": list(self.numeric),
            "categorical": dict(self.categorical),
            "dim": self.dim,
            "dropout": self.dropout,
        }


def _flat(column, dtype):
    return keras.ops.reshape(keras.ops.cast(column, dtype), (-1,))


def _number_of_categories(layer):
    """Return how many indices a preprocessing layer may return, or None for a layer that returns floats."""
    if isinstance(layer, (keras.layers.StringLookup, keras.layers.IntegerLookup)):
        return layer.vocabulary_size()
    if isinstance(layer, (keras.layers.Hashing, keras.layers.HashedCrossing)):
        return layer.num_bins
    return len(layer.bin_boundaries) + 1 if isinstance(layer, keras.layers.Discretization) else None
