"""How the tasks' losses or gradients become one update. One file per published method."""

from tf_mtl.balancing._aligned_mtl import AlignedMTL
from tf_mtl.balancing._auto_lambda import AutoLambda
from tf_mtl.balancing._base import Aggregator, Balancing, Scalarizer, Weighting
from tf_mtl.balancing._cagrad import CAGrad
from tf_mtl.balancing._config import ConFIG
from tf_mtl.balancing._db_mtl import DBMTL
from tf_mtl.balancing._dual_proj import DualProj
from tf_mtl.balancing._dwa import DWA
from tf_mtl.balancing._ema import EMA
from tf_mtl.balancing._equal import Equal
from tf_mtl.balancing._every import Every
from tf_mtl.balancing._excess_mtl import ExcessMTL
from tf_mtl.balancing._fair_grad import FairGrad
from tf_mtl.balancing._famo import FAMO
from tf_mtl.balancing._fixed import Fixed
from tf_mtl.balancing._get import get
from tf_mtl.balancing._gls import GLS
from tf_mtl.balancing._grad_drop import GradDrop
from tf_mtl.balancing._grad_norm import GradNorm
from tf_mtl.balancing._gradvac import GradVac
from tf_mtl.balancing._imtl import IMTL
from tf_mtl.balancing._imtl_grad import IMTLGrad
from tf_mtl.balancing._imtl_loss import IMTLLoss
from tf_mtl.balancing._krum import Krum
from tf_mtl.balancing._mgda import MGDA
from tf_mtl.balancing._moco import MoCo
from tf_mtl.balancing._modo import MoDo
from tf_mtl.balancing._nash_mtl import NashMTL
from tf_mtl.balancing._pcgrad import PCGrad
from tf_mtl.balancing._rlw import RLW
from tf_mtl.balancing._scale_invariant import ScaleInvariant
from tf_mtl.balancing._sdmgrad import SDMGrad
from tf_mtl.balancing._stch import STCH
from tf_mtl.balancing._trimmed_mean import TrimmedMean
from tf_mtl.balancing._uncertainty import Uncertainty
from tf_mtl.balancing._uncertainty_soft import UncertaintySoft
from tf_mtl.balancing._upgrad import UPGrad

__all__ = [
    "DBMTL",
    "DWA",
    "EMA",
    "FAMO",
    "GLS",
    "IMTL",
    "MGDA",
    "RLW",
    "STCH",
    "Aggregator",
    "AlignedMTL",
    "AutoLambda",
    "Balancing",
    "CAGrad",
    "ConFIG",
    "DualProj",
    "Equal",
    "Every",
    "ExcessMTL",
    "FairGrad",
    "Fixed",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "IMTLGrad",
    "IMTLLoss",
    "Krum",
    "MoCo",
    "MoDo",
    "NashMTL",
    "PCGrad",
    "SDMGrad",
    "Scalarizer",
    "ScaleInvariant",
    "TrimmedMean",
    "UPGrad",
    "Uncertainty",
    "UncertaintySoft",
    "Weighting",
    "get",
]
