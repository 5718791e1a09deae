"""What the trunks with experts have in common: experts, gates, weighted sums and towers."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras

from tf_mtl.trunks._base import Features, as_features
from tf_mtl.trunks._stages import Encoder, Output, copy, on_feature, on_features, run


class Expert:
    """A copy of the layers passed as `expert`, with new weights, called on each of the features."""

    def __init__(self, layers: Encoder, suffix: str):
        self.layers = copy(layers, suffix, weights=False)

    def __call__(self, x: Any) -> keras.KerasTensor:
        """Return one tensor."""
        output = run("expert", self.layers, x)
        if isinstance(output, Mapping) and len(output) == 1:
            (output,) = output.values()
        if not isinstance(output, keras.KerasTensor):
            raise ValueError(
                f"`expert` must return one tensor, received {output}. Pass a Dense layer, or a list of them."
            )
        return output


@keras.saving.register_keras_serializable("tf_mtl", name="Mixture")
class GatedSum(keras.layers.Layer):
    """From a gate's weights [..., N] and N experts' outputs [..., E] to the weighted sum of the outputs [..., E].

    Raises:
        ValueError: if the experts' outputs and the gate's weights have different positions.
    """

    def __init__(self, name: str = "mixture", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Check the shapes."""
        gate, *experts = input_shape
        if any(len(shape) != len(experts[0]) for shape in [gate, *experts]):
            raise ValueError(
                f"`expert` must keep the positions of its inputs: the gate's weights have the shape {gate}, the "
                f"experts' outputs {experts[0]}. Make recurrent experts return sequences, and pool in a tower."
            )

    def call(self, inputs: Any) -> Any:
        """Return the weighted sum."""
        gate, *experts = inputs
        stacked = keras.ops.stack(experts, -2)
        return keras.ops.squeeze(keras.ops.matmul(keras.ops.cast(gate, stacked.dtype)[..., None, :], stacked), -2)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Return the first expert's mask."""
        return None if mask is None else mask[1]


def gated_sum_name(reader: str) -> str:
    """Return the name of the layer with the weighted sum that a task, or another reader, reads."""
    return f"mixture_{reader}"


def softmax_gate(number: int, name: str) -> keras.layers.Layer:
    """Return a gate softmax(W x) over `number` experts, in float32 under any precision policy."""
    return keras.layers.Dense(number, activation="softmax", use_bias=False, dtype="float32", name=name)


def gated_sums(
    encoded: Output, tasks: Sequence[str], experts: Sequence[Expert], make_gate: Callable[[str], keras.layers.Layer]
) -> dict[str, Output]:
    """Return for each task the sum of all experts' outputs, weighted by the task's gate.

    Args:
        encoded: The features that experts and gates read.
        tasks: The task names.
        experts: The experts.
        make_gate: Returns the gate of a task.
    """
    gates = [make_gate(task) for task in tasks]
    sums = [GatedSum(name=gated_sum_name(task)) for task in tasks]

    def apply(tensors):
        (x,) = tensors
        outputs = [expert(x) for expert in experts]
        return [gated_sum([gate(x), *outputs]) for gate, gated_sum in zip(gates, sums, strict=True)]

    return dict(zip(tasks, on_features(apply, [encoded]), strict=True))


def apply_towers(tower: Encoder | None, outputs: Mapping[str, Output]) -> dict[str, Features]:
    """Return the tasks' features: their outputs after each task's own copy of the tower."""
    features = {}
    for task, output in outputs.items():
        layers = [] if tower is None else copy(tower, f"tower_{task}", weights=False)
        features[task] = as_features(_rename_pooled(on_feature(partial(run, "tower", layers), output)))
    return features


def _rename_pooled(output):
    """Return a sequence or map that a tower has pooled as `pooled`, without the masks of its positions."""
    pooled = [
        key
        for key in ("sequence", "map")
        if isinstance(output, Mapping) and key in output and len(output[key].shape) == 2
    ]
    return {"pooled": output[pooled[0]]} if pooled else output
