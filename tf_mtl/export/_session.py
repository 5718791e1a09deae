"""Run requests on a SavedModel with the session loader; a script for a process with only TensorFlow.

Usage: `python -P _session.py MODEL REQUESTS FINDINGS`. REQUESTS and FINDINGS name files written by `write`: a list of
`{"signature": name, "inputs": {input: array}}`, and the fields of `Findings`.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

Tensors = dict[str, np.ndarray]

_SINGLE_ROWS = 8
_LOW_PRECISION = {
    dtype.as_datatype_enum
    for dtype in (
        tf.float16,
        tf.bfloat16,
        tf.dtypes.experimental.float8_e4m3fn,
        tf.dtypes.experimental.float8_e5m2,
    )
}
_ARRAY = "$array"  # marks a reference to an array; no input or output can have this name


class Findings(NamedTuple):
    """The results of inspecting and running an export.

    Attributes:
        needs_tf_text: Whether loading needed the ops of TF-Text.
        signatures: `{signature: {"inputs": names, "outputs": names, "variables": count, "parameters": count}}`, the
            names sorted, the counts those of the variables that the outputs depend on.
        bytes_used: The bytes of the variables that any signature depends on.
        bytes_stored: The bytes of the variables in the checkpoint.
        xla_functions: The functions that demand XLA.
        is_low_precision: Whether the graph computes with floats of at most 16 bits, or with weights that are integers
            of 8 bits.
        imported: Packages that a served model must not import.
        batched: The outputs of each request.
        single: The outputs of the first rows of each request, each sent as a request with one row, joined.
    """

    needs_tf_text: bool
    signatures: dict[str, dict[str, Any]]
    bytes_used: int
    bytes_stored: int
    xla_functions: list[str]
    is_low_precision: bool
    imported: list[str]
    batched: list[Tensors]
    single: list[Tensors]


def main(path: str, requests: str, output: str) -> None:
    """Load the model, inspect its graph, and run the requests, as a batch and row by row.

    Requests to signatures that the model does not have are left out.
    """
    needs_tf_text = False
    try:
        session, meta = load(path)
    except tf.errors.NotFoundError:  # an op of TF-Text, which servers link
        import tensorflow_text  # noqa: F401

        needs_tf_text = True
        session, meta = load(path)
    signatures = {name: sig for name, sig in meta.signature_def.items() if not name.startswith("__")}
    variables = {name: reachable_variables(session.graph, sig) for name, sig in signatures.items()}
    used = {name: spec for reachable in variables.values() for name, spec in reachable.items()}
    batched, single = [], []
    for request in [request for request in read(Path(requests)) if request["signature"] in signatures]:
        signature, inputs = signatures[request["signature"]], request["inputs"]
        batched.append(run(session, signature, inputs))
        count = min(_SINGLE_ROWS, len(next(iter(inputs.values()))))
        rows = [run(session, signature, {k: v[i : i + 1] for k, v in inputs.items()}) for i in range(count)]
        single.append({name: np.concatenate([row[name] for row in rows]) for name in batched[-1]})
    findings = Findings(
        needs_tf_text,
        {
            name: {
                "inputs": sorted(signature.inputs),
                "outputs": sorted(signature.outputs),
                "variables": len(variables[name]),
                "parameters": sum(spec.shape.num_elements() for spec in variables[name].values()),
            }
            for name, signature in signatures.items()
        },
        sum(spec.dtype.size * spec.shape.num_elements() for spec in used.values()),
        bytes_stored(path),
        sorted(f.signature.name for f in meta.graph_def.library.function if f.attr["_XlaMustCompile"].b),
        is_low_precision(meta.graph_def, used.values()),
        sorted({name.split(".")[0] for name in sys.modules} & {"tf_mtl", "keras_hub"}),
        batched,
        single,
    )
    write(Path(output), findings._asdict())


def load(path: str) -> tuple[tf.compat.v1.Session, Any]:
    """Return a session with the SavedModel, and its MetaGraphDef."""
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        return session, tf.compat.v1.saved_model.load(session, ["serve"], path)


def run(session: tf.compat.v1.Session, signature: Any, inputs: Tensors) -> Tensors:
    """Return a signature's outputs by name."""
    feed = {signature.inputs[name].name: value for name, value in inputs.items()}
    return session.run({name: info.name for name, info in signature.outputs.items()}, feed)


