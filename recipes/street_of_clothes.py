"""Scenes of clothes: what is where, which pixels, how many, which is nearest, in which order they cover each other.

    python recipes/street_of_clothes.py                                       # about half an hour
    python recipes/street_of_clothes.py --models hard mtan --no-single-task

Five tasks look at scenes of one to six items of Fashion-MNIST (street_of_clothes_data.py makes them; the items are
real, the scenes are not): `items`, detection; `parts`, segmentation; `number`, a count; `nearest`, the class of the
nearest item; `depth`, the order in which items cover each other, the nearest and largest first. The same convolutional
encoder is shared in different ways (`hard`, `mtan`, `cross_stitch`), and with hard sharing trained by different
balancing methods.

Writes `runs/street_of_clothes/` (results.md, metrics.json, report.html, scenes.png, parts.png, nearest.png) and a
SavedModel of the first model. results.json in that folder has the finished models' results: a command that was stopped
resumes with the next model. Delete the folder after changing the code.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import quiet_tensorflow  # noqa: F401
import fashion_data
import keras
import metrics_file
import optimizers
import recipe_options
import street_of_clothes_data as data
import tensorflow as tf
import training_setup
from finished_runs import FinishedRuns

import tf_mtl as mtl

FILTERS = (8, 16, 32, 48)
LEVEL = "P3"  # of the encoder's last map
TRUNKS: dict[str, Callable[[Any], mtl.trunks.Trunk]] = {
    "hard": mtl.trunks.HardSharing,
    "mtan": mtl.trunks.MTAN,
    "cross_stitch": mtl.trunks.CrossStitch,
}
METHODS = ("uncertainty", "pcgrad", "upgrad")  # with hard sharing
SINGLE = "single-task"
METRICS = {
    "items": ("map", "map50"),
    "parts": ("mean_iou", "accuracy"),
    "number": ("mae",),
    "nearest": ("accuracy",),
    "depth": ("abs_rel", "delta1"),
}
DEFAULTS = {
    "models": (*TRUNKS, "uncertainty", "upgrad"),
    "scenes": 3000,
    "test_scenes": 500,
    "epochs": 5,
    "batch_size": 16,
    "learning_rate": 3e-3,
}
SMOKE = {"models": ("hard", "mtan"), "scenes": 64, "test_scenes": 32, "epochs": 1}
SHOWN = 6


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    strategy = training_setup.choose_strategy(args)
    is_chief = mtl.distribute.is_chief(strategy)
    train_scenes = data.load("train", args.scenes, args.data, seed=0)
    test_scenes = data.load("test", args.test_scenes, args.data, seed=1)
    runs = FinishedRuns(args.workdir / "results.json", write=is_chief)
    results = {}
    for name in [*args.models, *([] if args.no_single_task else [SINGLE])]:
        run = {"model": name, **recipe_options.of_a_run(args, "models")}
        entry = runs.find(run)
        if entry is None:
            entry = runs.add(run, train(args, strategy, name, train_scenes, test_scenes))
            print(f"{name}: {entry['test']}, {entry['train_seconds']:.0f} s", flush=True)
        results[name] = entry
        if is_chief:
            write(args, results)
    if is_chief:
        print(f"\n{table(results)}\nWrote results.md, metrics.json and report.html to {args.workdir}.")


def train(
    args: argparse.Namespace,
    strategy: tf.distribute.Strategy,
    name: str,
    train_scenes: data.Scenes,
    test_scenes: data.Scenes,
) -> dict[str, Any]:
    """Train a model of all tasks, or one of each, and return the results on the test scenes and the seconds."""
    groups = [[task] for task in METRICS] if name == SINGLE else [list(METRICS)]
    test: dict[str, float] = {}
    seconds = 0.0
    for tasks in groups:
        keras.utils.clear_session()
        keras.utils.set_random_seed(args.seed)
        with strategy.scope():
            model = build(TRUNKS.get(name, mtl.trunks.HardSharing), tasks)
            steps = args.epochs * -(-args.scenes // args.batch_size)
            model.compile(optimizers.adamw(args.learning_rate, steps), balancing=name if name in METHODS else "equal")
        started = time.time()
        run = f"{name}-{'-'.join(tasks)}"
        model.fit(
            train_scenes.images,
            {task: train_scenes.labels[task] for task in tasks},
            batch_size=args.batch_size,
            epochs=args.epochs,
            verbose=2,
            callbacks=training_setup.callbacks(args, run, is_reported=name == args.models[0]),
        )
        seconds += time.time() - started
        labels = {task: test_scenes.labels[task] for task in tasks}
        values = model.evaluate(test_scenes.images, labels, batch_size=50, return_dict=True, verbose=0)
        test |= {f"{task}_{metric}": float(values[f"{task}_{metric}"]) for task in tasks for metric in METRICS[task]}
    if name == args.models[0] and mtl.distribute.is_chief(strategy):
        show(args, model, test_scenes)
        export(args, model, test_scenes, test)
    return {"test": test, "train_seconds": seconds}


def build(trunk: Callable[[Any], mtl.trunks.Trunk], tasks: Sequence[str]) -> mtl.MultiTaskModel:
    """Return a model of some tasks."""
    size, kinds = data.SIZE, data.CLASSES[1:]
    heads = [
        mtl.tasks.Detection("items", kinds, size, levels=[LEVEL], hidden_units=[48], most=data.MOST * 2),
        mtl.tasks.Segmentation("parts", data.CLASSES, size, units=48),
        mtl.tasks.Count("number", mean=(1 + data.MOST) / 2, hidden_units=64),
        mtl.tasks.Classification("nearest", kinds, hidden_units=64),
        mtl.tasks.Depth("depth", size, typical=2.0, units=48),
    ]
    (first, *rest), *others = mtl.encoders.ConvEncoder(FILTERS).stages
    stages = [[[keras.layers.Rescaling(1 / 128, -1, name="pixels"), *first], *rest], *others]
    inputs = keras.Input((*size, 1), name="scene")
    return mtl.build_model(inputs, trunk(stages), [head for head in heads if head.name in tasks])


def show(args: argparse.Namespace, model: mtl.MultiTaskModel, scenes: data.Scenes) -> None:
    """Draw the answers to a few test scenes, and which kinds of items are taken for which."""
    images, labels = scenes.images[:SHOWN], {task: each[:SHOWN] for task, each in scenes.labels.items()}
    outputs = model.predict(scenes.images, verbose=0)
    answers = model.decode({task: output[:SHOWN] for task, output in outputs.items()})
    kinds = data.CLASSES[1:]
    mtl.report.detections(images, answers["items"], args.workdir / "scenes.png", labels["items"], kinds)
    mtl.report.masks(images, answers["parts"], args.workdir / "parts.png", labels["parts"], data.CLASSES)
    nearest = outputs["nearest"].argmax(-1)
    mtl.report.confusion_matrix(scenes.labels["nearest"], nearest, kinds, args.workdir / "nearest.png")
    print(f"Drew scenes.png, parts.png and nearest.png in {args.workdir}.")


def export(args: argparse.Namespace, model: mtl.MultiTaskModel, scenes: data.Scenes, test: Mapping[str, float]) -> None:
    """Export the model."""
    about = f"Made scenes of Fashion-MNIST: {args.scenes:,} for training, {args.test_scenes:,} for testing."
    images = scenes.images[:8].astype("float32")
    path = mtl.export.saved_model(model, args.export, warmup=images, metrics=test, data=about)
    metrics_file.add_model_card(args, path)
    print(f"Exported {args.models[0]} to {path}.")


def write(args: argparse.Namespace, results: Mapping[str, dict]) -> Path:
    """Write results.md and metrics.json, and return the path of the latter."""
    args.workdir.mkdir(parents=True, exist_ok=True)
    (args.workdir / "results.md").write_text(table(results))
    return metrics_file.write(
        args,
        args.models[0],
        results[args.models[0]]["test"],
        single_task=results[SINGLE]["test"] if SINGLE in results else {},
        models={name: entry["test"] for name, entry in results.items()},
        train_seconds={name: entry["train_seconds"] for name, entry in results.items()},
    )


def table(results: Mapping[str, dict]) -> str:
    """Return a table of the models, with delta-m over single-task training if that is among them."""
    names = [f"{task}_{metric}" for task, metrics in METRICS.items() for metric in metrics]
    rows = []
    for model, entry in results.items():
        gain = "" if SINGLE not in results else f"{gain_of(entry['test'], results[SINGLE]['test']):+.1%}"
        rows.append([model, *(entry["test"][name] for name in names), gain, round(entry["train_seconds"])])
    return mtl.report.table(["model", *names, "delta-m", "seconds"], rows, digits=3) + "\n"


def gain_of(test: Mapping[str, float], single: Mapping[str, float]) -> float:
    """Return the mean over tasks of the relative gains over single-task results, as in LibMTL."""
    by_task = [{task: {m: each[f"{task}_{m}"] for m in METRICS[task]} for task in METRICS} for each in (test, single)]
    return mtl.report.compare(*by_task).gain_per_task


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = recipe_options.parser("street_of_clothes", __doc__.splitlines()[0])
    parser.set_defaults(data=fashion_data.FOLDER if fashion_data.FOLDER.is_dir() else None)
    parser.add_argument(
        "--models", nargs="+", choices=[*TRUNKS, *METHODS], help="trunks, and methods with hard sharing"
    )
    parser.add_argument("--scenes", type=int, metavar="N", help="training scenes")
    parser.add_argument("--test-scenes", type=int, metavar="N", help="test scenes")
    recipe_options.add_no_single_task(parser)
    args = parser.parse_args(arguments)
    recipe_options.set_defaults(args, DEFAULTS, SMOKE)
    return args


if __name__ == "__main__":
    main()
