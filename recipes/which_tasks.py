"""Which of six tasks on census data belong together: the gains of all pairs, groups chosen from them, and a test.

    python recipes/which_tasks.py                                                     # 25 minutes on 2 busy cores
    python recipes/which_tasks.py --tasks income college dividends --groups 2         # three of the tasks

The tasks are an income over $50,000, never married, a Bachelor's degree or more, dividends from stocks, self-employed,
and moved within a year, which was asked in half of the rows. Columns that give a label away are no inputs.

First the choice, on some rows of the training file and as many held-out ones: models of all pairs and of each task
alone (`analysis.gains`), affinities of the tasks during one training (`callbacks.TaskAffinity`), and the groups that
each of the two suggests (`analysis.group`). Then the test, with other seeds and on the test file: those groups beside
one model of all tasks and a model for each task, at equal cost: the models of each way have the same number of
parameters in total, and each model is trained with as many updates on the same rows. One model of all tasks that is as
small as a single-task model is tested, too.

Writes `runs/which_tasks/` (results.md, metrics.json, report.html) and a SavedModel of the groups that the gains
suggest, combined. Finished models are kept in that folder: a command that was stopped resumes with the next model.
Delete the folder after changing the code.
"""

import argparse
import functools
import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import quiet_tensorflow  # noqa: F401
import census_features
import keras
import metrics_file
import numpy as np
import optimizers
import recipe_options
import tensorflow as tf
import training_setup
import which_tasks_report
from auc import auc
from census_trunks import nearest_width, network
from finished_runs import FinishedRuns
from which_tasks_data import TASKS, Data, batches, load, of_tasks
from which_tasks_report import ALONE, BY_AFFINITY, BY_GAINS, SMALL, TOGETHER

import tf_mtl as mtl

DEFAULTS = {
    "tasks": TASKS,
    "groups": 3,
    "seeds": 3,
    "rows": 20_000,
    "width": 32,
    "epochs": 8,
    "batch_size": 256,
    "learning_rate": 4e-3,
}
SMOKE = {"tasks": TASKS[-3:], "groups": 2, "seeds": 1, "rows": 200, "width": 8, "epochs": 1, "batch_size": 50}
WEIGHT_DECAY = 0.5
PROBES = 40  # measurements of affinities in a training

Groups = Sequence[Sequence[str]]


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    strategy = training_setup.choose_strategy(args)
    is_chief = mtl.distribute.is_chief(strategy)
    data = load(args)
    finished = FinishedRuns(args.workdir / "results.json", write=is_chief)
    overlap = mtl.analysis.overlap(batches(data.train, args, epochs=1))
    print(overlap)

    pairs = gains_of_pairs(args, strategy, data)
    gains = pairs.matrix(dict.fromkeys(args.tasks, "auc"))
    by_gains = mtl.analysis.group(gains, args.tasks, args.groups)
    affinity = measured_affinity(args, strategy, data, finished)
    by_affinity = mtl.analysis.group(affinity, args.tasks, args.groups)

    ways: dict[str, Groups] = {
        ALONE: [[task] for task in args.tasks],
        TOGETHER: [args.tasks],
        SMALL: [args.tasks],
        BY_GAINS: by_gains.groups,
        BY_AFFINITY: by_affinity.groups,
    }
    widths = fitting_widths(args, data, ways)
    seeds = range(args.seeds, 2 * args.seeds)
    runs = [test(way, ways[way], widths[way], seed, args, strategy, data, finished) for seed in seeds for way in ways]
    if not is_chief:
        return
    rows = which_tasks_report.summary(runs, args.tasks)
    text = which_tasks_report.text(args.tasks, gains, by_gains, affinity, by_affinity, rows)
    print(f"\n{text}")
    (args.workdir / "results.md").write_text(text)
    run = next(run for run in runs if run["way"] == BY_GAINS)
    results = {f"{task}_auc": run[task] for task in args.tasks}
    metrics_file.write(
        args,
        f"{BY_GAINS}, seed {run['seed']}",
        results,
        ways=rows,
        gains=gains.tolist(),
        affinity=affinity.tolist(),
        agreement=which_tasks_report.agreement(gains, affinity),
    )
    mtl.report.html(
        args.workdir / "report.html",
        "Which tasks on census data belong together",
        results=results,
        gains=pairs,
        overlap=overlap,
        grouping=by_gains,
        cost={way: row["train_s"] for way, row in rows.items()},
    )
    print(f"Wrote results.md, metrics.json and report.html to {args.workdir}.")
    models = [keras.models.load_model(model_path(args, run["seed"], run["units"], group)) for group in by_gains.groups]
    path = mtl.export.saved_model(
        mtl.analysis.combine(models, name="groups"),
        args.export,
        preprocessor=census_features.preprocessor(data.space, data.examples),
        warmup=data.examples,
        metrics=results,
        data=f"Census-Income (KDD), UCI: {args.rows:,} rows of training.",
    )
    print(f"Exported the groups, combined, to {path}.")