def reachable_variables(graph: tf.Graph, signature: Any) -> dict[str, tf.TensorSpec]:
    """Return the variables that a signature's outputs depend on."""
    variables, visited = {}, set()
    pending = [graph.get_tensor_by_name(info.name).op for info in signature.outputs.values()]
    while pending:
        op = pending.pop()
        if op.name in visited:
            continue
        visited.add(op.name)
        if op.type == "VarHandleOp":
            variables[op.name] = tf.TensorSpec(op.get_attr("shape"), op.get_attr("dtype"))
        pending += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    return variables


def is_low_precision(graph: Any, variables: Iterable[tf.TensorSpec]) -> bool:
    """Return whether a graph has floats of at most 16 bits, or variables that are integers of 8 bits."""
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    has_short_floats = any(value.type in _LOW_PRECISION for node in nodes for value in node.attr.values())
    return has_short_floats or any(spec.dtype.is_integer and spec.dtype.size == 1 for spec in variables)


def bytes_stored(path: str) -> int:
    """Return the size of the variables in a model's checkpoint, without lookup tables."""
    reader = tf.train.load_checkpoint(str(Path(path) / "variables" / "variables"))
    dtypes, shapes = reader.get_variable_to_dtype_map(), reader.get_variable_to_shape_map()
    weights = [
        name
        for name in dtypes
        if name.endswith("/.ATTRIBUTES/VARIABLE_VALUE")
        and dtypes[name] != tf.string
        and name.split("/")[0] != "save_counter"
    ]
    return sum(dtypes[name].size * int(np.prod(shapes[name])) for name in weights)


def write(path: Path, value: Any) -> None:
    """Write nested dicts and lists of JSON values and arrays: the structure to `path`.json, the arrays to `path`.npz.

    Arrays of dtype object must hold strings or bytes; they are read back as bytes.
    """
    arrays: list[np.ndarray] = []
    path.with_suffix(".json").write_text(json.dumps(_encoded(value, arrays)))
    np.savez(path.with_suffix(".npz"), *arrays)


def read(path: Path) -> Any:
    """Return what `write` wrote."""
    with np.load(path.with_suffix(".npz")) as file:
        return _decoded(json.loads(path.with_suffix(".json").read_text()), [file[name] for name in file.files])


def _encoded(value, arrays):
    """The value with references to `arrays`, to which its arrays are appended."""
    if isinstance(value, Mapping):
        return {key: _encoded(item, arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [_encoded(item, arrays) for item in value]
    if not isinstance(value, np.ndarray):
        return value
    reference = {_ARRAY: len(arrays), "dtype": value.dtype.name}
    if value.dtype == object:  # NumPy would pickle it, and its own type of strings drops zero bytes at the end
        strings = [tf.compat.as_bytes(item) for item in value.ravel()]
        arrays.append(np.array([len(item) for item in strings], "int64").reshape(value.shape))
        value = np.frombuffer(b"".join(strings), "uint8")
    arrays.append(value)
    return reference


def _decoded(value, arrays):
    if isinstance(value, list):
        return [_decoded(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY not in value:
        return {key: _decoded(item, arrays) for key, item in value.items()}
    index, dtype = value[_ARRAY], value["dtype"]
    if dtype == "object":
        lengths, content = arrays[index], arrays[index + 1].tobytes()
        ends = np.cumsum(lengths)
        strings = np.empty(lengths.size, object)
        strings[:] = [content[end - length : end] for end, length in zip(ends, lengths.ravel(), strict=True)]
        return strings.reshape(lengths.shape)
    array = arrays[index]  # of a type such as bfloat16 the file keeps only the size
    return array.view(tf.as_dtype(dtype).as_numpy_dtype) if array.dtype.kind == "V" else array


if __name__ == "__main__":
    main(*sys.argv[1:])
