"""Multi-task learning for Keras 3 and TensorFlow."""

from tf_mtl import balancing as balancing
from tf_mtl import callbacks as callbacks
from tf_mtl import data as data
from tf_mtl import distribute as distribute
from tf_mtl import encoders as encoders
from tf_mtl import export as export
from tf_mtl import layers as layers
from tf_mtl import losses as losses
from tf_mtl import metrics as metrics
from tf_mtl import report as report
from tf_mtl import tasks as tasks
from tf_mtl import text as text
from tf_mtl import trunks as trunks
from tf_mtl._version import __version__ as __version__
from tf_mtl.builder import build_model as build_model
from tf_mtl.distill import distill as distill
from tf_mtl.layerwise import Layerwise as Layerwise
from tf_mtl.layerwise import layerwise as layerwise
from tf_mtl.layerwise import layerwise_decay as layerwise_decay
from tf_mtl.model import MultiTaskModel as MultiTaskModel
from tf_mtl.partition import Partition as Partition
from tf_mtl.partition import partition as partition
