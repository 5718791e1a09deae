"""Balancing methods by name."""

from tf_mtl import balancing
from tf_mtl._names import key, nearest
from tf_mtl.balancing._base import Aggregator, Balancing, Scalarizer, Weighting


def get(method: str | Balancing) -> Balancing:
    """Return the balancing method with that name, or `method` itself.

    Args:
        method: A method, or the name of its class; case and underscores do not matter.

    Raises:
        ValueError: for an unknown name, or the name of a method that needs arguments.

    Example:

    >>> type(mtl.balancing.get("equal")).__name__
    'Equal'
    """
    if isinstance(method, Balancing):
        return method
    public = {name: getattr(balancing, name) for name in balancing.__all__}
    bases = (Balancing, Scalarizer, Weighting, Aggregator)
    classes = {name: value for name, value in public.items() if isinstance(value, type) and value not in bases}
    by_key = {key(name): value for name, value in classes.items()}
    if not isinstance(method, str) or key(method) not in by_key:
        raise ValueError(
            f"`balancing` must be a tf_mtl.balancing object or one of {sorted(classes)} (case and underscores "
            f"do not matter), received {method!r}.{nearest(method, classes)}"
        )
    try:
        return by_key[key(method)]()
    except TypeError as error:
        raise ValueError(
            f"`balancing={method!r}` needs arguments: pass tf_mtl.balancing.{by_key[key(method)].__name__}(...) "
            f"instead of the name ({error})."
        ) from None
