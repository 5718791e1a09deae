"""Two items of Fashion-MNIST on one canvas: which lies left, which right? One CNN, two tasks, many balancing methods.

    python recipes/fashion_pairs.py                                    # 18 methods, seeds 0 to 2: about half an hour
    python recipes/fashion_pairs.py --methods equal upgrad --seeds 1   # two minutes

Prints the methods beside single-task training, and writes `runs/fashion_pairs/` (results.md, metrics.json,
accuracies.png). results.json there keeps every run: a command that was stopped goes on where it was, and a method
or a seed more trains only that. Delete it after changing a method.
"""

import argparse
import json
import os
import time
from pathlib import Path
from statistics import fmean, median, stdev

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import fashion_data
import keras
import numpy as np
import tensorflow as tf
import where

import tf_mtl as mtl

TASKS = ("left", "right")
SINGLE = "single-task"
METHODS = (
    *("equal", "rlw", "scale_invariant", "dwa", "gls", "uncertainty", "imtl_loss", "famo"),
    *("mgda", "pcgrad", "cagrad", "nash_mtl", "fair_grad", "aligned_mtl", "upgrad", "imtl_grad", "graddrop", "config"),
)
HEADER = ("method", "left, %", "right, %", "delta-m, %", "conflicts, %", "ms per step")
NOTES = f"""
- left, right: test accuracy, mean +- standard deviation over the seeds; all models learn from the same pairs.
- delta-m: mean over tasks of the accuracy's gain relative to single-task training; positive is better, as in LibMTL.
- conflicts: training steps where the two gradients have a negative cosine; empty for methods that do not compare them.
- ms per step: median over the epochs after the first, as this run met it, not a benchmark; {SINGLE}: both models.
"""


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    tf.get_logger().setLevel("ERROR")  # it would warn that every model traces a step of its own
    args.output.mkdir(parents=True, exist_ok=True)
    strategy = where.choose(args, args.output / "checkpoints")
    rows = summary(runs(args, strategy))
    if not where.is_chief(strategy):
        return
    text = mtl.report.table(HEADER, [cells(name, row) for name, row in rows.items()], digits=2) + "\n" + NOTES
    print(f"\n{text}")
    (args.output / "results.md").write_text(text)
    document = {"methods": rows, "seeds": args.seeds, "settings": settings(args)}
    (args.output / "metrics.json").write_text(json.dumps(document, indent=2) + "\n")
    scatter(rows, args.output / "accuracies.png")
    print(f"Wrote results.md, metrics.json and accuracies.png to {args.output}.")


def settings(args: argparse.Namespace) -> dict:
    """Return what a run depends on, apart from method and seed."""
    apart = ("methods", "seeds", "output", *where.OPTIONS)
    return {name: value for name, value in vars(args).items() if name not in apart}


def runs(args: argparse.Namespace, strategy: tf.distribute.Strategy) -> list[dict]:
    """Return the result of every method and seed; train those that results.json lacks, and keep each at once."""
    train = fashion_data.load("train", args.pairs, args.data, seed=0)
    test = fashion_data.load("test", args.test_pairs, args.data, seed=1)
    path, found = args.output / "results.json", []
    known = json.loads(path.read_text()) if path.exists() else []
    for seed in range(args.seeds):
        for method in dict.fromkeys([SINGLE, *args.methods]):
            wanted = {"method": method, "seed": seed, **settings(args)}
            run = next((run for run in known if wanted.items() <= run.items()), None)
            if run is None:
                started = time.perf_counter()
                run = wanted | trained(method, seed, train, test, args, strategy)
                known.append(run)
                if where.is_chief(strategy):
                    path.write_text(json.dumps(known, indent=2) + "\n")
                accuracies = ", ".join(f"{task} {run[task]:.2%}" for task in TASKS)
                print(f"{method}, seed {seed}: {accuracies}, {time.perf_counter() - started:.0f} s", flush=True)
            found.append(run)
    return found


def trained(method: str, seed: int, train: tuple, test: tuple, args: argparse.Namespace, strategy) -> dict:
    """Train a model of both tasks, or one for each, and return accuracies, share of conflicts and time per step."""
    if method != SINGLE:
        return fit(TASKS, method, seed, train, test, args, strategy)
    left, right = (fit([task], "equal", seed, train, test, args, strategy) for task in TASKS)
    return left | right | {"step_ms": left["step_ms"] + right["step_ms"]}


