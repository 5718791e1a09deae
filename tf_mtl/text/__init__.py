"""Turn texts into the inputs of text encoders, the same way in training and in exports."""

from tf_mtl.text._base import TextPreprocessor
from tf_mtl.text._learn_tokenizer import learn_tokenizer
from tf_mtl.text._located import LocatedTexts
from tf_mtl.text._saving import load, save
from tf_mtl.text._subwords import Subwords
from tf_mtl.text._two_texts import TwoTexts
from tf_mtl.text._words import Words

__all__ = [
    "LocatedTexts",
    "Subwords",
    "TextPreprocessor",
    "TwoTexts",
    "Words",
    "learn_tokenizer",
    "load",
    "save",
]
