"""Matching of queries and documents by their vectors."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._arguments import in_range, integer
from tf_mtl.losses import InBatchSoftmax
from tf_mtl.losses._in_batch_softmax import checked_probabilities
from tf_mtl.metrics import Retrieval
from tf_mtl.tasks._base import Task
from tf_mtl.tasks._raw_labels import EncodedLabels, TextRecords


@keras.saving.register_keras_serializable("tf_mtl")
class Matching(Task):
    """Two vectors of unit length, of a query and a document, which are close if they belong together.

    Each of two features is projected to `units` and divided by its norm. A shared projection begins as an orthogonal
    matrix, which keeps the angles between features that are not larger than `units`. The output [B, 2 x units] has the
    query's vector and then the document's. Each row is a pair that belongs together; the documents of the other rows of
    the global batch are the negatives.

    Further features are hard negatives, documents that are known not to belong to a row's query: their vectors come
    after the document's, pass through its projection, and are negatives of all queries.

    Labels [B] are integers that identify the documents: rows with the same label are never each other's negatives. Pass
    the same number in every row if you do not know duplicates; see `tf_mtl.losses.InBatchSoftmax`. Pairs that do not
    belong together have no label: leave them out, or give them the weight 0. Metrics: `recall@<k>` and `mrr`, among all
    evaluated documents up to `limit`; see `tf_mtl.metrics.Retrieval`. Decoded: `query` and `document`, the vectors
    [B, units], and `score`, their cosine similarity [B]. Exports also have the signatures `<name>_query` and
    `<name>_document`, which give one vector and need only the inputs of its tower.

    Args:
        name: The task's name.
        units: Size of each vector.
        features: The features of the query, of the document and of hard negatives, if any, such as those of
            `tf_mtl.encoders.Towers`.
        shared_projection: Whether both features pass through the same projection, as for pairs of one kind.
        temperature: By which the loss divides scores.
        symmetric: Whether the loss also finds each document's query among the queries.
        document_probabilities: How probable each document is in a row, by its label, for the logQ correction; see
            `tf_mtl.losses.InBatchSoftmax`.
        top: The values of k of `recall@<k>`.
        limit: The largest number of rows that the metrics compare.

    Raises:
        ValueError: for fewer than two `features`, or if a number is out of range.

    Reference: Karpukhin et al., "Dense passage retrieval for open-domain question answering", EMNLP 2020.

    Example:

    One encoder for both texts. Each tower is a model that has only its own input:

    >>> encoder = mtl.encoders.RecurrentEncoder(vocabulary_size=50, dim=8, units=4)
    >>> trunk = mtl.trunks.HardSharing(mtl.encoders.Towers({"query": encoder, "document": encoder}))
    >>> inputs = {key: keras.Input((6,), dtype="int32", name=key) for key in ("query", "document")}
    >>> model = mtl.build_model(inputs, trunk, [mtl.tasks.Matching("match", units=16)])
    >>> tower = keras.Model(model.input["query"], model.get_layer("match_query").output)
    >>> tower(np.array([[4, 7, 9, 0, 0, 0]])).shape
    TensorShape([1, 16])
    """

    def __init__(
        self,
        name: str,
        units: int = 128,
        features: Sequence[str] = ("query", "document"),
        shared_projection: bool = False,
        temperature: float = 0.05,
        symmetric: bool = False,
        document_probabilities: Sequence[float] | None = None,
        top: Sequence[int] = (1, 10),
        limit: int = 4096,
    ):
        super().__init__(name)
        if isinstance(features, str) or len(features) < 2:
            raise ValueError(
                f"`features` of task '{name}' must be two names or more, of the query's, the document's and the hard "
                f"negatives' features, received {features!r}."
            )
        self.sides = tuple(features)
        self.units = integer("units", units, 1)
        self.shared_projection = bool(shared_projection)
        self.temperature = in_range("temperature", temperature, 0, open_low=True)
        self.symmetric = bool(symmetric)
        self.document_probabilities = checked_probabilities(document_probabilities)
        self.top = [integer("top", k, 1) for k in top]
        self.limit = integer("limit", limit, 1)

    @property
    def output_units(self) -> int:
        """The size of all vectors together."""
        return len(self.sides) * self.units

    @property
    def served_alone(self) -> dict[str, str]:
        """The layers of both vectors, which exports also serve by themselves."""
        return {role: f"{self.name}_{role}" for role in ("query", "document")}

    def encode_labels(self, labels: tf.Tensor | tf.RaggedTensor, records: TextRecords) -> EncodedLabels:
        """Return the numbers of documents; a negative one is a missing label."""
        encoded = super().encode_labels(labels, records)
        is_labelled = encoded.values >= 0
        return EncodedLabels(np.maximum(encoded.values, 0), encoded.weights * is_labelled)

    @property
    def loss(self) -> keras.losses.Loss:
        """The cross-entropy of each query's document among the documents of the global batch."""
        return InBatchSoftmax(self.temperature, self.symmetric, len(self.sides) - 2, self.document_probabilities)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return recall@k and MRR, in one metric."""
        return [Retrieval(self.units, self.top, self.limit)]

    def head(self, features: Mapping[str, keras.KerasTensor]) -> keras.KerasTensor:
        """Return all vectors, each of unit length, [B, n x units].

        Raises:
            ValueError: if the encoder does not return the features.
        """
        missing = [feature for feature in self.sides if feature not in features]
        if missing:
            raise ValueError(
                f"Task '{self.name}' reads features['{missing[0]}'], but the encoder gives {sorted(features)}. Use "
                "tf_mtl.encoders.Towers, or set the task's `features`."
            )
        negatives = range(1, len(self.sides) - 1)
        roles = ["query", "document", *(f"hard_negative_{number}" for number in negatives)]
        names = [f"{'query' if role == 'query' else 'document'}_projection" for role in roles]
        names = ["projection"] * len(roles) if self.shared_projection else names
        initializer = "orthogonal" if self.shared_projection else "glorot_uniform"
        projections = {
            name: keras.layers.Dense(
                self.units, kernel_initializer=initializer, dtype="float32", name=f"{self.name}_{name}"
            )
            for name in dict.fromkeys(names)
        }
        vectors = [
            keras.layers.UnitNormalization(dtype="float32", name=f"{self.name}_{role}")(
                projections[name](features[feature])
            )
            for role, name, feature in zip(roles, names, self.sides, strict=True)
        ]
        return keras.layers.Concatenate(dtype="float32", name=self.name)(vectors)

    def predictions(self, output: tf.Tensor) -> tf.Tensor:
        """Return the vectors of queries and documents, [B, 2 x units]."""
        return output[:, : 2 * self.units]

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `query` and `document`, both [B, units], and `score` [B], from all vectors [B, n x units]."""
        query, document = tf.split(self.predictions(tf.cast(output, tf.float32)), 2, -1)
        return {"query": query, "document": document, "score": tf.reduce_sum(query * document, -1)}

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "name": self.name,
            "units": self.units,
            "features": list(self.sides),
            "shared_projection": self.shared_projection,
            "temperature": self.temperature,
            "symmetric": self.symmetric,
            "document_probabilities": self.document_probabilities,
            "top": self.top,
            "limit": self.limit,
        }
