"""Encoders: Keras layers from inputs to features. Any other Keras layer or model serves as well."""

from tf_mtl.encoders.backbone import BackboneEncoder as BackboneEncoder
from tf_mtl.encoders.conv import ConvEncoder as ConvEncoder
from tf_mtl.encoders.mlp import MLPEncoder as MLPEncoder
from tf_mtl.encoders.recurrent import RecurrentEncoder as RecurrentEncoder
from tf_mtl.encoders.tabular import TabularEncoder as TabularEncoder
from tf_mtl.encoders.transformer import TransformerEncoder as TransformerEncoder