def build(
    tasks: Sequence[str], width: int, args: argparse.Namespace, strategy: tf.distribute.Strategy, data: Data
) -> mtl.MultiTaskModel:
    """Return a compiled model of some tasks."""
    with strategy.scope():
        model = model_of(tasks, width, data.space)
        steps = args.epochs * (args.rows // args.batch_size)
        metrics = {task: [keras.metrics.AUC(1000, from_logits=True, name="auc")] for task in tasks}
        optimizer = optimizers.adamw_on_kernels(model, args.learning_rate, steps, WEIGHT_DECAY)
        model.compile(optimizer, balancing=args.balancing, metrics=metrics)
    return model


def model_of(tasks: Sequence[str], width: int, space: keras.utils.FeatureSpace) -> mtl.MultiTaskModel:
    """Return a model of some tasks, with dense layers of `width` units and half as many."""
    encoder = mtl.encoders.TabularEncoder.from_features(space, dim=8, dropout=0.1)
    trunk = mtl.trunks.HardSharing([encoder, *network(width)])
    heads = [mtl.tasks.BinaryClassification(task, hidden_units=32) for task in tasks]
    return mtl.build_model(encoder.inputs(), trunk, heads, name="_".join(tasks))


def gains_of_pairs(args: argparse.Namespace, strategy: tf.distribute.Strategy, data: Data) -> mtl.analysis.Gains:
    """Return the gains, on the held-out rows, of all pairs of tasks."""
    options = recipe_options.of_a_run(args, "data", "smoke", "tasks", "groups")
    return mtl.analysis.gains(
        lambda tasks: build(tasks, args.width, args, strategy, data),
        (batches(data.train, args, args.epochs), batches(data.held_out, args, epochs=1)),
        seeds=args.seeds,
        tasks=args.tasks,
        subsets=itertools.combinations(args.tasks, 2),
        folder=args.workdir / "pairs" / ",".join(f"{name}={value}" for name, value in options.items()),
    )


def measured_affinity(
    args: argparse.Namespace, strategy: tf.distribute.Strategy, data: Data, finished: FinishedRuns
) -> np.ndarray:
    """Return the affinities of the tasks, averaged over the training of a model of all of them, for each seed."""
    matrices = []
    for seed in range(args.seeds):
        options = {"way": "affinity", "seed": seed, **options_of_a_run(args)}
        run = finished.find(options)
        if run is None:
            keras.utils.clear_session()
            keras.utils.set_random_seed(seed)
            model = build(args.tasks, args.width, args, strategy, data)
            rows = batches(data.train, args, args.epochs)
            callback = mtl.callbacks.TaskAffinity(rows, every=max(1, len(rows) // PROBES))
            model.fit(rows, verbose=0, callbacks=[callback, training_setup.checkpoint(args, f"affinity-{seed}")])
            run = finished.add(options, {"matrix": callback.result().matrix.tolist()})
        matrices.append(run["matrix"])
    return np.mean(matrices, axis=0)


def fitting_widths(args: argparse.Namespace, data: Data, ways: dict[str, Groups]) -> dict[str, int]:
    """Return the widths with which all models of each way have as many parameters as the single-task models."""

    def count(groups, width):
        return sum(model_of(group, width, data.space).count_params() for group in groups)

    widths = {ALONE: args.width, SMALL: args.width}
    budget = count(ways[ALONE], args.width)
    for way in ways.keys() - widths.keys():
        widths[way] = nearest_width(functools.partial(count, ways[way]), budget)
    return widths


def test(
    way: str,
    groups: Groups,
    width: int,
    seed: int,
    args: argparse.Namespace,
    strategy: tf.distribute.Strategy,
    data: Data,
    finished: FinishedRuns,
) -> dict:
    """Return the entry of a way's models with a seed, after training them if they have not finished."""
    names = " ".join("+".join(group) for group in groups)
    options = {"groups": names, "seed": seed, "units": width, **options_of_a_run(args)}
    run = finished.find(options)
    if run is not None:
        return {**run, "way": way}
    results = {"parameters": 0, "models": len(groups), "train_s": 0.0, "predict_us_per_row": 0.0}
    columns, labels = data.test
    for group in groups:
        keras.utils.clear_session()
        keras.utils.set_random_seed(seed)
        model = build(group, width, args, strategy, data)
        started = time.perf_counter()
        rows = of_tasks(batches(data.train, args, args.epochs, seed), group)
        checkpoint = training_setup.checkpoint(args, model_path(args, seed, width, group).stem)
        model.fit(rows, verbose=0, callbacks=[checkpoint])
        results["train_s"] += time.perf_counter() - started
        model.predict({name: values[:1] for name, values in columns.items()}, verbose=0)  # traces
        started = time.perf_counter()
        logits = model.predict(columns, batch_size=4096, verbose=0)
        results["predict_us_per_row"] += 1e6 * (time.perf_counter() - started) / len(logits[group[0]])
        results["parameters"] += model.count_params()
        for task in group:
            is_labelled = ~np.isnan(labels[task])
            results[task] = auc(labels[task][is_labelled], logits[task][is_labelled, 0])
        if mtl.distribute.is_chief(strategy):
            path = model_path(args, seed, width, group)
            path.parent.mkdir(parents=True, exist_ok=True)
            model.save(path)
    aucs = ", ".join(f"{task} {results[task]:.4f}" for task in args.tasks)
    print(f"{way}, seed {seed}: {aucs}, {results['train_s']:.0f} s", flush=True)
    return {**finished.add(options, results), "way": way}


def options_of_a_run(args: argparse.Namespace) -> dict:
    """Return the options that determine the results of a run."""
    return {**recipe_options.of_a_run(args, "tasks", "groups"), "tasks": " ".join(args.tasks)}


def model_path(args: argparse.Namespace, seed: int, width: int, group: Sequence[str]) -> Path:
    return args.workdir / "models" / f"{'+'.join(group)}-{width}-{seed}.keras"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = recipe_options.parser("which_tasks", __doc__.splitlines()[0], several_seeds=True)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, metavar="NAME", help=", ".join(TASKS))
    parser.add_argument("--groups", type=int, metavar="N", help="the largest number of groups")
    parser.add_argument("--rows", type=int, metavar="N", help="training rows, and held-out rows to choose on")
    parser.add_argument("--width", type=int, metavar="N", help="of the first layer in pairs and single-task models")
    recipe_options.add_balancing(parser)
    args = parser.parse_args(arguments)
    recipe_options.set_defaults(args, DEFAULTS, SMOKE)
    return args


if __name__ == "__main__":
    main()
