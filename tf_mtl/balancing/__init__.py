"""How the tasks' losses or gradients become one update. One file per published method."""

from tf_mtl._names import nearest as _nearest
from tf_mtl.balancing._base import Aggregator as Aggregator
from tf_mtl.balancing._base import Balancing as Balancing
from tf_mtl.balancing._base import Scalarizer as Scalarizer
from tf_mtl.balancing._base import Weighting as Weighting
from tf_mtl.balancing.equal import Equal as Equal
from tf_mtl.balancing.fixed import Fixed as Fixed

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


def _key(name: str) -> str:
    return name.replace("_", "").lower()
