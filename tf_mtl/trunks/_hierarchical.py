"""Tasks attached to different levels of one encoder."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_mtl._names import check_names
from tf_mtl.trunks._base import Features, Trunk, as_features
from tf_mtl.trunks._stages import Encoder, on_features, run, stages


@keras.saving.register_keras_serializable("tf_mtl")
class Hierarchical(Trunk):
    """One encoder in stages, with each task attached to the stage at its level: low-level tasks to low stages.

    Sogaard and Goldberg, "Deep multi-task learning with low level tasks supervised at lower layers", ACL 2016;
    Hashimoto et al., "A Joint Many-Task Model", EMNLP 2017; Sanh et al., "A Hierarchical Multi-task Approach for
    Learning Embeddings from Semantic Tasks", AAAI 2019.

    Args:
        encoder: An encoder in stages: a list of layers, a `keras.Sequential`, or an encoder with `stages`.
        levels: `{task: level}`, the index of the stage that the task reads; the first is 0.
        shortcut: Whether each stage after the second also reads the first stage's output, concatenated to the output
            of the stage before (the shortcut of the embeddings in Hashimoto 2017 and Sanh 2019). The stages must not
            have been built for other inputs.

    Raises:
        ValueError: if the encoder has no stages, a level does not exist, or `levels` has other tasks than the model.

    Example:

    >>> stages = [keras.layers.Embedding(50, 8), keras.layers.LSTM(8, return_sequences=True)]
    >>> trunk = mtl.trunks.Hierarchical(stages, levels={"pos": 0, "topic": 1})
    >>> sorted(trunk(keras.Input((6,)), ["pos", "topic"])["pos"])
    ['pooled', 'sequence']
    """

    def __init__(self, encoder: Encoder, levels: Mapping[str, int], shortcut: bool = False):
        self.encoder = encoder
        self.levels = dict(levels)
        self.shortcut = shortcut
        number = len(stages("Hierarchical", encoder))
        for task, level in self.levels.items():
            if level not in range(number):
                raise ValueError(
                    f"`levels` must be stages of the encoder, 0 to {number - 1}; received {level!r} for task '{task}'."
                )

    def __call__(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Features]:
        """Return for each task the features at its level."""
        check_names("levels", self.levels, tasks)
        outputs = [inputs]
        for level, stage in enumerate(stages("Hierarchical", self.encoder)[: max(self.levels.values()) + 1]):
            stage_input = outputs[-1]
            if self.shortcut and level >= 2:
                stage_input = _joined(stage_input, outputs[1])
            outputs.append(run("encoder", stage, stage_input))
        features = {level: as_features(outputs[level + 1]) for level in set(self.levels.values())}
        return {task: features[self.levels[task]] for task in tasks}

    def single_task(self, task: str) -> "Hierarchical":
        """Return a trunk with the stages up to the task's level."""
        return Hierarchical(self.encoder, {task: self.levels[task]}, self.shortcut)


def _joined(stage_input, first):
    """Features with those of the first stage."""
    try:
        return on_features(_concatenate, [stage_input, first])[0]
    except (KeyError, ValueError) as error:
        shapes = [keras.tree.map_structure(lambda x: x.shape, features) for features in (first, stage_input)]
        raise ValueError(
            "`shortcut` needs an encoder whose stages keep the features and positions of the first one, but they "
            f"return {shapes[0]} and {shapes[1]}. Leave `shortcut` out."
        ) from error


def _concatenate(tensors):
    return [keras.layers.Concatenate()(tensors)]
