"""From texts to the inputs of text encoders, in training and in exports alike."""

from tf_mtl.text._base import TextPreprocessor
from tf_mtl.text._located import LocatedTexts
from tf_mtl.text._saving import load, save
from tf_mtl.text._subwords import Subwords
from tf_mtl.text._words import Words

__all__ = [
    "LocatedTexts",
    "Subwords",
    "TextPreprocessor",
    "Words",
    "load",
    "save",
]
