"""One text encoder, four tasks from three data sets: domain and polarity, entities, parts of speech.

    python recipes/classify_and_tag.py --entities wnut17/ --pos ud_english_ewt/    # MiniLM, fine-tuned
    python recipes/classify_and_tag.py ... --encoder bilstm                        # an LSTM, trained from scratch

The rated sentences are downloaded. Entities come from a folder of CoNLL files (or from TFDS: `--entities conll2003`),
parts of speech from a folder of CoNLL-U files. Each data set has labels for its own tasks only.

Exports the joint model to `saved_models/classify_and_tag/<version>/` and asks it about three raw sentences. Then trains
single-task models with the same encoder, as many updates, and as many rows of their data. Prints the test results side
by side, and writes them to `runs/classify_and_tag/metrics.json`. results.json in that folder has the finished models'
results: a command that was stopped resumes with the next model. Delete the folder after changing the code.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import quiet_tensorflow  # noqa: F401
import classify_and_tag_data as data
import keras
import metrics_file
import optimizers
import recipe_options
import tensorflow as tf
import training_setup
from classify_and_tag_report import METRICS, print_results
from export_and_ask import export_and_ask
from finished_runs import FinishedRuns
from tagging_encoders import ENCODERS, TextEncoder

import tf_mtl as mtl

SENTENCES = (
    "Loving the new Galaxy phone I bought at Best Buy in Dallas!",
    "The film drags on and Tom Hanks looks bored.",
    "The committee will meet in Brussels on Tuesday.",
)
DEFAULTS = {
    "bilstm": {"epochs": 8, "batch_size": 32, "learning_rate": 2e-3, "rates": "sqrt"},
    "transformer": {"epochs": 8, "batch_size": 32, "learning_rate": 1e-3, "rates": "sqrt"},
    "minilm": {"epochs": 3, "batch_size": 32, "learning_rate": 1e-4, "rates": "proportional"},
}
SMOKE = {"epochs": 1}
JOINT = "joint"
BOUNDARIES = [12, 20, 32, 48]
SHUFFLE_BUFFER = 50_000  # more than any source has
EXPORTED_LENGTH = 64


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    strategy = training_setup.choose_strategy(args)
    is_chief = mtl.distribute.is_chief(strategy)
    runs = FinishedRuns(args.workdir / "results.json", write=is_chief)
    keras.utils.set_random_seed(args.seed)
    records = data.load(args.entities, args.pos, args.data, args.smoke)
    tasks = data.tasks(records)
    words = [sentence for source in records for sentence in sentences(records[source]["train"])]
    with strategy.scope():
        text = ENCODERS[args.encoder](words)
        model = mtl.build_model(text.preprocessor.inputs(), mtl.trunks.HardSharing(text.encoder), tasks)
    rows = data.encode(records, text.preprocessor, tasks)
    mixture = mtl.data.mix(
        {source: rows[source]["train"] for source in rows},
        rates=args.rates,
        batch_size=args.batch_size,
        boundaries=BOUNDARIES,
        shuffle_buffer=SHUFFLE_BUFFER,
        seed=args.seed,
    )
    steps = args.epochs * len(mixture)
    fractions = mixture.shares(0, steps)

    options = recipe_options.of_a_run(args)
    joint = runs.find({"model": JOINT, **options})
    if joint is None:
        with strategy.scope():
            model.compile(optimizers.adamw(args.learning_rate, steps), balancing=args.balancing)
        results = train_joint(args, model, mixture, rows)
        if is_chief:
            write(args, results, fractions)
            export(args, model, text, results["test"])
        joint = runs.add({"model": JOINT, **options}, results)
    if not is_chief:
        return
    single: dict[str, float] = {}
    for task in () if args.no_single_task else tasks:
        run = {"model": task.name, **options}
        entry = runs.find(run) or runs.add(run, train_single(args, task, words, rows, fractions, steps))
        single |= entry["test"]
    print_results(args.rates, joint, single, fractions, steps)
    print(f"\nWrote {write(args, joint, fractions, single)}.")


def sentences(records: tf.data.Dataset) -> list[list[bytes]]:
    """Return the words of each text of a data set."""
    if "words" in records.element_spec:
        return [list(record["words"]) for record in records.as_numpy_iterator()]
    texts = [record["text"] for record in records.as_numpy_iterator()]
    return mtl.text.TextPreprocessor.split(texts).words.to_list()


def batches(sources: dict[str, tf.data.Dataset]) -> tf.data.Dataset:
    """Return all rows of some sources, in batches of rows of similar length."""
    return mtl.data.batch_by_length(mtl.data.concatenate(sources), 64, BOUNDARIES).prefetch(tf.data.AUTOTUNE)


def train_joint(
    args: argparse.Namespace, model: mtl.MultiTaskModel, mixture: mtl.data.Mixture, rows: data.Rows
) -> dict:
    """Train the model of all tasks, and return its test results and the seconds of training."""
    started = time.time()
    model.fit(
        mixture,
        validation_data=batches({source: rows[source]["validation"] for source in rows}),
        epochs=args.epochs,
        verbose=2,
        callbacks=training_setup.callbacks(args, JOINT),
    )
    seconds = time.time() - started
    return {"test": test_results(model, {source: rows[source]["test"] for source in rows}), "train_seconds": seconds}


def train_single(
    args: argparse.Namespace,
    task: mtl.tasks.Task,
    words: Sequence[Sequence[bytes]],
    rows: data.Rows,
    fractions: dict[str, float],
    steps: int,
) -> dict:
    """Train a model of one task, with as many updates and as many rows of its data as in the joint batches."""
    source = next(source for source, names in data.TASKS.items() if task.name in names)
    parts = {part: dataset.map(labels_of_task(task.name)) for part, dataset in rows[source].items()}
    keras.utils.set_random_seed(args.seed)
    text = ENCODERS[args.encoder](words)
    model = mtl.build_model(text.preprocessor.inputs(), mtl.trunks.HardSharing(text.encoder), [task])
    model.compile(optimizers.adamw(args.learning_rate, steps))
    train = mtl.data.mix(
        {source: parts["train"]},
        batch_size=max(1, round(args.batch_size * fractions[source])),
        boundaries=BOUNDARIES,
        shuffle_buffer=SHUFFLE_BUFFER,
        epoch=math.ceil(steps / args.epochs),
        seed=args.seed,
    )
    model.fit(train, epochs=args.epochs, verbose=2, callbacks=[training_setup.checkpoint(args, task.name)])
    return {"test": test_results(model, {source: parts["test"]})}


def labels_of_task(task: str) -> Callable:
    """Return a function that keeps one task's labels and weights of a row."""
    return lambda inputs, labels, weights: (inputs, {task: labels[task]}, {task: weights[task]})


