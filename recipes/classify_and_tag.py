"""One text encoder, four tasks from three data sets: domain and polarity, entities, parts of speech.

    python recipes/classify_and_tag.py --entities wnut17/ --pos ud_english_ewt/    # MiniLM, fine-tuned
    python recipes/classify_and_tag.py ... --encoder bilstm                        # an LSTM from nothing

The rated sentences are downloaded; entities come from a folder of CoNLL files (or `--entities conll2003`, by TFDS),
parts of speech from one of CoNLL-U files. Each data set labels its own tasks only. Prints the joint model's test
results beside those of single-task models, which have the same encoder and as many updates from as many rows of
their data, writes `runs/classify_and_tag/metrics.json`, and `saved_models/classify_and_tag/<version>/`, and asks
the exported model about three raw sentences.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import classify_and_tag_data as data
import keras
import schedule
import tagging_encoders
import tensorflow as tf
import where

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
BOUNDARIES = [12, 20, 32, 48]
SHUFFLE_BUFFER = 50_000  # more than any source has
METRICS = {
    "domain": ("accuracy", "macro_f1"),
    "polarity": ("accuracy", "macro_f1"),
    "entities": ("span_f1",),
    "pos": ("accuracy",),
}


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    checkpoints = args.workdir / "checkpoints"
    strategy = where.choose(args, checkpoints)
    keras.utils.set_random_seed(args.seed)
    records = data.load(args.entities, args.pos, args.sentiment, args.smoke)
    tasks = data.tasks(records)
    words = [sentence for parts in records.values() for sentence in sentences(parts["train"])]
    with strategy.scope():
        text = getattr(tagging_encoders, args.encoder)(words)
        model = mtl.build_model(text.preprocessor.inputs(), mtl.trunks.HardSharing(text.encoder), tasks)
    rows = data.encoded(records, text.preprocessor, tasks)
    mixture = mtl.data.mix(
        {source: parts["train"] for source, parts in rows.items()},
        rates=args.rates,
        batch_size=args.batch_size,
        boundaries=BOUNDARIES,
        shuffle_buffer=SHUFFLE_BUFFER,
        seed=args.seed,
    )
    steps = args.epochs * len(mixture)
    with strategy.scope():
        model.compile(schedule.adamw(args.learning_rate, steps), balancing=args.balancing)
    started = time.time()
    model.fit(
        mixture,
        validation_data=batches({source: parts["validation"] for source, parts in rows.items()}),
        epochs=args.epochs,
        verbose=2,
        callbacks=[where.checkpoint(checkpoints)],
    )
    seconds = time.time() - started
    joint = results(model, batches({source: parts["test"] for source, parts in rows.items()}))
    if not where.is_chief(strategy):
        return
    shares = mixture.shares(0, steps)
    single = {} if args.no_single_task else single_task_results(args, tasks, words, rows, shares, steps)
    report(args, joint, single, shares, steps, seconds)
    export(args, model, text, joint)


def sentences(records: tf.data.Dataset) -> list[list[bytes]]:
    """Return the words of each text of a data set."""
    if "words" in records.element_spec:
        return [list(row["words"]) for row in records.as_numpy_iterator()]
    texts = [row["text"] for row in records.as_numpy_iterator()]
    return mtl.text.TextPreprocessor.split(texts).words.to_list()


def batches(sources: dict[str, tf.data.Dataset]) -> tf.data.Dataset:
    """Return all rows of some sources, in batches of rows of like length."""
    return mtl.data.batch_by_length(mtl.data.concatenate(sources), 64, BOUNDARIES).prefetch(tf.data.AUTOTUNE)


def results(model: mtl.MultiTaskModel, test: tf.data.Dataset) -> dict[str, dict[str, float]]:
    """Return `{task: {metric: value}}` of what the table shows."""
    found = model.evaluate(test, return_dict=True, verbose=0)
    return {task: {name: found[f"{task}_{name}"] for name in METRICS[task]} for task in model.task_names}


def single_task_results(args, tasks, words, rows, shares, steps) -> dict[str, dict[str, float]]:
    """Train a model of each task alone: as many updates, each from as many rows as it had in the joint batches."""
    found = {}
    for task in tasks:
        (source,) = [source for source, names in data.TASKS.items() if task.name in names]
        parts = {split: part.map(only(task.name)) for split, part in rows[source].items()}
        keras.utils.set_random_seed(args.seed)
        text = getattr(tagging_encoders, args.encoder)(words)
        model = mtl.build_model(text.preprocessor.inputs(), mtl.trunks.HardSharing(text.encoder), [task])
        model.compile(schedule.adamw(args.learning_rate, steps))
        train = mtl.data.mix(
            {source: parts["train"]},
            batch_size=max(1, round(args.batch_size * shares[source])),
            boundaries=BOUNDARIES,
            shuffle_buffer=SHUFFLE_BUFFER,
            epoch=math.ceil(steps / args.epochs),
            seed=args.seed,
        )
        model.fit(train, epochs=args.epochs, verbose=2)
        found |= results(model, batches({source: parts["test"]}))
    return found


def only(task: str):
    """Return a function that keeps one task's labels of a row."""
    return lambda x, y, weight: (x, {task: y[task]}, {task: weight[task]})


