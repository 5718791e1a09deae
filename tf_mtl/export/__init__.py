"""Export a trained model for serving, for other formats, and in fewer bits."""

from tf_mtl.export.check import check as check
from tf_mtl.export.litert import litert as litert
from tf_mtl.export.onnx import onnx as onnx
from tf_mtl.export.quantized import quantized as quantized
from tf_mtl.export.saved_model import saved_model as saved_model
