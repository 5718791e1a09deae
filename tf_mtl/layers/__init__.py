"""Layers that Keras lacks."""

from tf_mtl.layers.crf import CRF as CRF
