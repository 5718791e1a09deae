"""Exporting and loading a model of six tasks, with a signature for each, over Keras' own export of the same signatures.

    python benchmarks/export.py
    python benchmarks/export.py --rounds 9

Each export and each load is a process of its own, and the two ways take turns. Both write a signature for all tasks and
one per task, from token ids to decoded outputs; ours without the check of what it wrote, which Keras does not have.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

import tf_mtl as mtl

VOCABULARY, LENGTH, DIM, LAYERS = 8000, 64, 64, 4
WAYS = ("tf_mtl", "Keras")
QUANTITIES = {"export": "seconds to export", "size": "MB of saved_model.pb", "load": "seconds to load"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        way, folder = args.one
        print(json.dumps(load(Path(folder)) if way == "load" else export(way, Path(folder))))
        return
    measured = {way: {quantity: [] for quantity in QUANTITIES} for way in WAYS}
    for number in range(args.rounds):
        for way in WAYS if number % 2 == 0 else WAYS[::-1]:
            with tempfile.TemporaryDirectory() as folder:
                for quantity, value in {**in_process(way, folder), **in_process("load", folder)}.items():
                    measured[way][quantity].append(value)
    rows = []
    for quantity, name in QUANTITIES.items():
        ours, theirs = (measured[way][quantity] for way in WAYS)
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        rows.append([name, statistics.median(ours), statistics.median(theirs), ratio])
    print(mtl.report.table(["", *WAYS, "ratio"], rows, digits=2))


def in_process(way: str, folder: str) -> dict[str, float]:
    """Return what one export, or one load, took."""
    command = [sys.executable, __file__, "--one", way, folder]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def build() -> mtl.MultiTaskModel:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((LENGTH,), dtype="int32", name="ids")
    encoder = mtl.encoders.TransformerEncoder(VOCABULARY, LENGTH, dim=DIM, layers=LAYERS, heads=4)
    topics = [mtl.tasks.Classification(f"topic_{index}", labels=5) for index in range(4)]
    tasks = [*topics, mtl.tasks.Regression("stars"), mtl.tasks.Tagging("entities", ["O", "B-x", "I-x"])]
    return mtl.build_model(inputs, mtl.trunks.HardSharing(encoder), tasks)


def export(way: str, folder: Path) -> dict[str, float]:
    model = build()
    started = time.perf_counter()
    if way == "Keras":
        archive = keras.export.ExportArchive()
        archive.track(model)
        for name, tasks in {"serving_default": model.task_names, **{task: [task] for task in model.task_names}}.items():
            archive.add_endpoint(name, answering(model, tasks), [tf.TensorSpec((None, LENGTH), tf.int32, "ids")])
        archive.write_out(str(folder / "1"), verbose=False)
    else:
        mtl.export.saved_model(model, folder, version=1, check=False)
    seconds = time.perf_counter() - started
    return {"export": seconds, "size": (folder / "1" / "saved_model.pb").stat().st_size / 1e6}


def answering(model: mtl.MultiTaskModel, names: list[str]) -> object:
    """Return a function from ids to the decoded outputs of some tasks."""
    part = keras.Model(model.input, {name: model.output[name] for name in names})
    tasks = [task for task in model.tasks if task.name in names]

    def answer(ids):
        outputs = part(ids, training=False)
        return {f"{task.name}_{key}": x for task in tasks for key, x in task.decode(outputs[task.name]).items()}

    return answer


def load(folder: Path) -> dict[str, float]:
    started = time.perf_counter()
    tf.saved_model.load(str(folder / "1"))
    return {"load": time.perf_counter() - started}


if __name__ == "__main__":
    main()
