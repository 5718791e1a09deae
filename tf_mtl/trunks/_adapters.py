"""Adapters: small layers of each task's own after every stage of one encoder."""

from collections.abc import Sequence
from typing import Any

import keras

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._stages import Encoder, on_features, run, stages


@keras.saving.register_keras_serializable("tf_mtl")
class Adapters(Trunk):
    r"""One encoder, with an adapter of each task's own after every stage.

    An adapter makes of features x [..., C] x + U relu(D norm(x) + b) + c, with D [C, bottleneck], U [bottleneck, C] and
    layer normalisation (Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019; the place of
    the normalisation as in Bapna and Firat, "Simple, Scalable Adaptation for Neural Machine Translation", EMNLP 2019).
    U starts at zero, and so the network as the encoder. To train adapters and heads alone, freeze the encoder's layers
    first: `encoder.trainable = False`. All stages but the first run once per task.

    Args:
        encoder: An encoder in stages: a list of layers, a `keras.Sequential`, or an encoder with `stages`, such as
            `tf_mtl.encoders.BackboneEncoder` around a keras-hub text backbone.
        bottleneck: Width of the adapters. Our default; the paper tries 2 to 256.

    Raises:
        ValueError: if the encoder has no stages, or for a `bottleneck` below one.

    Example:

    >>> trunk = mtl.trunks.Adapters([keras.layers.Dense(8, "relu"), keras.layers.Dense(4)], bottleneck=2)
    >>> trunk(keras.Input((3,)), ["a", "b"])["a"]["pooled"].shape
    (None, 4)
    """

    def __init__(self, encoder: Encoder, bottleneck: int = 16):
        stages("Adapters", encoder)
        self.encoder = encoder
        self.bottleneck = integer("bottleneck", bottleneck, 1)

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task the features of the encoder with its adapters."""
        outputs = {}
        for level, stage in enumerate(stages("Adapters", self.encoder)):
            first = run("encoder", stage, inputs) if level == 0 else None
            for task in tasks:
                x = first if level == 0 else run("encoder", stage, outputs[task])
                adapter = Adapter(self.bottleneck, name=f"adapter_{level}_{task}")
                outputs[task] = on_features(lambda x, adapter=adapter: [adapter(x[0])], [x])[0]
        return {task: as_features(x) for task, x in outputs.items()}


@keras.saving.register_keras_serializable("tf_mtl")
class Adapter(keras.layers.Layer):
    """From features [..., C] to features [..., C], by a residual bottleneck that starts as the identity."""

    def __init__(self, bottleneck: int, **kwargs):
        super().__init__(**kwargs)
        self.bottleneck = bottleneck
        self.supports_masking = True
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=self.dtype_policy, name="norm")
        self.down = keras.layers.Dense(bottleneck, "relu", dtype=self.dtype_policy, name="down")

    def build(self, input_shape):
        """Make the layers' variables."""
        self.up = keras.layers.Dense(input_shape[-1], kernel_initializer="zeros", dtype=self.dtype_policy, name="up")
        self.norm.build(input_shape)
        self.down.build(input_shape)
        self.up.build((*input_shape[:-1], self.bottleneck))

    def call(self, inputs):
        """Return the adapted features."""
        return inputs + self.up(self.down(self.norm(inputs)))

    def get_config(self):
        return {**super().get_config(), "bottleneck": self.bottleneck}
