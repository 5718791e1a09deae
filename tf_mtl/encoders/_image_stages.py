"""An image backbone cut into stages."""

import itertools
from collections.abc import Mapping, Sequence

import keras

from tf_mtl._names import nearest


def image_stages(backbone: keras.Model, ends: Sequence[str], name: str) -> list[keras.Model]:
    """Return the stages of an image backbone, models from a tensor to a tensor that share its weights.

    Args:
        backbone: A model from images to a dict of `map` and the levels of a pyramid, or to a sequence of patches.
        ends: The names of the layers after which a stage ends; none for those of the levels.
        name: Prefix of the stages' names.

    Raises:
        ValueError: for the name of an unknown layer, or one after which the backbone cannot be cut, and without `ends`
            for a backbone without levels.
    """
    # Cut a copy of the graph with the same layers: cutting changes a graph's config.
    backbone = keras.models.clone_model(backbone, clone_function=lambda layer: layer)
    outputs = dict(backbone.output) if isinstance(backbone.output, Mapping) else {"map": backbone.output}
    last = outputs.pop("map")
    cuts = {end: _output(backbone, end) for end in ends} or dict(sorted(outputs.items())[:-1])
    if not cuts:
        raise ValueError(
            f"`backbone` '{backbone.name}' has no levels at which to cut it into stages. Set `stage_ends`."
        )
    stages = []
    for index, (before, after) in enumerate(itertools.pairwise([backbone.input, *cuts.values(), last])):
        try:
            part = keras.Model(before, after)
        except ValueError as error:
            raise ValueError(
                f"`backbone` '{backbone.name}' cannot be cut after {[*cuts][index - 1]!r}: later layers also need "
                "earlier maps. Set `stage_ends` to layers through which every map goes, such as the ends of blocks."
            ) from error
        x = keras.Input(batch_shape=before.shape, dtype=before.dtype)
        clone = keras.models.clone_model(part, x, clone_function=lambda layer: layer)
        stages.append(keras.Model(x, clone.output, name=f"{name}_stage_{index}"))
    return stages


def _output(backbone, layer):
    names = [each.name for each in backbone.layers]
    if layer not in names:
        raise ValueError(f"`stage_ends` must be layers of the backbone, received {layer!r}.{nearest(layer, names)}")
    return backbone.get_layer(layer)._inbound_nodes[-1].output_tensors[0]
