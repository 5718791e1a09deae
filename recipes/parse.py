"""One text encoder, four tasks on a treebank: parts of speech, morphological features, dependencies, and genre.

    python recipes/parse.py --data ud_english_ewt/

The folder has a file for each part of a treebank of Universal Dependencies: `*-train*.conllu`, `*-dev*.conllu` and
`*-test*.conllu`, which may be gzipped. MiniLM is fine-tuned on all tasks. Genres are those of English EWT; for other
treebanks the model has the first three tasks.

Scores are over all words, punctuation included. Features count as right if all of a word's are, and the labeled
attachment score (LAS) compares the subtypes of relations too, such as "nsubj:pass".

Exports the joint model to `saved_models/parse/<version>/` and asks it about three raw sentences. Then trains
single-task models with the same encoder, as many updates, and the same data. Prints the test results side by side, and
writes them to `runs/parse/metrics.json`. results.json in that folder has the finished models' results: a command that
was stopped resumes with the next model. Delete the folder after changing the code.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import quiet_tensorflow  # noqa: F401
import keras
import metrics_file
import optimizers
import parse_data as data
import recipe_options
import tensorflow as tf
import training_setup
from export_and_ask import export_and_ask
from finished_runs import FinishedRuns
from tagging_encoders import ENCODERS, TextEncoder

import tf_mtl as mtl

SENTENCES = (
    "The committee will meet in Brussels on Tuesday.",
    "I was told that they never answer the phone!",
    "Which of these books would you recommend?",
)
METRICS = {"parse": ("uas", "las"), "pos": ("accuracy",), "features": ("accuracy",), "genre": ("accuracy", "macro_f1")}
DEFAULTS = {
    "bilstm": {"epochs": 8, "batch_size": 32, "learning_rate": 2e-3},
    "minilm": {"epochs": 3, "batch_size": 32, "learning_rate": 1e-3},
    "minilm_capitals": {"epochs": 3, "batch_size": 32, "learning_rate": 1e-3},
}
ENCODER_FACTORS = {"bilstm": 1.0, "minilm": 0.2, "minilm_capitals": 0.2}  # of the learning rate: heads are new
SMOKE = {"epochs": 1}
JOINT = "joint"
BOUNDARIES = [8, 16, 24, 32, 48]
EXPORTED_LENGTH = 96

Rows = Mapping[str, tf.data.Dataset]  # by part


class Trained(NamedTuple):
    """A trained model, its text encoder, and its results: those on the test data, and the seconds of training."""

    model: mtl.MultiTaskModel
    text: TextEncoder
    results: dict


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    strategy = training_setup.choose_strategy(args)
    is_chief = mtl.distribute.is_chief(strategy)
    runs = FinishedRuns(args.workdir / "results.json", write=is_chief)
    records = data.load(args.data, args.smoke)
    tasks = data.tasks(records)
    options = recipe_options.of_a_run(args)

    joint = runs.find({"model": JOINT, **options})
    if joint is None:
        trained = train(args, strategy, records, tasks)
        joint = runs.add({"model": JOINT, **options}, trained.results)
        if is_chief:
            write(args, joint)
            export(args, trained)
    single: dict[str, float] = {}
    for task in [] if args.no_single_task else tasks:
        run = {"model": task.name, **options}
        entry = runs.find(run)
        if entry is None:
            entry = runs.add(run, train(args, strategy, records, [task]).results)
        single |= entry["test"]
        if is_chief:
            write(args, joint, single)
    if is_chief:
        print_results(joint, single)
        print(f"\nWrote {write(args, joint, single)}.")


def train(
    args: argparse.Namespace,
    strategy: tf.distribute.Strategy,
    records: Rows,
    tasks: Sequence[mtl.tasks.Task],
) -> Trained:
    """Train a model of some tasks."""
    keras.utils.set_random_seed(args.seed)
    with strategy.scope():
        text = ENCODERS[args.encoder](records["train"].map(lambda record: record["words"]))
        model = mtl.build_model(text.preprocessor.inputs(), mtl.trunks.HardSharing(text.encoder), tasks)
    rows = {part: mtl.data.encode_text(records[part], text.preprocessor, tasks) for part in records}
    mixture = mtl.data.mix(
        {"sentences": rows["train"]},
        batch_size=args.batch_size,
        boundaries=BOUNDARIES,
        shuffle_buffer=len(rows["train"]),
        seed=args.seed,
    )
    with strategy.scope():
        optimizer = optimizers.adamw(args.learning_rate, args.epochs * len(mixture))
        factors = {text.encoder: ENCODER_FACTORS[args.encoder]}
        model.compile(mtl.layerwise(optimizer, model, factors), balancing=args.balancing)
    started = time.time()
    run = JOINT if len(tasks) > 1 else tasks[0].name
    model.fit(
        mixture,
        validation_data=batches(rows["validation"]),
        epochs=args.epochs,
        verbose=2,
        callbacks=training_setup.callbacks(args, run, is_reported=run == JOINT),
    )
    seconds = time.time() - started
    results = model.evaluate(batches(rows["test"]), return_dict=True, verbose=0)
    names = [f"{task.name}_{metric}" for task in tasks for metric in METRICS[task.name]]
    test = {name: float(results[name]) for name in names}
    return Trained(model, text, {"test": test, "train_seconds": seconds})


def batches(rows: tf.data.Dataset) -> tf.data.Dataset:
    """Return all rows, in batches of rows of similar length."""
    return mtl.data.batch_by_length(rows, 64, BOUNDARIES).prefetch(tf.data.AUTOTUNE)


def print_results(joint: Mapping, single: Mapping[str, float]) -> None:
    """Print the test results, beside those of the single-task models if there are any."""
    print(f"\nTrained on all tasks in {joint['train_seconds']:.0f} s. On the test data:\n")
    if single and all(single.values()):
        print(mtl.report.compare(_by_task(joint["test"]), _by_task(single)))
    else:  # a gain relative to 0 is not defined
        rows = [
            [task, metric, value, single.get(f"{task}_{metric}", "")]
            for task, values in _by_task(joint["test"]).items()
            for metric, value in values.items()
        ]
        print(mtl.report.table(["task", "metric", "multi-task", "single-task"], rows, digits=4))


def _by_task(results: Mapping[str, float]) -> dict[str, dict[str, float]]:
    return {
        task: {metric: results[f"{task}_{metric}"] for metric in metrics}
        for task, metrics in METRICS.items()
        if f"{task}_{metrics[0]}" in results
    }


def write(args: argparse.Namespace, joint: Mapping, single: Mapping[str, float] | None = None) -> Path:
    """Write metrics.json, and return its path; at first without single-task results."""
    return metrics_file.write(
        args,
        f"{JOINT}, {args.encoder}",
        joint["test"],
        single_task=single or {},
        train_seconds=joint["train_seconds"],
    )


def export(args: argparse.Namespace, trained: Trained) -> None:
    """Export the model, and ask it about three sentences."""
    export_and_ask(
        args,
        trained.model,
        trained.text.preprocessor.with_length(EXPORTED_LENGTH),
        SENTENCES,
        trained.results["test"],
        f"{args.data}: a treebank of Universal Dependencies.",
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = recipe_options.parser("parse", __doc__.splitlines()[0])
    parser.add_argument("--encoder", choices=list(DEFAULTS), default="minilm_capitals")
    recipe_options.add_no_single_task(parser)
    recipe_options.add_balancing(parser)
    args = parser.parse_args(arguments)
    recipe_options.require_data(parser, args, "a folder of CoNLL-U files")
    recipe_options.set_defaults(args, DEFAULTS[args.encoder], SMOKE)
    return args


if __name__ == "__main__":
    main()
