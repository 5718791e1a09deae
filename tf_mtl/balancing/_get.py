"""Balancing methods by name."""

from tf_mtl import balancing
from tf_mtl._names import key, nearest
from tf_mtl.balancing._base import Aggregator, Balancing, Scalarizer, Weighting


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
    public = {name: getattr(balancing, name) for name in balancing.__all__}
    kinds = (Balancing, Scalarizer, Weighting, Aggregator)
    methods = {name: kind for name, kind in public.items() if isinstance(kind, type) and kind not in kinds}
    by_key = {key(name): kind for name, kind in methods.items()}
    if not isinstance(method, str) or key(method) not in by_key:
        raise ValueError(
            f"`balancing` must be a tf_mtl.balancing object or one of {sorted(methods)} (case and underscores "
            f"do not matter), received {method!r}.{nearest(method, methods)}"
        )
    try:
        return by_key[key(method)]()
    except TypeError as error:
        raise ValueError(
            f"`balancing={method!r}` needs arguments: pass tf_mtl.balancing.{by_key[key(method)].__name__}(...) "
            f"instead of the name ({error})."
        ) from None
