"""Income and marital status of people from a census: the MMoE paper's experiment, with eight ways of sharing.

    python recipes/census_income.py                            # all trunks, seeds 0 to 2: about half an hour on 2 cores
    python recipes/census_income.py --trunk mmoe --seeds 1     # one minute
    python recipes/census_income.py --tasks 3                  # also: a Bachelor's degree or more

All trunks get the number of parameters that `--width` gives MMoE. Prints their AUCs on the test file beside those of
single-task training, and writes `runs/census_income/` (results.md, metrics.json, auc.png) and a SavedModel of the best
run of a shared model. results.json and the models there keep every run: a command that was stopped goes on where it
was; delete the folder after changing the code. Expected of MMoE: AUCs of 0.956 and 0.995.

The hyper-parameters were chosen for MMoE on a tenth of the training file (`--holdout 0.1`) before any look at the test
file; the other trunks use the same.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import census_data
import census_features
import keras
import numpy as np
import tensorflow as tf
import where
from census_trunks import NAMES, SINGLE, fitting_width, models

import tf_mtl as mtl

NOTES = """
- best, mean: test AUC over the seeds. PaddleRec's MMoE on the same files: income 0.9494 and 0.9447, never married
  0.9942 and 0.9932.
- delta-m: mean over tasks of the mean AUC's gain relative to single-task training, as in LibMTL; positive is better.
- parameters: of all models together; single-task training has one per task.
- s per epoch: median over the epochs after the first, as this run met it, not a benchmark.
"""


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    tf.get_logger().setLevel("ERROR")  # it would warn that every model traces a step of its own
    args.output.mkdir(parents=True, exist_ok=True)
    names = census_data.TASKS[: args.tasks]
    strategy = where.choose(args, args.output / "checkpoints")
    train, test, space, examples = data(args, names)
    found = runs(args, strategy, train, test, space, names)
    rows = summary(found, names)
    if not where.is_chief(strategy):
        return
    text = mtl.report.table(header(names), [cells(name, row, names) for name, row in rows.items()], digits=4)
    print(f"\n{text}\n{NOTES}")
    (args.output / "results.md").write_text(f"{text}\n{NOTES}")
    document = {"trunks": rows, "seeds": args.seeds, "settings": settings(args)}
    (args.output / "metrics.json").write_text(json.dumps(document, indent=2) + "\n")
    plot(rows, names, args.output / "auc.png")
    print(f"Wrote results.md, metrics.json and auc.png to {args.output}.")
    shared = [run for run in found if run["trunk"] != SINGLE]
    if shared:
        best = max(shared, key=lambda run: fmean(run[task] for task in names))
        model = keras.models.load_model(model_path(args, best))
        path = mtl.export.saved_model(
            model,
            args.export,
            preprocessor=census_features.preprocessor(space, examples),
            warmup=examples,
            metrics={f"{task}_auc": best[task] for task in names},
            data="Census-Income (KDD), UCI: 199,523 rows of training, 99,762 of test.",
        )
        print(f"Exported {best['trunk']}, seed {best['seed']}, to {path}.")


def settings(args: argparse.Namespace) -> dict:
    """Return what a run depends on, apart from trunk and seed."""
    apart = ("trunk", "seeds", "output", "export", "data", *where.OPTIONS)
    return {name: value for name, value in vars(args).items() if name not in apart}


def data(args: argparse.Namespace, names: Sequence[str]) -> tuple:
    """Return the training and test rows as (columns, labels), encoded, the feature space, and some raw test rows."""
    train, test = census_data.load(args.data, names)
    rows = np.random.default_rng(0).permutation(len(train[0]["age"]))[: args.rows]
    kept = rows[int(args.holdout * len(rows)) :]
    test = part(train, rows[: len(rows) - len(kept)]) if args.holdout else test
    train = part(train, kept)
    space = census_features.feature_space(train[0])
    encoded = [(census_features.encoded(space, columns), labels) for columns, labels in (train, test)]
    return *encoded, space, {name: values[:8] for name, values in test[0].items()}


def part(data: tuple, rows: np.ndarray) -> tuple:
    """Return some rows of columns and labels."""
    return tuple({name: values[rows] for name, values in columns.items()} for columns in data)


def batches(data: tuple, size: int, shuffle: bool) -> tf.data.Dataset:
    """Return batches of rows; shuffled ones anew in each epoch, without the last, smaller one."""
    columns, labels = tf.nest.map_structure(tf.constant, data)
    rows = len(next(iter(labels.values())))
    order = tf.data.Dataset.range(rows)
    order = order.shuffle(rows) if shuffle else order
    taken = order.batch(size, drop_remainder=shuffle)
    return taken.map(lambda i: tf.nest.map_structure(lambda x: tf.gather(x, i), (columns, labels))).prefetch(2)


def runs(args, strategy, train, test, space, names) -> list[dict]:
    """Return the result of every trunk and seed; train those that results.json lacks, and keep each at once."""
    path, found = args.output / "results.json", []
    known = json.loads(path.read_text()) if path.exists() else []
    widths = {}
    for seed in range(args.seeds):
        for trunk in dict.fromkeys([SINGLE, *args.trunk]):
            wanted = {"trunk": trunk, "seed": seed, **settings(args)}
            run = next((run for run in known if wanted.items() <= run.items()), None)
            if run is None:
                if trunk not in widths:
                    widths[trunk] = fitting_width(trunk, budget(args, space, names), encoder(space), heads(names))
                width, parameters = widths[trunk]
                made, run = trained(trunk, width, seed, train, test, space, names, args, strategy)
                run = wanted | run | {"units": width, "parameters": parameters}
                known.append(run)
                if where.is_chief(strategy):
                    if trunk != SINGLE:
                        model_path(args, run).parent.mkdir(exist_ok=True)
                        made[0].save(model_path(args, run))
                    path.write_text(json.dumps(known, indent=2) + "\n")
                aucs = ", ".join(f"{task} {run[task]:.4f}" for task in names)
                speed = (
                    f"{run['epoch_s']:.1f} s per epoch, {run['input_s'] / run['epoch_s']:.0%} of it for the input alone"
                )
                print(f"{trunk}, seed {seed}: {aucs}, {speed}", flush=True)
            found.append(run)
    return found


def budget(args, space, names) -> int:
    """Return the number of parameters of MMoE with the width of the command line."""
    (model,) = models("mmoe", args.width, encoder(space), heads(names))
    return model.count_params()


def encoder(space) -> mtl.encoders.TabularEncoder:
    """Return a new encoder of the encoded columns."""
    return mtl.encoders.TabularEncoder.from_features(space, dim=8, dropout=0.1)


def heads(names) -> list[mtl.tasks.Task]:
    """Return the tasks, each with a hidden layer of its own: the towers of the papers."""
    return [mtl.tasks.BinaryClassification(name, hidden_units=32) for name in names]


def model_path(args, run) -> Path:
    return args.output / "models" / f"{run['trunk']}-{run['seed']}.keras"


def trained(trunk, width, seed, train, test, space, names, args, strategy) -> tuple[list, dict]:
    """Train a trunk's model (or models); return it with AUCs, and seconds per epoch and for the input of one."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    with strategy.scope():
        made, result = models(trunk, width, encoder(space), heads(names)), {"epoch_s": 0.0, "input_s": 0.0}
    for model in made:
        own = model.task_names
        parts = [(columns, {task: labels[task] for task in own}) for columns, labels in (train, test)]
        rows = batches(parts[0], args.batch_size, shuffle=True)
        folder = args.output / "checkpoints" / f"{trunk}-{seed}-{'-'.join(own)}"
        with strategy.scope():
            compile_model(model, len(rows), args)
        result["epoch_s"] += fit(model, rows, args, folder)
        started = time.perf_counter()
        rows.reduce(0, lambda count, _: count + 1).numpy()
        result["input_s"] += time.perf_counter() - started
        columns, labels = parts[1]
        logits = model.predict(columns, batch_size=4096, verbose=0)
        result |= {task: auc(labels[task], logits[task][:, 0]) for task in own}
    return made, result


