"""A model whose weights have few bits."""

import warnings
from typing import Any

from tf_mtl._model import MultiTaskModel
from tf_mtl._pipeline.stream import unpacked
from tf_mtl.report import variants


def quantized(model: MultiTaskModel, mode: str, data: Any = None, batch_size: int | None = None) -> MultiTaskModel:
    """Return a copy of a model with the weights of dense and embedding layers in 8 or 4 bits.

    Keras quantises the layers (`keras.Model.quantize`); the model given stays as it is. The copy is smaller on disk
    and in memory, exports with `saved_model`, and is no faster on a CPU. It cannot be trained. LiteRT does not take
    it: there, quantise with `litert(quantization="dynamic")`. Where composite layers hold quantised ones Keras cannot
    load it from a `.keras` file: export it, or quantise again after loading.

    Args:
        model: The model, compiled if there are `data`; its layers must be serialisable, as for saving.
        mode: "int8" or "int4".
        data: Labelled data, as `evaluate` takes them, for a table of every task's results before and after.
        batch_size: See `evaluate`.

    Raises:
        ValueError: for another mode, `data` without `compile`, or a model of which Keras quantises no layer.

    Example:

    >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([64]))
    >>> model = mtl.build_model(keras.Input((32,), name="x"), trunk, [mtl.tasks.BinaryClassification("sold")])
    >>> model.compile("adam")
    >>> small = mtl.export.quantized(model, "int8", (np.ones((2, 32)), {"sold": np.ones(2)}))  # doctest: +ELLIPSIS
    | metric        | float32 |   int8 |  change |
    ...
    >>> sum(v.numpy().nbytes for v in small.variables) < 0.4 * sum(v.numpy().nbytes for v in model.variables)
    True
    """
    if mode not in ("int8", "int4"):
        raise ValueError(f'`mode` must be "int8" or "int4", received {mode!r}.')
    if data is not None and model.balancing is None:
        raise ValueError("`data` can be evaluated by a compiled model alone: call model.compile first.")
    found = MultiTaskModel.from_config(model.get_config())
    found.set_weights(model.get_weights())
    if data is not None:
        found.compile_from_config(model.get_compile_config())  # nothing can be added to a quantised model
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have a `quantize` method.*")
        found.quantize(mode)
    if not any(getattr(layer, "quantization_mode", None) for layer in found._flatten_layers()):
        raise ValueError("Keras quantises no layer of this model: only dense, einsum-dense and embedding layers.")
    if data is not None:
        x, y, weight = unpacked(data)
        results = {
            name: version.evaluate(x, y, batch_size, 0, weight, return_dict=True)
            for name, version in ((model.dtype_policy.name, model), (mode, found))
        }
        print(variants(results))
    return found