def fit(tasks, method, seed, train, test, args, strategy) -> dict:
    """Train one model and return what came out."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    heads = [mtl.tasks.Classification(task, labels=fashion_data.CLASSES, hidden_units=50) for task in tasks]
    steps, ticks = -(-args.pairs // args.batch_size), []
    with strategy.scope():
        model = mtl.build_model(keras.Input(train[0].shape[1:]), mtl.trunks.HardSharing(encoder()), heads)
        rate = keras.optimizers.schedules.CosineDecay(args.learning_rate, args.epochs * steps)
        model.compile(keras.optimizers.Adam(rate), balancing=method, gradients=args.gradients)

    def data(part):
        return part[0], {task: part[1][task] for task in tasks}

    def tick(*_):
        ticks.append(time.perf_counter())

    clock = keras.callbacks.LambdaCallback(on_train_begin=tick, on_epoch_end=tick)
    checkpoint = where.checkpoint(args.output / "checkpoints" / f"{method}-{seed}-{'-'.join(tasks)}")
    callbacks = [checkpoint, clock]
    history = model.fit(*data(train), args.batch_size, args.epochs, verbose=0, callbacks=callbacks).history
    results = model.evaluate(*data(test), batch_size=1000, verbose=0, return_dict=True)
    seconds = np.diff(ticks).tolist()
    return {task: results[f"{task}_accuracy"] for task in tasks} | {
        "conflict": fmean(history["conflict"]) if "conflict" in history else None,
        "step_ms": 1000 * median(seconds[1:] or seconds or [0.0]) / steps,
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


def summary(found: list[dict]) -> dict[str, dict]:
    """Return each method's means over its seeds, the best delta-m first."""
    rows = {}
    for method in dict.fromkeys(run["method"] for run in found):
        mine = [run for run in found if run["method"] == method]
        rows[method] = {task: fmean(run[task] for run in mine) for task in TASKS}
        rows[method]["seeds"] = {task: [run[task] for run in mine] for task in TASKS}
        conflicts = [run["conflict"] for run in mine if run["conflict"] is not None]
        rows[method]["conflict"] = fmean(conflicts) if conflicts else None
        rows[method]["step_ms"] = median(run["step_ms"] for run in mine)
    accuracies = {method: {task: {"accuracy": row[task]} for task in TASKS} for method, row in rows.items()}
    for method, row in rows.items():
        row["delta_m"] = mtl.report.compare(accuracies[method], accuracies[SINGLE]).gain_per_task
    return dict(sorted(rows.items(), key=lambda item: -item[1]["delta_m"]))


def cells(method: str, row: dict) -> list:
    accuracies = [100 * np.array(row["seeds"][task]) for task in TASKS]
    spread = [f" +- {stdev(values):.2f}" if len(values) > 1 else "" for values in accuracies]
    shown = [f"{values.mean():.2f}{sd}" for values, sd in zip(accuracies, spread, strict=True)]
    conflict = None if row["conflict"] is None else 100 * row["conflict"]
    return [method, *shown, 100 * row["delta_m"], conflict, row["step_ms"]]


def scatter(rows: dict[str, dict], path: Path) -> None:
    """Draw each method's accuracies: means and, small, seeds; labels in a column at the right, in order of height."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.add_subplot(xlabel="left, test accuracy in %", ylabel="right, test accuracy in %")
    methods = sorted(rows.keys() - {SINGLE}, key=lambda method: rows[method]["right"])
    for i, method in enumerate(methods):
        colour, marker = colormaps["tab10"](i % 10), "osD^vPX"[i % 7]
        x, y = (100 * rows[method][task] for task in TASKS)
        seeds = (100 * np.array(rows[method]["seeds"][task]) for task in TASKS)
        panel.plot(*seeds, marker, color=colour, markersize=3, alpha=0.5)
        panel.plot(x, y, marker, color=colour)
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.7, "relpos": (0, 0.5)}
        place = {"xytext": (1.04, (i + 0.5) / len(methods)), "textcoords": "axes fraction", "va": "center"}
        panel.annotate(method, (x, y), **place, color=colour, arrowprops=line)
    x, y = (100 * rows[SINGLE][task] for task in TASKS)
    panel.axvline(x, color="grey", linestyle="--", linewidth=1, label=SINGLE)
    panel.axhline(y, color="grey", linestyle="--", linewidth=1)
    panel.legend(loc="upper left")
    figure.savefig(path, dpi=110)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    installed = str(fashion_data.FOLDER) if fashion_data.FOLDER.is_dir() else None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=METHODS, metavar="NAME", help="of tf_mtl.balancing")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="train with the seeds 0 to N - 1")
    parser.add_argument("--pairs", type=int, default=20_000, help="training pairs")
    parser.add_argument("--test-pairs", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--gradients", choices=["parameters", "features"], default="parameters")
    parser.add_argument("--data", metavar="FOLDER", default=installed, help="take the data files from here")
    parser.add_argument("--output", type=Path, default=Path("runs/fashion_pairs"))
    where.add_options(parser)
    args = parser.parse_args(arguments)
    try:
        for name in args.methods:
            mtl.balancing.get(name)
    except ValueError as error:
        parser.error(str(error))
    return args


if __name__ == "__main__":
    main()