def report(args, joint, single, shares, steps, seconds) -> None:
    """Print the table of results, and write it."""
    rates = ", ".join(f"{source} {share:.1%}" for source, share in shares.items())
    print(f"\n{steps:,} updates in {seconds:.0f} s; rows drawn ({args.rates}): {rates}. On the test data:\n")
    if single and all(value for found in single.values() for value in found.values()):
        print(mtl.report.compare(joint, single))
    else:  # a gain over nothing cannot be told
        rows = [
            [task, name, value, single.get(task, {}).get(name, "")]
            for task, found in joint.items()
            for name, value in found.items()
        ]
        print(mtl.report.table(["task", "metric", "multi-task", "single-task"], rows, digits=4))
    args.workdir.mkdir(parents=True, exist_ok=True)
    options = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    document = {"test": joint, "single_task": single, "shares": shares, "train_seconds": seconds, "options": options}
    (args.workdir / "metrics.json").write_text(json.dumps(document, indent=2) + "\n")
    print(f"\nWrote {args.workdir / 'metrics.json'}.")


def export(args, model, text, joint) -> None:
    """Export the model for texts of up to 64 tokens, and ask it."""
    config = {**text.preprocessor.get_config(), "length": 64}
    path = mtl.export.saved_model(
        model,
        args.export,
        preprocessor=type(text.preprocessor).from_config(config),
        warmup=list(SENTENCES),
        metrics={f"{task}_{name}": value for task, found in joint.items() for name, value in found.items()},
        data="VADER's rated sentences; entities and parts of speech from CoNLL files.",
    )
    print(f"\nExported to {path}; its answers, from a new process:\n", flush=True)
    subprocess.run([sys.executable, Path(__file__).with_name("ask.py"), path, *SENTENCES], check=True)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entities", required=True, metavar="FOLDER", help="CoNLL files, or conll2003 for TFDS")
    parser.add_argument("--pos", type=Path, required=True, metavar="FOLDER", help="CoNLL-U files")
    parser.add_argument("--sentiment", type=Path, metavar="FOLDER", help="the sentiment files; downloaded if left out")
    parser.add_argument("--encoder", choices=list(DEFAULTS), default="minilm")
    parser.add_argument("--rates", choices=["uniform", "proportional", "sqrt"])
    parser.add_argument("--balancing", default="equal", help="name of a method of tf_mtl.balancing")
    parser.add_argument("--no-single-task", action="store_true", help="leave out the single-task models")
    where.add_options(parser)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few hundred rows, one epoch")
    parser.add_argument("--workdir", type=Path, default=Path("runs/classify_and_tag"))
    parser.add_argument("--export", type=Path, default=Path("saved_models/classify_and_tag"))
    args = parser.parse_args(arguments)
    defaults = DEFAULTS[args.encoder] | ({"epochs": 1} if args.smoke else {})
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


if __name__ == "__main__":
    main()
