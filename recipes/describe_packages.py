"""Debian's packages from their descriptions: a summary, the section, tags, and a German sentence, from one encoder.

    python recipes/describe_packages.py                                   # the index that apt-get update left
    python recipes/describe_packages.py --data lists/ --language de --no-single-task

Reads the package index and its English texts, files such as *_Packages and *_Translation-en, and nothing else; if there
are none, it says how to get them. From a package's long description, the model writes the short one (`summary`), and
finds its section and its tags, those that at least 50 of the training packages have. About half of the packages have
tags. With `--language`, it also writes the first sentence of the translated description, where there is one. All models
start from random weights; the tasks that write share the embeddings and the decoder.

Packages whose descriptions differ in numbers only are one package, and those from one source package are in one part.
The results on the test part stand beside those of simple methods: the first words of the description, and the nearest
centroid of TF-IDF vectors. They are written to `runs/describe_packages/metrics.json`. The joint model is exported to
`saved_models/describe_packages/<version>/` and asked about three descriptions. Single-task models have as many updates
and as many rows of their data. results.json in `runs/describe_packages` has the finished models' results: a command
that was stopped resumes with the next model. Delete the folder after changing the code.
"""

import argparse
import math
import time
from collections.abc import Mapping, Sequence

import quiet_tensorflow  # noqa: F401
import describe_packages_data as data
import keras
import metrics_file
import optimizers
import recipe_options
import tensorflow as tf
import training_setup
from describe_packages_scores import scores, simple_answers
from export_and_ask import export_and_ask
from finished_runs import FinishedRuns

import tf_mtl as mtl

EXAMPLES = (
    "This program shows the current weather and a forecast for the next days in the panel of the desktop.",
    "This package provides a Python library to read and write spreadsheets. It supports formulas, styles and charts.",
    "A small puzzle game in which you push boxes to their places. It has 60 levels and an editor for more.",
)
DEFAULTS = {"data": data.LISTS, "epochs": 4, "batch_size": 64, "learning_rate": 3e-3, "vocabulary_size": 8000}
SMOKE = {"epochs": 1, "vocabulary_size": 800}
JOINT = "joint"
LENGTH, WRITTEN_LENGTH = 128, 80
BOUNDARIES = [32, 48, 64, 80, 96, 112]
SIZE = {"dim": 128, "layers": 3, "heads": 4, "feedforward_dim": 256, "dropout": 0.1}
DECODER_SIZE = {**SIZE, "layers": 2}


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    strategy = training_setup.choose_strategy(args)
    is_chief = mtl.distribute.is_chief(strategy)
    runs = FinishedRuns(args.workdir / "results.json", write=is_chief)
    packages = data.load(args.data, args.language, args.smoke)
    names = ["summary", "section", "tags", *([args.language] if args.language else [])]
    models: dict[str, Sequence[str]] = {JOINT: names}
    if not args.no_single_task:
        models |= {name: [name] for name in names}
    options = recipe_options.of_a_run(args)
    entries = {}
    for model, of_model in models.items():
        run = {"model": model, **options}
        entries[model] = runs.find(run) or runs.add(run, train(args, strategy, model, of_model, packages))
    if is_chief:
        report(args, entries, scores(simple_answers(packages), packages.parts["test"]))


def train(
    args: argparse.Namespace,
    strategy: tf.distribute.Strategy,
    run: str,
    names: Sequence[str],
    packages: data.Packages,
) -> dict:
    """Train a model of some tasks, and return its results; export the joint one."""
    keras.utils.set_random_seed(args.seed)
    known = packages.parts["train"]
    sample = known[:: 1 if args.smoke else 4]  # a quarter of the texts, for a quarter of the time
    written = [text for package in sample for text in (package.text, package.summary, package.translation) if text]
    tokenizer = mtl.text.learn_tokenizer(
        written, args.vocabulary_size, [f"<{name}>" for name in ("summary", args.language) if name]
    )
    preprocessor = mtl.text.Subwords(tokenizer, LENGTH)
    with strategy.scope():
        tasks = all_tasks(tokenizer, names, packages)
        encoder = mtl.encoders.TransformerEncoder(tokenizer.vocabulary_size(), LENGTH, **SIZE, token_table=True)
        model = mtl.build_model(preprocessor.inputs(), mtl.trunks.HardSharing(encoder), tasks)
    labelled = {
        part: packages.parts[part] if run == JOINT else data.labelled(packages.parts[part], run)
        for part in ("train", "val")
    }
    rows = {
        part: mtl.data.encode_text(data.records(members, names), preprocessor, tasks, text="text")
        for part, members in labelled.items()
    }
    steps = math.ceil(len(known) / args.batch_size)
    batch_size = max(1, round(args.batch_size * len(labelled["train"]) / len(known)))
    with strategy.scope():
        model.compile(optimizers.adamw(args.learning_rate, args.epochs * steps), balancing=args.balancing)
    started = time.time()
    model.fit(
        batches(rows["train"].shuffle(len(known), seed=args.seed).repeat(), batch_size),
        validation_data=batches(rows["val"], 64),
        steps_per_epoch=steps,
        epochs=args.epochs,
        verbose=2,
        callbacks=training_setup.callbacks(args, run, is_reported=run == JOINT),
    )
    seconds = time.time() - started
    results = scores(answers(model, preprocessor, packages.parts["test"]), packages.parts["test"])
    if run == JOINT and mtl.distribute.is_chief(strategy):
        export_and_ask(args, model, preprocessor, EXAMPLES, results, f"{args.data}: descriptions of Debian's packages.")
    return {"test": results, "train_seconds": seconds}


