"""Run a SavedModel's requests with the session loader; a script for a process with only TensorFlow.

Usage: `python -P _session.py MODEL REQUESTS ANSWERS`: REQUESTS is a pickled list of (signature, {input: array}),
ANSWERS becomes a pickled dict of what was found.
"""

import pickle
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

ROWS_ALONE = 8


def main(path: str, requests: str, answers: str) -> None:
    """Load the model, look at its graph, and run the requests, each row alone as well."""
    found = {"tf_text": False}
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        try:
            meta = tf.compat.v1.saved_model.load(session, ["serve"], path)
        except tf.errors.NotFoundError:  # an op of TF-Text, which servers link
            import tensorflow_text  # noqa: F401

            found["tf_text"] = True
            session.close()
            session = tf.compat.v1.Session(graph=tf.Graph())
            with session.graph.as_default():
                meta = tf.compat.v1.saved_model.load(session, ["serve"], path)
    signatures = {name: sig for name, sig in meta.signature_def.items() if not name.startswith("__")}
    variables = {name: reachable_variables(session.graph, sig) for name, sig in signatures.items()}
    found["signatures"] = {
        name: {
            "inputs": sorted(signatures[name].inputs),
            "outputs": sorted(signatures[name].outputs),
            "variables": len(held),
            "parameters": sum(shape.num_elements() for _, shape in held.values()),
        }
        for name, held in variables.items()
    }
    every = {name: spec for held in variables.values() for name, spec in held.items()}
    found["bytes_used"] = sum(dtype.size * shape.num_elements() for dtype, shape in every.values())
    found["bytes_stored"] = bytes_stored(path)
    found["xla"] = sorted(f.signature.name for f in meta.graph_def.library.function if f.attr["_XlaMustCompile"].b)
    found["answers"] = []
    for name, inputs in pickle.loads(Path(requests).read_bytes()):
        together = run(session, signatures[name], inputs)
        rows = min(ROWS_ALONE, len(next(iter(inputs.values()))))
        alone = [run(session, signatures[name], {k: v[i : i + 1] for k, v in inputs.items()}) for i in range(rows)]
        found["answers"].append((together, {key: np.concatenate([row[key] for row in alone]) for key in together}))
    found["modules"] = sorted({name.split(".")[0] for name in sys.modules} & {"tf_mtl", "keras_hub"})
    Path(answers).write_bytes(pickle.dumps(found))


def run(session, signature, inputs):
    """Return a signature's outputs by name."""
    feed = {signature.inputs[name].name: value for name, value in inputs.items()}
    return session.run({name: info.name for name, info in signature.outputs.items()}, feed)


def reachable_variables(graph, signature):
    """Return `{variable: (dtype, shape)}` of those that a signature's outputs depend on."""
    found, seen = {}, set()
    waiting = [graph.get_tensor_by_name(info.name).op for info in signature.outputs.values()]
    while waiting:
        op = waiting.pop()
        if op.name in seen:
            continue
        seen.add(op.name)
        if op.type == "VarHandleOp":
            found[op.name] = op.get_attr("dtype"), tf.TensorShape(op.get_attr("shape"))
        waiting += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    return found


def bytes_stored(path):
    """Return the bytes of the variables in a model's checkpoint, without those of lookup tables."""
    reader = tf.train.load_checkpoint(str(Path(path) / "variables" / "variables"))
    dtypes, shapes = reader.get_variable_to_dtype_map(), reader.get_variable_to_shape_map()
    numbers = [name for name in dtypes if name.endswith("/.ATTRIBUTES/VARIABLE_VALUE") and dtypes[name] != tf.string]
    return sum(
        dtypes[name].size * int(np.prod(shapes[name])) for name in numbers if name.split("/")[0] != "save_counter"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
