"""From texts to the inputs of text encoders, in training and in exports alike."""

from tf_mtl.text._base import TextPreprocessor as TextPreprocessor
from tf_mtl.text.saving import load as load
from tf_mtl.text.saving import save as save
from tf_mtl.text.subwords import Subwords as Subwords
from tf_mtl.text.words import Words as Words
