"""Sharing structures: from inputs to the features that each task reads. One file per architecture."""

from tf_mtl.trunks._base import Trunk as Trunk
from tf_mtl.trunks.hard_sharing import HardSharing as HardSharing
