"""Blood cells under the microscope: where each cell is, how many there are of each kind, and whether one kind is there.

    python recipes/blood_cells.py --data BCCD/
    python recipes/blood_cells.py --data BCCD/ --no-single-task --epochs 40

The folder is one of Pascal VOC: annotations (.xml) and pictures anywhere in it, and the lists of `ImageSets/Main`;
without lists, pictures are divided at random. The classes are those of the annotations, so any such folder will do.

One convolutional encoder with a feature pyramid, trained from scratch, serves three tasks: `cells`, detection;
`counts`, the number of cells of each kind; and `presence`, whether an image has any cell of one kind, by default the
kind that is in the fraction of images nearest to one half. The test part is kept apart; all others are trained on,
since nothing is chosen by them. Single-task models have the same encoder and schedule.

Writes `runs/blood_cells/` (metrics.json, report.html, detections.png, six test images with boxes, precision_recall.png)
and a SavedModel that takes the bytes of pictures. results.json in that folder has the finished models' results: a
command that was stopped resumes with the next model. Delete the folder after changing the code.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import quiet_tensorflow  # noqa: F401
import blood_cells_data as data
import keras
import metrics_file
import numpy as np
import optimizers
import recipe_options
import tensorflow as tf
import training_setup
from export_and_ask import export_and_ask
from finished_runs import FinishedRuns

import tf_mtl as mtl

JOINT = "joint"
DEFAULTS = {"epochs": 60, "batch_size": 8, "learning_rate": 3e-3}
SMOKE = {"epochs": 1}
CLIPNORM = 5.0  # of gradients, since the first steps of a detector can be large
LOSS_WEIGHTS = {"counts": 0.05, "presence": 0.2}
FILTERS = (8, 16, 48, 96, 128, 128)
PYRAMID = 64
IMAGES_SHOWN = 6


class Trained(NamedTuple):
    """A trained model, and its results: those on the test data, and the seconds of training."""

    model: mtl.MultiTaskModel
    results: dict


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    strategy = training_setup.choose_strategy(args)
    is_chief = mtl.distribute.is_chief(strategy)
    runs = FinishedRuns(args.workdir / "results.json", write=is_chief)
    cells = data.load(args.data, args.image_size, args.presence, args.seed, args.smoke)
    sizes = ", ".join(f"{len(rows)} {part}" for part, rows in cells.records.items())
    print(f"Images: {sizes}; classes: {', '.join(cells.names)}; presence of {cells.presence}.")
    names = [task.name for task in cells.tasks]
    models = {JOINT: names, **({} if args.no_single_task else {name: [name] for name in names})}
    results: dict[str, dict] = {}
    for model_name, tasks in models.items():
        run = {"model": model_name, **recipe_options.of_a_run(args)}
        entry = runs.find(run)
        if entry is None:
            trained = train(args, strategy, cells, tasks)
            entry = runs.add(run, trained.results)
            if is_chief and model_name == JOINT:
                draw(args, trained.model, cells)
                export(args, trained, cells)
        results[model_name] = entry
        if is_chief:
            path = write(args, results)
    if is_chief:
        print_results(results)
        print(f"\nWrote {path}.")


def train(
    args: argparse.Namespace, strategy: tf.distribute.Strategy, cells: data.Cells, tasks: Sequence[str]
) -> Trained:
    """Train a model of some tasks."""
    keras.utils.set_random_seed(args.seed)
    heads = [task for task in cells.tasks if task.name in tasks]
    mixture = mtl.data.mix(
        {"images": cells.rows["train"]},
        batch_size=args.batch_size,
        shuffle_buffer=len(cells.rows["train"]),
        seed=args.seed,
        augment=cells.augment(tasks),
    )
    with strategy.scope():
        trunk = mtl.trunks.HardSharing(encoder(cells.preprocessor))
        model = mtl.build_model(cells.preprocessor.inputs(), trunk, heads)
        optimizer = optimizers.adamw(args.learning_rate, args.epochs * len(mixture), clipnorm=CLIPNORM)
        model.compile(
            optimizer,
            loss_weights={task: LOSS_WEIGHTS[task] for task in tasks if task in LOSS_WEIGHTS and len(tasks) > 1},
            balancing=args.balancing,
        )
    started = time.time()
    model.fit(
        mixture,
        epochs=args.epochs,
        verbose=2,
        callbacks=training_setup.callbacks(args, "-".join(tasks), is_reported=len(tasks) > 1),
    )
    seconds = time.time() - started
    values = model.evaluate(cells.test_rows(tasks).batch(args.batch_size), return_dict=True, verbose=0)
    test = {name: float(value) for name, value in values.items() if not name.endswith("loss")}
    return Trained(model, {"test": test, "train_seconds": seconds})


def encoder(preprocessor: mtl.images.ImagePreprocessor) -> keras.Model:
    """Return a convolutional encoder with a feature pyramid, from pixels between 0 and 255.

    Counts and presence depend on small things, so `pooled` is that of the finest level: its mean and its maximum.
    """
    inputs = preprocessor.inputs()
    pixels = keras.layers.Rescaling(1 / 64, -2, name="pixels")(inputs)
    features = mtl.encoders.FeaturePyramid(mtl.encoders.ConvEncoder(FILTERS), filters=PYRAMID)(pixels)
    finest = features["P3"]
    pooled = [keras.layers.GlobalAveragePooling2D()(finest), keras.layers.GlobalMaxPooling2D()(finest)]
    features = {level: features[level] for level in ("P3", "P4", "P5")}
    return keras.Model(inputs, {**features, "pooled": keras.layers.Concatenate()(pooled)}, name="encoder")


def draw(args: argparse.Namespace, model: mtl.MultiTaskModel, cells: data.Cells) -> None:
    """Draw the detections in a few test images, and precision over recall of them all."""
    x, y = next(iter(cells.rows["test"].batch(IMAGES_SHOWN)))
    answers = model.decode(model.predict(x, verbose=0))["cells"]
    path = mtl.report.detections(x.numpy(), answers, args.workdir / "detections.png", y["cells"], cells.names)
    print(f"Drew {path}.")
    metric = mtl.metrics.MeanAveragePrecision(cells.names)
    task = next(task for task in model.tasks if task.name == "cells")
    for x, y in cells.rows["test"].batch(args.batch_size):
        metric.update_state(y["cells"], task.predictions(model.predict(x, verbose=0)["cells"]))
    path = mtl.report.precision_recall(metric.curves(), args.workdir / "precision_recall.png")
    print(f"Drew {path}.")


def export(args: argparse.Namespace, trained: Trained, cells: data.Cells) -> None:
    """Export the model, and ask it about two test pictures."""
    files = [record["file"].decode() for record in cells.records["test"].take(2).as_numpy_iterator()]
    about = f"{args.data}: pictures with boxes around {', '.join(cells.names)}."
    export_and_ask(args, trained.model, cells.preprocessor, files, trained.results["test"], about)


def write(args: argparse.Namespace, results: Mapping[str, dict]) -> Path:
    """Write metrics.json, and return its path."""
    return metrics_file.write(
        args,
        f"joint, {args.balancing}",
        results[JOINT]["test"],
        single_task={k: v for model in results if model != JOINT for k, v in results[model]["test"].items()},
        train_seconds={model: entry["train_seconds"] for model, entry in results.items()},
    )


def print_results(results: Mapping[str, dict]) -> None:
    """Print the joint model's results beside those of the single-task models."""
    joint = results[JOINT]["test"]
    single = {name: value for model in results if model != JOINT for name, value in results[model]["test"].items()}
    rows = [[name, joint[name], single.get(name, np.nan)] for name in sorted(joint)]
    print("\nOn the test images:\n")
    print(mtl.report.table(["metric", "joint", "single task"], rows, digits=3))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = recipe_options.parser("blood_cells", __doc__.splitlines()[0])
    parser.add_argument(
        "--image-size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        default=[240, 320],
        help="of the model (default: 240 320)",
    )
    parser.add_argument("--presence", metavar="CLASS", help="the kind of which the presence is predicted")
    recipe_options.add_no_single_task(parser)
    recipe_options.add_balancing(parser)
    args = parser.parse_args(arguments)
    recipe_options.require_data(parser, args, "a folder of Pascal VOC with annotations and pictures")
    recipe_options.set_defaults(args, DEFAULTS, SMOKE)
    return args


if __name__ == "__main__":
    main()
