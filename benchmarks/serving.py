"""Serving one model of three tasks against three models of one task: latency, throughput, size and memory.

    python benchmarks/serving.py            # a Transformer of 4 layers, width 256, 64 tokens
    python benchmarks/serving.py --rounds 50

All versions answer the same requests in turn, in another order each round, so that what else the machine does falls
on all of them. SavedModels are run by the session loader, as a server does, from token ids. Memory is what loading and
a first request add to a process, each version in one of its own. The pass for all heads is asked to cost at most
1/T + 0.15 of T models of one task. Needs the packages of `tf_mtl[litert,onnx]`.
"""

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

tf.get_logger().setLevel("ERROR")  # it would say that the session loader is old

VOCABULARY, LENGTH, DIM, LAYERS = 8000, 64, 256, 4
BATCHES = (1, 16, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--one", nargs=3, metavar=("KIND", "PATH", "SIGNATURE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(added_memory(*args.one))
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        versions = export(Path(folder))
        rows, budget = measure(versions, args.rounds)
        sizes = [[name, size(parts), memory(parts)] for name, parts in versions.items()]
    for batch, found in rows.items():
        print(f"Batch {batch}:\n\n{mtl.report.table(['version', 'median ms', 'p99 ms', 'rows/s'], found, digits=1)}\n")
    print(mtl.report.table(["version", "disk MB", "memory MB"], sizes, digits=1))
    most = 1 / len(tasks()) + 0.15
    print("\nall heads in one pass, over three models:")
    for batch, ratio in budget.items():
        print(f"batch {batch}: {ratio:.2f} (asked: at most {most:.2f})")
    if max(budget.values()) > most:
        sys.exit("One pass costs more than it may.")


def tasks() -> list[mtl.tasks.Task]:
    return [
        mtl.tasks.Classification("topic", 20, hidden_units=DIM),
        mtl.tasks.MultiLabel("tags", [f"tag {i}" for i in range(30)], hidden_units=DIM),
        mtl.tasks.Regression("stars", hidden_units=DIM),
    ]


def build(some: list[mtl.tasks.Task]) -> mtl.MultiTaskModel:
    encoder = mtl.encoders.TransformerEncoder(VOCABULARY, LENGTH, dim=DIM, layers=LAYERS, heads=4)
    inputs = keras.Input((LENGTH,), dtype="int32", name="ids")
    return mtl.build_model(inputs, mtl.trunks.HardSharing(encoder), some)


def requests(batch: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, VOCABULARY, (batch, LENGTH)).astype("int32")


def export(folder: Path) -> dict[str, list[tuple[str, Path, str]]]:
    """Write all versions: `{name: [(kind, path, signature) of each model that a request goes to]}`."""
    model = build(tasks())
    whole = mtl.export.saved_model(model, folder / "all")
    single = [mtl.export.saved_model(build([task]), folder / task.name) for task in tasks()]
    return {
        "all heads": [("saved_model", whole, "serving_default")],
        "one task's signature": [("saved_model", whole, "topic")],
        "three single-task models": [("saved_model", path, "serving_default") for path in single],
        "all heads, LiteRT": [("litert", mtl.export.litert(model, folder / "float.tflite"), "serving_default")],
        "all heads, LiteRT int8": [
            ("litert", mtl.export.litert(model, folder / "int8.tflite", "dynamic"), "serving_default")
        ],
        "all heads, ONNX": [("onnx", mtl.export.onnx(model, folder / "model.onnx"), "")],
    }


def load(kind: str, path: str | Path, signature: str):
    """Return a function from token ids to the answer."""
    if kind == "saved_model":
        session = tf.compat.v1.Session(graph=tf.Graph())
        with session.graph.as_default():
            meta = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
        found = meta.signature_def[signature]
        outputs = {name: info.name for name, info in found.outputs.items()}
        return session.make_callable(
            [session.graph.get_tensor_by_name(name) for name in outputs.values()], [found.inputs["ids"].name]
        )
    if kind == "litert":
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(model_path=str(path), num_threads=os.cpu_count()).get_signature_runner(signature)
        return lambda ids: runner(ids=ids)
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would slow down what comes next
    session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda ids: session.run(None, {"ids": ids})


def measure(versions, rounds):
    loaded = {name: [load(*part) for part in parts] for name, parts in versions.items()}
    rows, budget, order = {}, {}, np.random.default_rng(0)
    for batch in BATCHES:
        ids, times = requests(batch), {name: [] for name in versions}
        for round_ in range(rounds + 3):  # the first three are for warming up
            for name in order.permutation(list(loaded)):  # so that none always follows the same other
                models = loaded[name]
                started = time.perf_counter()
                for model in models:
                    model(ids)
                if round_ >= 3:
                    times[name].append(1000 * (time.perf_counter() - started))
        medians = {name: float(np.median(found)) for name, found in times.items()}
        rows[batch] = [
            [name, median, float(np.percentile(times[name], 99)), 1000 * batch / median]
            for name, median in medians.items()
        ]
        pairs = zip(times["all heads"], times["three single-task models"], strict=True)
        budget[batch] = float(np.median([one / three for one, three in pairs]))
    return rows, budget


def size(parts) -> float:
    """Megabytes of the files of what is served."""
    paths = {path for _, path, _ in parts}
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def memory(parts) -> float:
    command = [sys.executable, __file__, "--one"]
    return sum(
        float(
            subprocess.run([*command, *map(str, part)], capture_output=True, text=True, check=True).stdout.split()[-1]
        )
        for part in parts
    )


def added_memory(kind: str, path: str, signature: str) -> float:
    """Megabytes that loading and one request of 16 rows add to this process."""
    if kind != "saved_model":
        __import__({"litert": "ai_edge_litert.interpreter", "onnx": "onnxruntime"}[kind])
    before = resident()
    load(kind, path, signature)(requests(16))
    return resident() - before


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
