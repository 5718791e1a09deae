"""Images for training and export alike: encoded bytes to pixels, and boxes back to the original image; random views."""

from tf_mtl.images._image_preprocessor import ImagePreprocessor
from tf_mtl.images._located import LocatedImages
from tf_mtl.images._random_view import RandomView

__all__ = ["ImagePreprocessor", "LocatedImages", "RandomView"]
