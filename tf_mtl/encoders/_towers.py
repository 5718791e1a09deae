"""Encoders of several inputs."""

from collections.abc import Mapping
from typing import Any

import keras


@keras.saving.register_keras_serializable("tf_mtl")
class Towers(keras.layers.Layer):
    """An encoder for each of several inputs, such as a query and a document; inputs may share one.

    From a dict of inputs to a feature of each, its encoder's `pooled` vector [B, D], under the input's key, and
    `pooled`, all of them concatenated. In a functional model, the encoders are layers of the model, so
    `keras.Model(model.input["query"], ...)` has the layers of one tower only.

    Args:
        encoders: `{input: encoder}`. An encoder is a layer or model that returns a vector [B, D], or a dict with
            `pooled`. The same encoder for several inputs is shared; others need different
            names, `RecurrentEncoder(..., name="query_encoder")`. Where no input is called `query`, the encoder gets a
            dict of those that begin with `query_`, without this prefix, as `tf_mtl.text.TwoTexts` returns them.
        name: Name of the layer.
        **kwargs: See `keras.layers.Layer`.

    Raises:
        ValueError: if `encoders` is empty.

    Example:

    >>> encoder = mtl.encoders.RecurrentEncoder(vocabulary_size=50, dim=8, units=4)
    >>> towers = mtl.encoders.Towers({"query": encoder, "document": encoder})
    >>> features = towers({"query": np.array([[4, 7, 0]]), "document": np.array([[9, 3, 8, 2]])})
    >>> {name: tuple(feature.shape) for name, feature in features.items()}
    {'query': (1, 8), 'document': (1, 8), 'pooled': (1, 16)}
    """

    def __init__(self, encoders: Mapping[str, keras.layers.Layer], name: str = "towers", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        if not encoders:
            raise ValueError("`encoders` must contain an encoder for at least one input, received none.")
        self.encoders = dict(encoders)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the features; symbolic inputs pass through the encoders, not through this layer."""
        if any(isinstance(x, keras.KerasTensor) for x in keras.tree.flatten(inputs)):
            return self.call(inputs)
        return super().__call__(inputs, *args, **kwargs)

    def call(self, inputs: Any) -> dict[str, Any]:
        """Return `{input: [B, D], "pooled": [B, ...]}`."""
        vectors = {}
        for key, encoder in self.encoders.items():
            features = encoder(_inputs_of(key, self.encoders, inputs))
            vectors[key] = features["pooled"] if isinstance(features, Mapping) else features
        return {**vectors, "pooled": keras.ops.concatenate(list(vectors.values()), -1)}

    def get_config(self) -> dict[str, Any]:
        distinct = list({id(encoder): encoder for encoder in self.encoders.values()}.values())
        return {
            **super().get_config(),
            "encoders": [keras.saving.serialize_keras_object(encoder) for encoder in distinct],
            "inputs": {key: distinct.index(encoder) for key, encoder in self.encoders.items()},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Towers":
        """Return the layer; inputs that share an encoder still do."""
        inputs = config.pop("inputs")
        encoders = [keras.saving.deserialize_keras_object(encoder) for encoder in config.pop("encoders")]
        return cls({key: encoders[index] for key, index in inputs.items()}, **config)


def _inputs_of(key, keys, inputs):
    """The input of a tower, or a dict of those that begin with its key, and with no longer one."""
    own = {name.removeprefix(f"{key}_"): x for name, x in inputs.items() if _longest(name, keys) == key}
    if key not in inputs and not own:
        raise ValueError(
            f"`inputs` must have the key '{key}', or keys that begin with '{key}_', received {list(inputs)}."
        )
    return inputs.get(key, own)


def _longest(name, keys):
    """The longest key that an input's name begins with; None if there is none."""
    return max((key for key in keys if name.startswith(f"{key}_")), key=len, default=None)