def compile_model(model: mtl.MultiTaskModel, steps: int, args: argparse.Namespace) -> None:
    """Compile a model for epochs of so many steps, with weight decay of kernels and embeddings alone."""
    rate = keras.optimizers.schedules.CosineDecay(args.learning_rate, args.epochs * steps)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=args.weight_decay)
    decayed = ("kernel", "embeddings")
    optimizer.exclude_from_weight_decay([v for v in model.trainable_variables if v.name not in decayed])
    model.compile(optimizer, balancing=args.balancing, metrics={task: [] for task in model.task_names})


def fit(model: mtl.MultiTaskModel, rows: tf.data.Dataset, args: argparse.Namespace, folder: Path) -> float:
    """Train a model, with checkpoints in a folder, and return the median seconds per epoch."""
    ticks = []

    def tick(*_):
        ticks.append(time.perf_counter())

    clock = keras.callbacks.LambdaCallback(on_train_begin=tick, on_epoch_end=tick)
    model.fit(rows, epochs=args.epochs, verbose=0, callbacks=[where.checkpoint(folder), clock])
    seconds = np.diff(ticks).tolist()
    return median(seconds[1:] or seconds or [0.0])


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve: the share of (positive, negative) pairs in order, ties counting half."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    positive = labels > 0
    above = ranks[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(above / positive.sum() / (~positive).sum())


def summary(found: list[dict], names: Sequence[str]) -> dict[str, dict]:
    """Return each trunk's best and mean over its seeds, the best delta-m first."""
    rows = {}
    for trunk in dict.fromkeys(run["trunk"] for run in found):
        mine = [run for run in found if run["trunk"] == trunk]
        row = {task: {"auc": [run[task] for run in mine]} for task in names}
        for result in row.values():
            result |= {"best": max(result["auc"]), "mean": fmean(result["auc"])}
        rows[trunk] = row | {key: mine[0][key] for key in ("units", "parameters")}
        rows[trunk]["epoch_s"] = median(run["epoch_s"] for run in mine)
    means = {trunk: {task: {"auc": row[task]["mean"]} for task in names} for trunk, row in rows.items()}
    for trunk, row in rows.items():
        row["delta_m"] = mtl.report.compare(means[trunk], means[SINGLE]).gain_per_task
    return dict(sorted(rows.items(), key=lambda item: -item[1]["delta_m"]))


def header(names: Sequence[str]) -> list[str]:
    columns = [f"{task}, {which}" for task in names for which in ("best", "mean")]
    return ["trunk", *columns, "delta-m, %", "parameters", "s per epoch"]


def cells(trunk: str, row: dict, names: Sequence[str]) -> list:
    aucs = [row[task][which] for task in names for which in ("best", "mean")]
    return [trunk, *aucs, f"{100 * row['delta_m']:+.2f}", f"{row['parameters']:,}", f"{row['epoch_s']:.1f}"]


def plot(rows: dict[str, dict], names: Sequence[str], path: Path) -> None:
    """Draw each trunk's AUCs: a panel per task, a line per trunk with its seeds and their mean."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(4.5 * len(names), 1.2 + 0.4 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for panel, task in zip(panels, names, strict=True):
        for place, row in enumerate(reversed(rows.values())):
            values = row[task]["auc"]
            panel.plot(values, [place] * len(values), "o", color="tab:blue", markersize=4, alpha=0.5)
            panel.plot(row[task]["mean"], place, "|", color="tab:blue", markersize=16, markeredgewidth=2)
        panel.axvline(rows[SINGLE][task]["mean"], color="grey", linestyle="--", linewidth=1, label=f"{SINGLE}, mean")
        panel.set(title=task, xlabel="test AUC")
        panel.xaxis.set_major_locator(MaxNLocator(4))
        panel.set_yticks(range(len(rows)), reversed(rows))
        panel.grid(axis="x", alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center")
    figure.savefig(path, dpi=110)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trunk", nargs="+", default=NAMES, choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--tasks", type=int, default=2, choices=[2, 3], help="3 adds a Bachelor's degree or more")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="train with the seeds 0 to N - 1")
    parser.add_argument("--width", type=int, default=32, help="of MMoE's experts, which gives all trunks their size")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--weight-decay", type=float, default=0.5)
    parser.add_argument("--balancing", default="equal", metavar="NAME", help="of tf_mtl.balancing")
    parser.add_argument("--holdout", type=float, default=0.0, help="test on this share of the training file instead")
    parser.add_argument("--rows", type=int, help="use only so many rows of the training file")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="take the data files from here")
    parser.add_argument("--output", type=Path, default=Path("runs/census_income"))
    parser.add_argument("--export", type=Path, default=Path("saved_models/census_income"))
    where.add_options(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
