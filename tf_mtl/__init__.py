"""Multi-task learning for Keras 3 and TensorFlow."""

from tf_mtl import (
    analysis,
    balancing,
    callbacks,
    data,
    distribute,
    encoders,
    export,
    images,
    layers,
    losses,
    metrics,
    report,
    samplers,
    tasks,
    text,
    trunks,
)
from tf_mtl._builder import build_model
from tf_mtl._distill import distill
from tf_mtl._graph.partition import Partition, partition
from tf_mtl._graph.sharing import Sharing
from tf_mtl._model import MultiTaskModel
from tf_mtl._optimizers.layerwise import Layerwise, layerwise, layerwise_decay
from tf_mtl._trained_weights import load_trained_weights, save_trained_weights
from tf_mtl._version import __version__

__all__ = [
    "Layerwise",
    "MultiTaskModel",
    "Partition",
    "Sharing",
    "__version__",
    "analysis",
    "balancing",
    "build_model",
    "callbacks",
    "data",
    "distill",
    "distribute",
    "encoders",
    "export",
    "images",
    "layers",
    "layerwise",
    "layerwise_decay",
    "load_trained_weights",
    "losses",
    "metrics",
    "partition",
    "report",
    "samplers",
    "save_trained_weights",
    "tasks",
    "text",
    "trunks",
]
