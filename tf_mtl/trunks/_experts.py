"""What the gated trunks have in common: experts, gates, mixtures and towers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from tf_mtl.trunks._base import Features, as_features
from tf_mtl.trunks._stages import Encoder, Output, copy, on_features, run


class Expert:
    """A copy of the layers given as `expert`, with new weights, called on each of the features."""

    def __init__(self, layers: Encoder, suffix: str):
        self.layers = copy(layers, suffix, weights=False)

    def __call__(self, x: Any) -> keras.KerasTensor:
        """Return one tensor."""
        output = run("expert", self.layers, x)
        if isinstance(output, Mapping) and len(output) == 1:
            (output,) = output.values()
        if not isinstance(output, keras.KerasTensor):
            raise ValueError(
                f"`expert` must return one tensor, received {output}. Give Dense layers, or a list of them."
            )
        return output


@keras.saving.register_keras_serializable("tf_mtl")
class Mixture(keras.layers.Layer):
    """From gate weights [..., N] and experts' outputs, N tensors [..., E], to their weighted sum [..., E].

    Raises:
        ValueError: if the experts' outputs have other positions than the weights.
    """

    def __init__(self, name: str = "mixture", **kwargs):
        super().__init__(name=name, **kwargs)
        self.supports_masking = True

    def build(self, input_shape):
        """Check the shapes."""
        gate, *experts = input_shape
        if any(len(shape) != len(experts[0]) for shape in [gate, *experts]):
            raise ValueError(
                f"Experts must keep the positions of what they read: the gate's weights have the shape {gate}, the "
                f"experts' outputs {experts[0]}. Let recurrent experts return sequences, and do pooling in a tower."
            )

    def call(self, inputs):
        """Return the weighted sum."""
        gate, *experts = inputs
        stacked = keras.ops.stack(experts, -2)
        return keras.ops.squeeze(keras.ops.matmul(keras.ops.cast(gate, stacked.dtype)[..., None, :], stacked), -2)

    def compute_mask(self, inputs, mask=None):
        return None if mask is None else mask[1]


def softmax_gate(number: int, name: str) -> keras.layers.Layer:
    """Return a gate, softmax(W x) over `number` experts, in float32 under any precision policy."""
    return keras.layers.Dense(number, activation="softmax", use_bias=False, dtype="float32", name=name)


def gated(
    encoded: Output, tasks: Sequence[str], experts: Sequence[Expert], gate: Callable[[str], keras.layers.Layer]
) -> dict[str, Output]:
    """Return for each task the mixture of all experts by its gate; `gate` makes that of a task."""
    gates = [gate(task) for task in tasks]
    mixers = [Mixture(name=f"mixture_{task}") for task in tasks]

    def mix(features):
        outputs = [expert(features[0]) for expert in experts]
        return [mixer([gate(features[0]), *outputs]) for gate, mixer in zip(gates, mixers, strict=True)]

    return dict(zip(tasks, on_features(mix, [encoded]), strict=True))


def with_towers(tower: Encoder | None, mixed: Mapping[str, Output]) -> dict[str, Features]:
    """Return the tasks' features after each task's own copy of the tower."""
    features = {}
    for task, output in mixed.items():
        layers = [] if tower is None else copy(tower, f"tower_{task}", weights=False)
        read = on_features(lambda x, layers=layers: [run("tower", layers, x[0])], [output])[0]
        features[task] = as_features(_without_positions(read))
    return features


def _without_positions(output):
    """Call a sequence or map that a tower has pooled `pooled`; then nothing is left to mask."""
    pooled = [
        key
        for key in ("sequence", "map")
        if isinstance(output, Mapping) and key in output and len(output[key].shape) == 2
    ]
    return {"pooled": output[pooled[0]]} if pooled else output
