"""How the tasks' losses or gradients become one update. One file per published method."""

from tf_mtl._names import key as _key
from tf_mtl._names import nearest as _nearest
from tf_mtl.balancing._base import Aggregator as Aggregator
from tf_mtl.balancing._base import Balancing as Balancing
from tf_mtl.balancing._base import Scalarizer as Scalarizer
from tf_mtl.balancing._base import Weighting as Weighting
from tf_mtl.balancing.aligned_mtl import AlignedMTL as AlignedMTL
from tf_mtl.balancing.auto_lambda import AutoLambda as AutoLambda
from tf_mtl.balancing.cagrad import CAGrad as CAGrad
from tf_mtl.balancing.config import ConFIG as ConFIG
from tf_mtl.balancing.db_mtl import DBMTL as DBMTL
from tf_mtl.balancing.dual_proj import DualProj as DualProj
from tf_mtl.balancing.dwa import DWA as DWA
from tf_mtl.balancing.ema import EMA as EMA
from tf_mtl.balancing.equal import Equal as Equal
from tf_mtl.balancing.every import Every as Every
from tf_mtl.balancing.excess_mtl import ExcessMTL as ExcessMTL
from tf_mtl.balancing.fair_grad import FairGrad as FairGrad
from tf_mtl.balancing.famo import FAMO as FAMO
from tf_mtl.balancing.fixed import Fixed as Fixed
from tf_mtl.balancing.gls import GLS as GLS
from tf_mtl.balancing.grad_drop import GradDrop as GradDrop
from tf_mtl.balancing.grad_norm import GradNorm as GradNorm
from tf_mtl.balancing.gradvac import GradVac as GradVac
from tf_mtl.balancing.imtl import IMTL as IMTL
from tf_mtl.balancing.imtl_grad import IMTLGrad as IMTLGrad
from tf_mtl.balancing.imtl_loss import IMTLLoss as IMTLLoss
from tf_mtl.balancing.krum import Krum as Krum
from tf_mtl.balancing.mgda import MGDA as MGDA
from tf_mtl.balancing.moco import MoCo as MoCo
from tf_mtl.balancing.modo import MoDo as MoDo
from tf_mtl.balancing.nash_mtl import NashMTL as NashMTL
from tf_mtl.balancing.pcgrad import PCGrad as PCGrad
from tf_mtl.balancing.rlw import RLW as RLW
from tf_mtl.balancing.scale_invariant import ScaleInvariant as ScaleInvariant
from tf_mtl.balancing.sdmgrad import SDMGrad as SDMGrad
from tf_mtl.balancing.stch import STCH as STCH
from tf_mtl.balancing.trimmed_mean import TrimmedMean as TrimmedMean
from tf_mtl.balancing.uncertainty import Uncertainty as Uncertainty
from tf_mtl.balancing.uncertainty_soft import UncertaintySoft as UncertaintySoft
from tf_mtl.balancing.upgrad import UPGrad as UPGrad

_KINDS = (Balancing, Scalarizer, Weighting, Aggregator)


def get(method: str | Balancing) -> Balancing:
    """Return the balancing method of that name, or `method` itself.

    Args:
        method: A method, or the name of its class; case and underscores do not matter.

    Raises:
        ValueError: for an unknown name, or one of a method that needs arguments.

    Example:

    >>> type(mtl.balancing.get("equal")).__name__
    'Equal'
    """
    if isinstance(method, Balancing):
        return method
    methods = {
        name: found
        for name, found in globals().items()
        if isinstance(found, type) and issubclass(found, Balancing) and found not in _KINDS
    }
    by_key = {_key(name): found for name, found in methods.items()}
    if not isinstance(method, str) or _key(method) not in by_key:
        raise ValueError(
            f"`balancing` must be a tf_mtl.balancing object or one of {sorted(methods)} (case and underscores "
            f"do not matter), received {method!r}.{_nearest(method, methods)}"
        )
    try:
        return by_key[_key(method)]()
    except TypeError as error:
        raise ValueError(
            f"`balancing={method!r}` needs arguments: pass tf_mtl.balancing.{by_key[_key(method)].__name__}(...) "
            f"instead of the name ({error})."
        ) from None
