"""Adapters: small task-specific layers after every stage of one encoder."""

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_mtl._arguments import integer
from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._stages import Encoder, on_feature, run, stages


@keras.saving.register_keras_serializable("tf_mtl")
class Adapters(Trunk):
    r"""One encoder, with an adapter for each task after every stage.

    An adapter maps features x [..., C] to x + U relu(D norm(x) + b) + c, with D [C, bottleneck], U [bottleneck, C] and
    layer normalisation (Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019; the position of
    the normalisation as in Bapna and Firat, "Simple, Scalable Adaptation for Neural Machine Translation", EMNLP 2019).
    U starts at zero, so the network starts as the encoder. To train only adapters and heads, freeze the encoder first:
    `encoder.trainable = False`. All stages but the first run once per task.

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
        """Return for each task the features of the encoder with the task's adapters."""
        first, *further = stages("Adapters", self.encoder)
        encoded = run("encoder", first, inputs)
        outputs = {task: self._adapted(encoded, 0, task) for task in tasks}
        for level, stage in enumerate(further, start=1):
            for task in tasks:
                outputs[task] = self._adapted(run("encoder", stage, outputs[task]), level, task)
        return {task: as_features(x) for task, x in outputs.items()}

    def adapter_norms(self, model: keras.Model) -> dict[str, dict[str, float]]:
        """Return for each task the norm of every adapter's D U.

        Args:
            model: A model built with this trunk.
        """
        adapters = [layer for layer in model._flatten_layers() if isinstance(layer, Adapter)]
        return {
            task: {a.name: a.norm_of_change() for a in adapters if re.fullmatch(rf"adapter_\d+(x\d+)?_{task}", a.name)}
            for task in model.output
        }

    def _adapted(self, output, level, task):
        adapters: dict[int, Adapter] = {}  # features of one width share an adapter

        def adapt(x):
            width = x.shape[-1]
            if width not in adapters:
                suffix = f"x{width}" if adapters else ""
                adapters[width] = Adapter(self.bottleneck, name=f"adapter_{level}{suffix}_{task}")
            return adapters[width](x)

        return on_feature(adapt, output)


@keras.saving.register_keras_serializable("tf_mtl")
class Adapter(keras.layers.Layer):
    """A residual bottleneck from features [..., C] to features [..., C] that starts as the identity."""

    def __init__(self, bottleneck: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.bottleneck = bottleneck
        self.supports_masking = True
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=self.dtype_policy, name="norm")
        self.down = keras.layers.Dense(bottleneck, "relu", dtype=self.dtype_policy, name="down")

    def build(self, input_shape: Any) -> None:
        """Create the layers' variables."""
        self.up = keras.layers.Dense(input_shape[-1], kernel_initializer="zeros", dtype=self.dtype_policy, name="up")
        self.norm.build(input_shape)
        self.down.build(input_shape)
        self.up.build((*input_shape[:-1], self.bottleneck))

    def call(self, inputs: Any) -> Any:
        """Return the adapted features."""
        return inputs + self.up(self.down(self.norm(inputs)))

    def norm_of_change(self) -> float:
        """Return the Frobenius norm of D U, [C, C]."""
        down, up = (np.asarray(layer.kernel, "float64") for layer in (self.down, self.up))
        return float(np.linalg.norm(down @ up))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bottleneck": self.bottleneck}
