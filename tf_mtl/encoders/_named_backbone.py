"""Backbones of keras.applications and keras-hub by their names."""

from pathlib import Path

import keras

from tf_mtl._names import nearest


def named_backbone(name: str, image_size: tuple[int, int] | None, weights: bool) -> keras.Model:
    """Return a backbone by its name.

    Args:
        name: A model of `keras.applications`, or a preset of keras-hub, its handle or its folder.
        image_size: (height, width) of the images; None for the model's default.
        weights: Whether to load the pretrained weights.

    Raises:
        ValueError: for an unknown name, or an image size for a backbone of texts.
    """
    if name in _applications():
        shape = None if image_size is None else (*image_size, 3)
        create = getattr(keras.applications, name)
        return create(include_top=False, weights="imagenet" if weights else None, input_shape=shape)
    import keras_hub

    presets = keras_hub.models.Backbone.presets
    if name not in presets and "://" not in name and not Path(name).is_dir():
        raise ValueError(
            "`name` must be a model of keras.applications, or a preset of keras-hub, its handle or folder; received "
            f"{name!r}.{nearest(name, [*_applications(), *presets])}"
        )
    options = {} if image_size is None else _shape_option(name, image_size)
    return keras_hub.models.Backbone.from_preset(name, load_weights=weights, **options)


def _applications() -> list[str]:
    return [name for name in dir(keras.applications) if name[0].isupper()]


def _shape_option(name, image_size):
    """The argument that gives a backbone of keras-hub the shape of its images; its name differs between classes."""
    import keras_hub

    backbone = keras_hub.models.Backbone.from_preset(name, load_weights=False)
    option = next((option for option in ("image_shape", "input_shape") if option in backbone.get_config()), None)
    if option is None:
        raise ValueError(f"`image_size` must be None for '{name}', a {type(backbone).__name__}; received {image_size}.")
    return {option: (*image_size, 3)}