def all_tasks(tokenizer, names: Sequence[str], packages: data.Packages) -> list[mtl.tasks.Task]:
    """Return the tasks of some names; those that write texts have one decoder."""
    decoder = mtl.layers.Decoder(tokenizer.vocabulary_size(), WRITTEN_LENGTH, **DECODER_SIZE)
    tasks: list[mtl.tasks.Task] = []
    for name in names:
        if name == "section":
            tasks.append(mtl.tasks.Classification(name, packages.sections, dropout=0.1))
        elif name == "tags":
            tasks.append(mtl.tasks.MultiLabel(name, packages.tags, dropout=0.1))
        else:
            tasks.append(
                mtl.tasks.Generation(
                    name,
                    tokenizer,
                    WRITTEN_LENGTH,
                    decoder,
                    start=f"<{name}>",
                    label_smoothing=0.1,
                    sampler=mtl.samplers.Beam(4),
                    tied=True,
                )
            )
    return tasks


def batches(rows: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Return batches of rows that are alike in the length of their text and in whether a text to write is missing.

    Labels are padded to the longest of their task: `mtl.data.mix` and `batch_by_length` would pad the tokens of a
    summary to the length of the description, and the decoder would go through all of it.
    """
    edges = [*BOUNDARIES, LENGTH + 1, *(LENGTH + 1 + edge for edge in BOUNDARIES)]
    return rows.map(_not_empty).bucket_by_sequence_length(_group, edges, [batch_size] * (len(edges) + 1))


def _not_empty(*row):
    """Pad texts to one token, which has the weight 0, for batches in which all are missing."""
    return tf.nest.map_structure(
        lambda values: tf.pad(values, [[0, tf.maximum(0, 1 - tf.size(values))]]) if values.shape.rank else values, row
    )


def _group(x, y, weight):
    """Return the length of a text, and more than any has if all texts are there that are to be written."""
    are_there = [tf.reduce_any(weights > 0) for weights in weight.values() if weights.shape.rank]
    return tf.size(x["token_ids"]) + (LENGTH + 1) * tf.cast(tf.reduce_all(are_there), tf.int32)


def answers(
    model: mtl.MultiTaskModel,
    preprocessor: mtl.text.TextPreprocessor,
    packages: Sequence[data.Package],
) -> dict[str, list]:
    """Return a model's answer about each package, by task: a text, a section, or a list of tags."""
    results: dict[str, list] = {}
    for name, parts in model.answer([package.text for package in packages], preprocessor, batch_size=100).items():
        if name == "tags":
            results[name] = [[tag for tag in row if tag] for row in parts["labels"]]
        else:
            results[name] = list(parts["label" if name == "section" else "text"])
    return results


def report(args: argparse.Namespace, entries: Mapping[str, Mapping], simple: Mapping[str, float]) -> None:
    """Print the results, and write them."""
    joint = entries[JOINT]
    single = {name: value for model in entries if model != JOINT for name, value in entries[model]["test"].items()}
    print(f"\n{joint['train_seconds']:.0f} s of training. On the test packages:\n")
    columns = [JOINT, *(["single-task"] if single else []), "simple method"]
    rows = [
        [name, value, *([single[name]] if single else []), simple.get(name)] for name, value in joint["test"].items()
    ]
    print(mtl.report.table(["task and metric", *columns], rows))
    others = {"single_task": single, "baselines": simple, "train_seconds": joint["train_seconds"]}
    print(f"\nWrote {metrics_file.write(args, JOINT, joint['test'], **others)}.")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = recipe_options.parser("describe_packages", __doc__.splitlines()[0])
    parser.add_argument(
        "--language", metavar="LANGUAGE", help="also write a sentence in it, such as de (default: none)"
    )
    parser.add_argument("--vocabulary-size", type=int, metavar="N", help="number of sub-words of all languages")
    recipe_options.add_no_single_task(parser)
    recipe_options.add_balancing(parser)
    args = parser.parse_args(arguments)
    recipe_options.set_defaults(args, DEFAULTS, SMOKE)
    return args


if __name__ == "__main__":
    main()
