"""Sharing structures: from inputs to the features that each task reads. One file per architecture."""

from tf_mtl.trunks._base import Trunk as Trunk
from tf_mtl.trunks.adapters import Adapters as Adapters
from tf_mtl.trunks.cgc import CGC as CGC
from tf_mtl.trunks.cross_stitch import CrossStitch as CrossStitch
from tf_mtl.trunks.dselect_k import DSelectK as DSelectK
from tf_mtl.trunks.hard_sharing import HardSharing as HardSharing
from tf_mtl.trunks.hierarchical import Hierarchical as Hierarchical
from tf_mtl.trunks.learning_to_branch import LearningToBranch as LearningToBranch
from tf_mtl.trunks.lora import LoRA as LoRA
from tf_mtl.trunks.mmoe import MMoE as MMoE
from tf_mtl.trunks.mtan import MTAN as MTAN
from tf_mtl.trunks.ple import PLE as PLE
from tf_mtl.trunks.sluice import Sluice as Sluice
from tf_mtl.trunks.soft_sharing import SoftSharing as SoftSharing
from tf_mtl.trunks.task_conditioned import TaskConditioned as TaskConditioned
