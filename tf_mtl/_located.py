"""Raw inputs with what answers refer to: the words of texts, or the original pixels of images."""

from typing import Any, TypeAlias

from tf_mtl.images import LocatedImages
from tf_mtl.text import LocatedTexts

Located: TypeAlias = LocatedTexts | LocatedImages


def locate(preprocessor: Any, inputs: Any) -> Located:
    """Return what a preprocessor's `locate` finds in raw inputs.

    Raises:
        TypeError: if it returns anything else than located texts or images.
    """
    located = preprocessor.locate(inputs)
    if not isinstance(located, (LocatedTexts, LocatedImages)):
        raise TypeError(
            "`preprocessor.locate` must return a tf_mtl.text.LocatedTexts or a tf_mtl.images.LocatedImages, received "
            f"{type(located).__name__}."
        )
    return located
