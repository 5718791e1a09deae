"""Income and marital status of people from a census: the MMoE paper's experiment, with eight ways of sharing.

    python recipes/census_income.py                            # all trunks, seeds 0 to 2: about half an hour on 2 cores
    python recipes/census_income.py --trunk mmoe --seeds 1     # one minute
    python recipes/census_income.py --tasks 3                  # also: a Bachelor's degree or more

All trunks get the number of parameters that MMoE has with `--width`. Prints their AUCs on the test file, compared with
single-task training, and writes `runs/census_income/` (results.md, metrics.json, report.html, auc.png) and a SavedModel
of the best run of a shared model. results.json and the models in that folder keep every run: a command that was stopped
resumes with the next run. Delete the folder after changing the code. Expected of MMoE: AUCs of 0.956 and 0.995.

The hyper-parameters were chosen for MMoE on a tenth of the training file (`--holdout 0.1`) before any use of the test
file; the other trunks use the same.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import quiet_tensorflow  # noqa: F401
import census_data
import census_features
import census_report
import keras
import metrics_file
import numpy as np
import optimizers
import recipe_options
import tensorflow as tf
import training_setup
from auc import auc
from census_data import Part, select
from census_trunks import NAMES, SINGLE, fitting_width, models
from epoch_clock import EpochClock
from finished_runs import FinishedRuns

import tf_mtl as mtl

DEFAULTS = {"trunk": NAMES, "seeds": 3, "width": 32, "epochs": 12, "batch_size": 1024, "learning_rate": 4e-3}
SMOKE = {"trunk": ("mmoe",), "seeds": 1, "width": 12, "epochs": 1, "batch_size": 64}
SMOKE_ROWS = 600


@dataclass(frozen=True)
class Data:
    """The census, encoded.

    Attributes:
        train: Training rows.
        test: Test rows.
        space: The features, which encode raw columns.
        examples: Some raw test rows.
    """

    train: Part
    test: Part
    space: keras.utils.FeatureSpace
    examples: dict[str, np.ndarray]


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    tasks = census_data.TASKS[: args.tasks]
    strategy = training_setup.choose_strategy(args)
    data = load(args, tasks)
    runs = run_all(args, strategy, data, tasks)
    if not mtl.distribute.is_chief(strategy):
        return
    rows = census_report.summary(runs, tasks)
    text = census_report.table(rows, tasks)
    print(f"\n{text}")
    (args.workdir / "results.md").write_text(text)
    census_report.plot(rows, tasks, args.workdir / "auc.png")
    shared = [run for run in runs if run["trunk"] != SINGLE]
    best = max(shared or runs, key=lambda run: fmean(run[task] for task in tasks))
    name, results = f"{best['trunk']}, seed {best['seed']}", {f"{task}_auc": best[task] for task in tasks}
    metrics_file.write(args, name, results, trunks=rows)
    print(f"Wrote results.md, metrics.json, report.html and auc.png to {args.workdir}.")
    if shared:
        path = mtl.export.saved_model(
            keras.models.load_model(model_path(args, best["trunk"], best["seed"])),
            args.export,
            preprocessor=census_features.preprocessor(data.space, data.examples),
            warmup=data.examples,
            metrics=results,
            data="Census-Income (KDD), UCI: 199,523 rows of training, 99,762 of test.",
        )
        metrics_file.add_model_card(args, path)
        print(f"Exported {name}, to {path}.")


def load(args: argparse.Namespace, tasks: Sequence[str]) -> Data:
    """Return the training and test rows that the options ask for."""
    train, test = census_data.load(args.data, tasks)
    order = np.random.default_rng(0).permutation(len(train[0]["age"]))[: args.rows]
    if args.smoke:
        order, test = order[:SMOKE_ROWS], select(test, slice(SMOKE_ROWS))
    held_out, training = np.split(order, [int(args.holdout * len(order))])
    if args.holdout:
        test = select(train, held_out)
    train = select(train, training)
    space = census_features.feature_space(train[0])
    encoded_train, encoded_test = (
        (census_features.encode(space, columns), labels) for columns, labels in (train, test)
    )
    return Data(encoded_train, encoded_test, space, examples={name: values[:8] for name, values in test[0].items()})


def batches(part: Part, size: int) -> tf.data.Dataset:
    """Return batches of rows, shuffled in each epoch, without the last, smaller one."""
    columns, labels = tf.nest.map_structure(tf.constant, part)
    count = len(next(iter(labels.values())))
    indices = tf.data.Dataset.range(count).shuffle(count).batch(size, drop_remainder=True)
    return indices.map(lambda i: tf.nest.map_structure(lambda x: tf.gather(x, i), (columns, labels))).prefetch(2)


def run_all(args: argparse.Namespace, strategy: tf.distribute.Strategy, data: Data, tasks: Sequence[str]) -> list[dict]:
    """Return the entry of every trunk and seed, after training those that results.json lacks."""
    finished = FinishedRuns(args.workdir / "results.json", write=mtl.distribute.is_chief(strategy))
    widths, runs = {}, []
    for seed in range(args.seeds):
        for trunk in dict.fromkeys([SINGLE, *args.trunk]):
            options = {"trunk": trunk, "seed": seed, **recipe_options.of_a_run(args, "trunk")}
            run = finished.find(options)
            if run is None:
                if trunk not in widths:
                    budget = budget_of_parameters(args, data.space, tasks)
                    widths[trunk] = fitting_width(trunk, budget, encoder(data.space), heads(tasks))
                width, parameters = widths[trunk]
                results = run_one(trunk, width, seed, data, tasks, args, strategy)
                run = finished.add(options, results | {"units": width, "parameters": parameters})
                aucs = ", ".join(f"{task} {run[task]:.4f}" for task in tasks)
                input_fraction = run["input_s"] / run["epoch_s"]
                print(
                    f"{trunk}, seed {seed}: {aucs}, {run['epoch_s']:.1f} s per epoch, {input_fraction:.0%} of it for "
                    "the input alone",
                    flush=True,
                )
            runs.append(run)
    return runs


def budget_of_parameters(args: argparse.Namespace, space: keras.utils.FeatureSpace, tasks: Sequence[str]) -> int:
    """Return the number of parameters of MMoE with `--width`."""
    (model,) = models("mmoe", args.width, encoder(space), heads(tasks))
    return model.count_params()


def encoder(space: keras.utils.FeatureSpace) -> mtl.encoders.TabularEncoder:
    """Return a new encoder of the encoded columns."""
    return mtl.encoders.TabularEncoder.from_features(space, dim=8, dropout=0.1)


def heads(tasks: Sequence[str]) -> list[mtl.tasks.Task]:
    """Return the tasks, each with a hidden layer: the towers of the papers."""
    return [mtl.tasks.BinaryClassification(task, hidden_units=32) for task in tasks]


def model_path(args: argparse.Namespace, trunk: str, seed: int) -> Path:
    return args.workdir / "models" / f"{trunk}-{seed}.keras"


def run_one(
    trunk: str,
    width: int,
    seed: int,
    data: Data,
    tasks: Sequence[str],
    args: argparse.Namespace,
    strategy: tf.distribute.Strategy,
) -> dict[str, Any]:
    """Train a trunk's model (or models), and return AUCs, seconds per epoch and seconds for the input of an epoch."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    with strategy.scope():
        trained = models(trunk, width, encoder(data.space), heads(tasks))
    results: dict[str, Any] = {"epoch_s": 0.0, "input_s": 0.0, "alignment": None}
    for model in trained:
        columns, labels = data.train
        rows = batches((columns, {task: labels[task] for task in model.task_names}), args.batch_size)
        with strategy.scope():
            compile_model(model, len(rows), args)
        clock = EpochClock()
        checkpoint = training_setup.checkpoint(args, f"{trunk}-{seed}-{'-'.join(model.task_names)}")
        alignment = training_setup.alignment(args) if trunk != SINGLE else []
        history = model.fit(rows, epochs=args.epochs, verbose=0, callbacks=[checkpoint, clock, *alignment]).history
        if alignment:
            results["alignment"] = fmean(history["alignment"])
        results["epoch_s"] += clock.seconds()
        started = time.perf_counter()
        rows.reduce(0, lambda count, _: count + 1).numpy()
        results["input_s"] += time.perf_counter() - started
        columns, labels = data.test
        logits = model.predict(columns, batch_size=4096, verbose=0)
        results |= {task: auc(labels[task], logits[task][:, 0]) for task in model.task_names}
    if trunk != SINGLE and mtl.distribute.is_chief(strategy):
        path = model_path(args, trunk, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        trained[0].save(path)
    return results


def compile_model(model: mtl.MultiTaskModel, steps: int, args: argparse.Namespace) -> None:
    """Compile a model for epochs of so many steps."""
    optimizer = optimizers.adamw_on_kernels(model, args.learning_rate, args.epochs * steps, args.weight_decay)
    model.compile(optimizer, balancing=args.balancing, metrics={task: [] for task in model.task_names})


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = recipe_options.parser("census_income", __doc__.splitlines()[0], several_seeds=True)
    parser.add_argument("--trunk", nargs="+", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--tasks", type=int, default=2, choices=[2, 3], help="3 adds a Bachelor's degree or more")
    parser.add_argument("--width", type=int, metavar="N", help="of MMoE's experts, which sets the size of all trunks")
    parser.add_argument("--weight-decay", type=float, default=0.5, metavar="RATE", help="of kernels and embeddings")
    recipe_options.add_balancing(parser)
    recipe_options.add_alignment(parser)
    parser.add_argument(
        "--holdout", type=float, default=0.0, metavar="FRACTION", help="test on this fraction of the training file"
    )
    parser.add_argument("--rows", type=int, metavar="N", help="rows of the training file to use (default: all)")
    args = parser.parse_args(arguments)
    recipe_options.set_defaults(args, DEFAULTS, SMOKE)
    return args


if __name__ == "__main__":
    main()
