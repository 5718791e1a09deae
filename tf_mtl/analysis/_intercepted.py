"""What happens at layers, nested ones too, while a model is called."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras


@contextmanager
def intercepted(
    sites: Iterable[tuple[keras.layers.Layer, str]], function: Callable[[keras.layers.Layer, Any, Any], Any]
) -> Iterator[None]:
    """Within the context, methods of layers return what a function makes of their outputs.

    Args:
        sites: The layers, each with the name of its method, such as "call".
        function: Returns a replacement, from the layer, the method's first argument and its output.
    """
    replaced = {(id(layer), method): (layer, method) for layer, method in sites}.values()
    for layer, method in replaced:
        vars(layer)[method] = _intercepting(layer, getattr(layer, method), function)  # unseen by Keras' trackers
    try:
        yield
    finally:
        for layer, method in replaced:
            del vars(layer)[method]


def _intercepting(layer, original, function):
    def method(inputs, *args, **kwargs):
        return function(layer, inputs, original(inputs, *args, **kwargs))

    return method
