"""Encoders: Keras layers from inputs to features. Any other Keras layer or model can be an encoder, too."""

from tf_mtl.encoders._backbone import BackboneEncoder
from tf_mtl.encoders._causal import CausalEncoder
from tf_mtl.encoders._conv import ConvEncoder
from tf_mtl.encoders._feature_pyramid import FeaturePyramid
from tf_mtl.encoders._mlp import MLPEncoder
from tf_mtl.encoders._recurrent import RecurrentEncoder
from tf_mtl.encoders._tabular import TabularEncoder
from tf_mtl.encoders._towers import Towers
from tf_mtl.encoders._transformer import TransformerEncoder
from tf_mtl.encoders._with_stages import WithStages

__all__ = [
    "BackboneEncoder",
    "CausalEncoder",
    "ConvEncoder",
    "FeaturePyramid",
    "MLPEncoder",
    "RecurrentEncoder",
    "TabularEncoder",
    "Towers",
    "TransformerEncoder",
    "WithStages",
]
