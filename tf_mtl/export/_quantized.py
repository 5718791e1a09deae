"""Quantisation of a model's weights."""

import warnings
from typing import Any

from tf_mtl._model import MultiTaskModel
from tf_mtl._pipeline.forms import unpacked
from tf_mtl.report import variants


def quantized(model: MultiTaskModel, mode: str, data: Any = None, batch_size: int | None = None) -> MultiTaskModel:
    """Return a copy of a model with the weights of dense and embedding layers in 8 or 4 bits.

    Keras quantises the layers (`keras.Model.quantize`); the given model is unchanged. The copy is smaller on disk and
    in memory, can be exported with `saved_model`, and is no faster on a CPU. It cannot be trained. LiteRT does not
    support it: use `litert(quantization="dynamic")` there. Keras cannot load it from a `.keras` file if composite
    layers contain quantised ones: export it, or quantise again after loading.

    Args:
        model: The model, compiled if `data` are given; its layers must be serialisable, as for saving.
        mode: "int8" or "int4".
        data: Labelled data, as `evaluate` takes them, for a table of every task's results before and after.
        batch_size: See `evaluate`.

    Raises:
        ValueError: for another mode, `data` with a model that is not compiled, or a model without layers that Keras
            quantises.

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
        raise ValueError("`data` can only be evaluated by a compiled model: call model.compile first.")
    copy = MultiTaskModel.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    if data is not None:
        # before `quantize`, after which layers accept no new variables
        copy.compile_from_config(model.get_compile_config())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have a `quantize` method.*")
        copy.quantize(mode)
    if not any(getattr(layer, "quantization_mode", None) for layer in copy._flatten_layers()):
        raise ValueError("`model` has no layer that Keras quantises (dense, einsum-dense or embedding layers).")
    if data is not None:
        x, y, weight = unpacked(data)
        results = {
            name: version.evaluate(x, y, batch_size, 0, weight, return_dict=True)
            for name, version in ((model.dtype_policy.name, model), (mode, copy))
        }
        print(variants(results))
    return copy
