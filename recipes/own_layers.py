"""A trunk in which tasks share the first layers of an encoder, and have their own copies of the last ones."""

from collections.abc import Sequence
from typing import Any

import keras

import tf_mtl as mtl


@keras.saving.register_keras_serializable("recipes")
class OwnLastLayers(mtl.trunks.Trunk):
    """One encoder in stages, of which each task has its own copy of the last ones, with their pretrained weights.

    Args:
        encoder: An encoder with `stages`, all of them layers that return a dict of features.
        own: The number of stages that are the tasks' own: 0 shares the encoder, `len(encoder.stages)` shares nothing.
    """

    def __init__(self, encoder: keras.layers.Layer, own: int):
        if not 0 <= own <= len(encoder.stages):
            raise ValueError(f"`own` must be an integer from 0 to {len(encoder.stages)}, received {own}.")
        self.encoder = encoder
        self.own = own

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, dict[str, keras.KerasTensor]]:
        """Return for each task the features of its last stage."""
        shared = len(self.encoder.stages) - self.own
        features = inputs
        for stage in self.encoder.stages[:shared]:
            features = stage(features)
        features_of_task = dict.fromkeys(tasks, features)
        for stage in self.encoder.stages[shared:]:
            features_of_task = {task: _copy(stage, task, features_of_task[task]) for task in tasks}
        return features_of_task


def _copy(stage: keras.layers.Layer, task: str, features: Any) -> Any:
    """Return what a copy of a stage makes of some features."""
    copy = type(stage).from_config({**stage.get_config(), "name": f"{stage.name}_{task}"})
    output = copy(features)
    if stage.built and stage.weights:
        copy.set_weights(stage.get_weights())
    return output
