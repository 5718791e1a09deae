"""Sharing structures: from inputs to the features that each task reads. One file per architecture."""

from tf_mtl.trunks._adapters import Adapters
from tf_mtl.trunks._base import Trunk
from tf_mtl.trunks._cgc import CGC
from tf_mtl.trunks._cross_stitch import CrossStitch
from tf_mtl.trunks._dselect_k import DSelectK
from tf_mtl.trunks._hard_sharing import HardSharing
from tf_mtl.trunks._hierarchical import Hierarchical
from tf_mtl.trunks._learning_to_branch import LearningToBranch
from tf_mtl.trunks._lora import LoRA
from tf_mtl.trunks._mmoe import MMoE
from tf_mtl.trunks._mtan import MTAN
from tf_mtl.trunks._mtl_lora import MTLLoRA
from tf_mtl.trunks._ple import PLE
from tf_mtl.trunks._sluice import Sluice
from tf_mtl.trunks._soft_sharing import SoftSharing
from tf_mtl.trunks._task_conditioned import TaskConditioned

__all__ = [
    "CGC",
    "MTAN",
    "PLE",
    "Adapters",
    "CrossStitch",
    "DSelectK",
    "HardSharing",
    "Hierarchical",
    "LearningToBranch",
    "LoRA",
    "MMoE",
    "MTLLoRA",
    "Sluice",
    "SoftSharing",
    "TaskConditioned",
    "Trunk",
]
