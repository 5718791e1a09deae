"""One text encoder, two tasks: the entities of a sentence, and the relations between them.

    python recipes/entities_relations.py --data conll04/                             # MiniLM, fine-tuned
    python recipes/entities_relations.py --data conll04/ --own-layers 0 1 2
    python recipes/entities_relations.py --data conll04/ --train-on-dev    # as published models are trained

The folder has train.txt, dev.txt and test.txt; entities_relations_data.py describes them. Relations read the tags of
entities: in training the labelled ones, in answers the predicted ones. With --own-layers, the joint model is trained
once for each number of the encoder's last layers that each task has its own copy of. The first of these models is
exported to `saved_models/entities_relations/<version>/` and asked about three sentences.

Relations need entities, so their single-task model is a pipeline: two encoders, one for each task, that share nothing.
Since relations are trained with labelled tags, no gradient passes from them to the entities, whose encoder is thus that
of entities alone. The pipeline has as many updates as the joint model, with the same data and schedule.

F1 is strict: a relation is right if it and its direction are right, and both entities, with their types. Writes the
results on the test part to `runs/entities_relations/metrics.json`. results.json in that folder has the finished models'
results: a command that was stopped resumes with the next model. Delete the folder after changing the code.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import quiet_tensorflow  # noqa: F401
import entities_relations_data as data
import keras
import metrics_file
import optimizers
import recipe_options
import tensorflow as tf
import training_setup
from entities_relations_report import print_results
from export_and_ask import export_and_ask
from finished_runs import FinishedRuns
from own_layers import OwnLastLayers
from tagging_encoders import ENCODERS, TextEncoder

import tf_mtl as mtl

SENTENCES = (
    "Marie Curie was born in Warsaw, Poland.",
    "Lee Harvey Oswald shot John F. Kennedy in Dallas.",
    "Tim Cook, chief executive of Apple in California, spoke on Tuesday.",
)
DEFAULTS = {
    "bilstm": {"epochs": 30, "batch_size": 16, "learning_rate": 3e-3},
    "minilm": {"epochs": 15, "batch_size": 16, "learning_rate": 1e-3},
    "minilm_capitals": {"epochs": 15, "batch_size": 16, "learning_rate": 1e-3},
}
ENCODER_FACTORS = {"bilstm": 1.0, "minilm": 0.2, "minilm_capitals": 0.2}  # of the learning rate: heads are new
SMOKE = {"epochs": 1}
LOSS_WEIGHTS = {"relations": 100.0}  # the loss is a mean over all cells, of which few are 1
BOUNDARIES = [16, 24, 32, 48]
EXPORTED_LENGTH = 128
PIPELINE = "pipeline"


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
    if args.train_on_dev:
        records["train"] = records["train"].concatenate(records.pop("validation"))
    tags = mtl.data.labels_of(records, "entities", scheme="BIO")
    relations = sorted({name for part in records for name in data.relation_names(records[part])})
    tasks = [
        mtl.tasks.Tagging("entities", labels=tags, dropout=0.1, crf=True),
        mtl.tasks.Relations("relations", labels=relations, tags=tags, units=256, dropout=0.1),
    ]
    options = recipe_options.of_a_run(args, "own_layers")
    models = [*args.own_layers, *([] if args.no_single_task else [PIPELINE])]
    results = {}
    for own in models:
        run = {"model": own, **options}
        entry = runs.find(run)
        if entry is None:
            trained = train(args, strategy, records, tasks, own)
            entry = runs.add(run, trained.results)
            if is_chief and own == models[0]:
                export(args, trained)
        results[own] = entry
        if is_chief:
            path = write(args, results)
    if is_chief:
        print_results(results, PIPELINE)
        print(f"\nWrote {path}.")


def train(
    args: argparse.Namespace,
    strategy: tf.distribute.Strategy,
    records: Mapping[str, tf.data.Dataset],
    tasks: list[mtl.tasks.Task],
    own: int | str,
) -> Trained:
    """Train a model.

    Args:
        args: The recipe's options.
        strategy: Where to train.
        records: Records by part.
        tasks: The two tasks.
        own: The number of the encoder's last layers that are the tasks' own; `PIPELINE` for all layers.
    """
    keras.utils.set_random_seed(args.seed)
    with strategy.scope():
        text = ENCODERS[args.encoder](records["train"].map(lambda record: record["words"]))
        own_stages = len(text.encoder.stages) if own == PIPELINE else own
        model = mtl.build_model(text.preprocessor.inputs(), OwnLastLayers(text.encoder, own_stages), tasks)
    rows = {part: mtl.data.encode_text(records[part], text.preprocessor, tasks) for part in records}
    mixture = mtl.data.mix(
        {"sentences": rows["train"]},
        batch_size=args.batch_size,
        boundaries=BOUNDARIES,
        shuffle_buffer=len(rows["train"]),
        seed=args.seed,
    )
    entities, relations = tasks
    with strategy.scope():
        optimizer = optimizers.adamw(args.learning_rate, args.epochs * len(mixture))
        encoder_layers = [layer for layer in model.layers if layer.name.startswith(text.encoder.name)]
        model.compile(
            mtl.layerwise(optimizer, model, dict.fromkeys(encoder_layers, ENCODER_FACTORS[args.encoder])),
            loss_weights=LOSS_WEIGHTS,
            metrics={"entities": [mtl.metrics.SpanF1(entities.labels, per_type=True)], "relations": []},
            joint_metrics=[
                mtl.metrics.RelationF1(entities.labels, len(relations.labels), average=average)
                for average in ("micro", "macro")
            ],
            balancing=args.balancing,
        )
    started = time.time()
    model.fit(
        mixture,
        validation_data=batches(rows["validation"]) if "validation" in rows else None,
        epochs=args.epochs,
        verbose=2,
        callbacks=training_setup.callbacks(args, f"own_{own}", is_reported=own == args.own_layers[0]),
    )
    seconds = time.time() - started
    return Trained(model, text, {"test": test_results(model, rows["test"]), "train_seconds": seconds})


def batches(rows: tf.data.Dataset) -> tf.data.Dataset:
    """Return all rows, in batches of rows of similar length."""
    return mtl.data.batch_by_length(rows, 32, BOUNDARIES).prefetch(tf.data.AUTOTUNE)


def test_results(model: mtl.MultiTaskModel, rows: tf.data.Dataset) -> dict[str, float]:
    """Return strict F1 over all entities and relations, and the mean over their types."""
    results = model.evaluate(batches(rows), return_dict=True, verbose=0)
    by_type = [value for name, value in results.items() if name.startswith("entities_span_f1_")]
    return {
        "entities_micro_f1": float(results["entities_span_f1"]),
        "entities_macro_f1": fmean(map(float, by_type)),
        "relations_micro_f1": float(results["relation_micro_f1"]),
        "relations_macro_f1": float(results["relation_macro_f1"]),
    }


def write(args: argparse.Namespace, results: Mapping[int | str, dict]) -> Path:
    """Write metrics.json, and return its path."""
    first = args.own_layers[0]
    return metrics_file.write(
        args,
        f"joint, {args.encoder}, {first} own layers",
        results[first]["test"],
        single_task=results[PIPELINE]["test"] if PIPELINE in results else {},
        own_layers={str(own): results[own]["test"] for own in args.own_layers if own in results},
        train_seconds={str(own): entry["train_seconds"] for own, entry in results.items()},
    )


def export(args: argparse.Namespace, trained: Trained) -> None:
    """Export the model, and ask it about three sentences."""
    export_and_ask(
        args,
        trained.model,
        trained.text.preprocessor.with_length(EXPORTED_LENGTH),
        SENTENCES,
        trained.results["test"],
        f"{args.data}: sentences with entities and relations.",
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = recipe_options.parser("entities_relations", __doc__.splitlines()[0])
    parser.add_argument("--encoder", choices=list(DEFAULTS), default="minilm_capitals")
    parser.add_argument(
        "--own-layers",
        type=int,
        nargs="+",
        default=[0],
        metavar="N",
        help="number of the encoder's last layers that each task has its own copy of; a model for each N (default: 0)",
    )
    parser.add_argument("--train-on-dev", action="store_true", help="train on train.txt and dev.txt together")
    recipe_options.add_no_single_task(parser, "the pipeline")
    recipe_options.add_balancing(parser)
    args = parser.parse_args(arguments)
    recipe_options.require_data(parser, args, "a folder with train.txt, dev.txt and test.txt")
    recipe_options.set_defaults(args, DEFAULTS[args.encoder], SMOKE)
    return args


if __name__ == "__main__":
    main()
