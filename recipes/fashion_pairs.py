"""Two items of Fashion-MNIST on one canvas: which is on the left, and which on the right?

    python recipes/fashion_pairs.py                                    # 18 methods, seeds 0 to 2: about half an hour
    python recipes/fashion_pairs.py --methods equal upgrad --seeds 1   # two minutes

One CNN, two tasks, and many balancing methods, compared with single-task training. Writes `runs/fashion_pairs/`
(results.md, metrics.json, report.html, accuracies.png) and a SavedModel of the best run of a method. results.json and
the models in that folder keep every run: a command that was stopped resumes with the next run, and for another method
or seed only its runs are trained. Delete the folder after changing the code.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import quiet_tensorflow  # noqa: F401
import fashion_data
import fashion_report
import keras
import metrics_file
import numpy as np
import recipe_options
import tensorflow as tf
import training_setup
from epoch_clock import EpochClock
from fashion_data import TASKS
from fashion_report import SINGLE
from finished_runs import FinishedRuns

import tf_mtl as mtl

METHODS = (
    *("equal", "rlw", "scale_invariant", "dwa", "gls", "uncertainty", "imtl_loss", "famo"),
    *("mgda", "pcgrad", "cagrad", "nash_mtl", "fair_grad", "aligned_mtl", "upgrad", "imtl_grad", "graddrop", "config"),
)
DEFAULTS = {
    "methods": METHODS,
    "seeds": 3,
    "pairs": 20_000,
    "test_pairs": 10_000,
    "epochs": 6,
    "batch_size": 128,
    "learning_rate": 3e-3,
}
SMOKE = {"methods": ("equal", "pcgrad"), "seeds": 1, "pairs": 512, "test_pairs": 256, "epochs": 1}

Part = tuple[np.ndarray, dict[str, np.ndarray]]  # canvases and labels


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    strategy = training_setup.choose_strategy(args)
    train = fashion_data.load("train", args.pairs, args.data, seed=0)
    test = fashion_data.load("test", args.test_pairs, args.data, seed=1)
    runs = run_all(args, strategy, train, test)
    if not mtl.distribute.is_chief(strategy):
        return
    rows = fashion_report.summary(runs)
    text = fashion_report.table(rows)
    print(f"\n{text}")
    (args.workdir / "results.md").write_text(text)
    fashion_report.scatter(rows, args.workdir / "accuracies.png")
    best = max((run for run in runs if run["method"] != SINGLE), key=lambda run: fmean(run[task] for task in TASKS))
    name, results = f"{best['method']}, seed {best['seed']}", {f"{task}_accuracy": best[task] for task in TASKS}
    metrics_file.write(args, name, results, methods=rows)
    print(f"Wrote results.md, metrics.json, report.html and accuracies.png to {args.workdir}.")
    path = mtl.export.saved_model(
        keras.models.load_model(model_path(args, best["method"], best["seed"])),
        args.export,
        warmup=test[0][:8],
        metrics=results,
        data=f"Pairs of Fashion-MNIST: {args.pairs:,} for training, {args.test_pairs:,} for testing.",
    )
    metrics_file.add_model_card(args, path)
    print(f"Exported {name}, to {path}.")


def run_all(args: argparse.Namespace, strategy: tf.distribute.Strategy, train: Part, test: Part) -> list[dict]:
    """Return the entry of every method and seed, after training those that results.json lacks."""
    is_chief = mtl.distribute.is_chief(strategy)
    finished = FinishedRuns(args.workdir / "results.json", write=is_chief)
    runs = []
    for seed in range(args.seeds):
        for method in dict.fromkeys([SINGLE, *args.methods]):
            options = {"method": method, "seed": seed, **recipe_options.of_a_run(args, "methods")}
            run = finished.find(options)
            if run is None:
                started = time.perf_counter()
                results = run_one(method, seed, train, test, args, strategy)
                run = finished.add(options, results)
                accuracies = ", ".join(f"{task} {run[task]:.2%}" for task in TASKS)
                print(f"{method}, seed {seed}: {accuracies}, {time.perf_counter() - started:.0f} s", flush=True)
            runs.append(run)
    return runs


def run_one(
    method: str, seed: int, train: Part, test: Part, args: argparse.Namespace, strategy: tf.distribute.Strategy
) -> dict[str, Any]:
    """Train a model of both tasks, or one of each, and return accuracies, fraction of conflicts and time per step."""
    if method == SINGLE:
        left, right = (fit([task], "equal", seed, train, test, args, strategy)[1] for task in TASKS)
        return left | right | {"step_ms": left["step_ms"] + right["step_ms"]}
    model, results = fit(TASKS, method, seed, train, test, args, strategy)
    if mtl.distribute.is_chief(strategy):
        path = model_path(args, method, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
    return results


def fit(
    tasks: Sequence[str],
    method: str,
    seed: int,
    train: Part,
    test: Part,
    args: argparse.Namespace,
    strategy: tf.distribute.Strategy,
) -> tuple[mtl.MultiTaskModel, dict[str, Any]]:
    """Train one model, and return it with its results."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    heads = [mtl.tasks.Classification(task, labels=fashion_data.CLASSES, hidden_units=50) for task in tasks]
    steps = -(-args.pairs // args.batch_size)
    with strategy.scope():
        model = mtl.build_model(
            keras.Input(train[0].shape[1:], name="canvas"), mtl.trunks.HardSharing(encoder()), heads
        )
        rate = keras.optimizers.schedules.CosineDecay(args.learning_rate, args.epochs * steps)
        model.compile(keras.optimizers.Adam(rate), balancing=method, gradients=args.gradients)

    clock = EpochClock()
    history = model.fit(
        train[0],
        {task: train[1][task] for task in tasks},
        batch_size=args.batch_size,
        epochs=args.epochs,
        verbose=0,
        callbacks=[
            training_setup.checkpoint(args, f"{method}-{seed}-{'-'.join(tasks)}"),
            clock,
            *(training_setup.alignment(args) if len(tasks) > 1 else []),
        ],
    ).history
    test_labels = {task: test[1][task] for task in tasks}
    results = model.evaluate(test[0], test_labels, batch_size=1000, verbose=0, return_dict=True)
    return model, {task: results[f"{task}_accuracy"] for task in tasks} | {
        "conflict": fmean(history["conflict"]) if "conflict" in history else None,
        "alignment": fmean(history["alignment"]) if "alignment" in history else None,
        "step_ms": 1000 * clock.seconds() / steps,
    }


def encoder() -> keras.Sequential:
    """Return a small LeNet: [B, 36, 36, 1] -> [B, 50]."""
    return keras.Sequential(
        [
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(10, 5, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(20, 5, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(50, activation="relu"),
        ]
    )


def model_path(args: argparse.Namespace, method: str, seed: int) -> Path:
    return args.workdir / "models" / f"{method}-{seed}.keras"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = recipe_options.parser("fashion_pairs", __doc__.splitlines()[0], several_seeds=True)
    parser.set_defaults(data=fashion_data.FOLDER if fashion_data.FOLDER.is_dir() else None)
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="of tf_mtl.balancing")
    parser.add_argument("--pairs", type=int, metavar="N", help="training pairs")
    parser.add_argument("--test-pairs", type=int, metavar="N", help="test pairs")
    recipe_options.add_alignment(parser)
    parser.add_argument("--gradients", choices=["parameters", "features"], default="parameters")
    args = parser.parse_args(arguments)
    recipe_options.set_defaults(args, DEFAULTS, SMOKE)
    try:
        for name in args.methods:
            mtl.balancing.get(name)
    except ValueError as error:
        parser.error(str(error))
    return args


if __name__ == "__main__":
    main()