def test_results(model: mtl.MultiTaskModel, sources: dict[str, tf.data.Dataset]) -> dict[str, float]:
    """Return the metrics that the table shows, `{"<task>_<metric>": value}`."""
    results = model.evaluate(batches(sources), return_dict=True, verbose=0)
    names = [f"{task}_{metric}" for task in model.task_names for metric in METRICS[task]]
    return {name: results[name] for name in names}


def write(
    args: argparse.Namespace, joint: dict, fractions: dict[str, float], single: dict[str, float] | None = None
) -> Path:
    """Write metrics.json, and return its path; at first without single-task results."""
    return metrics_file.write(
        args,
        f"{JOINT}, {args.encoder}",
        joint["test"],
        single_task=single or {},
        fractions=fractions,
        train_seconds=joint["train_seconds"],
    )


def export(args: argparse.Namespace, model: mtl.MultiTaskModel, text: TextEncoder, results: dict[str, float]) -> None:
    """Export the model, and ask it about three sentences."""
    export_and_ask(
        args,
        model,
        text.preprocessor.with_length(EXPORTED_LENGTH),
        SENTENCES,
        results,
        "VADER's rated sentences; entities and parts of speech from CoNLL files.",
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = recipe_options.parser("classify_and_tag", __doc__.splitlines()[0])
    parser.add_argument("--entities", required=True, metavar="FOLDER", help="CoNLL files, or conll2003 from TFDS")
    parser.add_argument("--pos", required=True, metavar="FOLDER", help="CoNLL-U files")
    parser.add_argument("--encoder", choices=list(DEFAULTS), default="minilm")
    parser.add_argument("--rates", choices=["uniform", "proportional", "sqrt"], help="of the sources in a batch")
    recipe_options.add_no_single_task(parser)
    recipe_options.add_balancing(parser)
    args = parser.parse_args(arguments)
    recipe_options.set_defaults(args, DEFAULTS[args.encoder], SMOKE)
    return args


if __name__ == "__main__":
    main()
