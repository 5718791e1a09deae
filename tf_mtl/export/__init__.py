"""Export a trained model for serving, for other formats, and in fewer bits."""

from tf_mtl.export._check import check
from tf_mtl.export._litert import litert
from tf_mtl.export._onnx import onnx
from tf_mtl.export._quantized import quantized
from tf_mtl.export._saved_model import saved_model

__all__ = [
    "check",
    "litert",
    "onnx",
    "quantized",
    "saved_model",
]
