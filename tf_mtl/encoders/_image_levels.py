"""The levels of the feature pyramid inside an image backbone."""

import itertools

import keras

from tf_mtl._pyramid import map_size


def with_levels(backbone: keras.Model) -> keras.Model:
    """Return a functional image backbone as one from images to its output, `map`, and its levels, with its weights.

    Levels are those that a backbone of keras-hub names, and otherwise the last maps of their sizes. They need an input
    of known size, whose halves round up, as sizes divided by the strides do.

    Args:
        backbone: A model from images [B, H, W, C] to a map [B, h, w, D].
    """
    levels = dict(getattr(backbone, "pyramid_outputs", {})) or _last_of_each_size(backbone)
    return keras.Model(backbone.input, {"map": backbone.output, **levels}, name=backbone.name)


def _last_of_each_size(backbone: keras.Model) -> dict[str, keras.KerasTensor]:
    image_size = backbone.input.shape[1:3]
    if None in image_size:
        return {}
    names = {map_size(f"P{level}", image_size): f"P{level}" for level in range(7, 0, -1)}
    levels = {}
    for operation in backbone.operations:
        for tensor in keras.tree.flatten(operation.output):
            size = tuple(tensor.shape[1:3]) if len(tensor.shape) == 4 else None
            if size in names and max(size) > 1:  # attention to channels has maps of one position
                levels[names[size]] = tensor
    finest = int(min(levels, default="P8")[1:])
    consecutive = itertools.takewhile(levels.__contains__, (f"P{level}" for level in range(finest, 8)))
    return {name: levels[name] for name in consecutive}  # a gap: sizes round down, and later ones mean other strides
