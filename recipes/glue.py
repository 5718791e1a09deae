"""One text encoder, five tasks of GLUE: acceptability, sentiment, paraphrase, similarity and entailment.

    python recipes/glue.py --data glue/                     # MiniLM, fine-tuned on all tasks, and on each
    python recipes/glue.py --data glue/ --no-single-task    # on all tasks only
    python recipes/glue.py --data glue/ --tune              # and a copy of it for each task, tuned further
    python recipes/glue.py --data tfds                      # the data from TensorFlow Datasets

A folder has GLUE's own folders CoLA, SST-2, MRPC, STS-B and RTE with the files train.tsv and dev.tsv. Single texts and
pairs are rows of one model. All rows of a batch are of one task, and data sets with more than `--cap` rows, which is
SST-2, are drawn as often as one of `--cap` rows. The labels of GLUE's test sets are not public, so all results are on
the development sets, by which no checkpoint is chosen.

Prints GLUE's metrics, writes them to `runs/glue/metrics.json`, exports the joint model to
`saved_models/glue/<version>/` and asks it about three inputs. Tuned models start from the joint model, as in MT-DNN
(Liu et al., "Multi-task deep neural networks for natural language understanding", ACL 2019). Single-task models have
the same encoder, and as many updates on the task as the joint model. results.json in `runs/glue` has the finished
models' results: a command that was stopped, or that now has `--tune`, resumes with the next model. Delete the folder
after changing the code.
"""

import argparse
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import quiet_tensorflow  # noqa: F401
import glue_data as data
import glue_metrics
import keras
import metrics_file
import optimizers
import recipe_options
import tensorflow as tf
import training_setup
from export_and_ask import export_and_ask
from finished_runs import FinishedRuns
from glue_report import print_results
from tagging_encoders import ENCODERS, TextEncoder

import tf_mtl as mtl

EXAMPLES = {
    "first": ("A gripping, beautifully acted film.", "The firm cut 300 jobs on Monday.", "Two dogs run on a beach."),
    "second": ("", "On Monday the company laid off 300 workers.", "Animals are outdoors."),
}
DEFAULTS = {
    "bilstm": {"epochs": 8, "batch_size": 32, "learning_rate": 2e-3},
    "transformer": {"epochs": 8, "batch_size": 32, "learning_rate": 1e-3},
    "minilm": {"epochs": 5, "batch_size": 32, "learning_rate": 1e-4},
}
SMOKE = {"epochs": 1}
TUNE_EPOCHS = 2
TUNE_FACTOR = 0.3  # of the learning rate
JOINT = "joint"
LENGTH = 128
BOUNDARIES = [10, 14, 20, 28, 40, 56, 80]
SHUFFLE_BUFFER = 100_000  # more than any data set has


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    strategy = training_setup.choose_strategy(args)
    is_chief = mtl.distribute.is_chief(strategy)
    runs = FinishedRuns(args.workdir / "results.json", write=is_chief)
    keras.utils.set_random_seed(args.seed)
    records = data.load(args.data, args.smoke)
    tasks = data.tasks(records)
    with strategy.scope():
        text = ENCODERS[args.encoder](data.texts(records), LENGTH, data.TEXTS)
        model = mtl.build_model(text.preprocessor.inputs(), mtl.trunks.HardSharing(text.encoder), tasks)
    rows = data.encode(records, text.preprocessor, tasks)
    train, dev = ({task: parts[part] for task, parts in rows.items()} for part in data.PARTS)
    annealed = {"epochs": max(2, args.epochs)} if args.rates == "annealed" else {}
    mixture = batches(args, train, updates(args, train), rates=args.rates, cap=args.cap, **annealed)
    steps = args.epochs * len(mixture)
    fractions = mixture.shares(0, steps)

    options = recipe_options.of_a_run(args, "tune")
    weights = args.workdir / f"{JOINT}.weights.h5"
    joint = runs.find({"model": JOINT, **options})
    if joint is None:
        with strategy.scope():
            model.compile(optimizers.adamw(args.learning_rate, steps), balancing=args.balancing)
        seconds = fit(args, model, mixture, args.epochs, JOINT)
        results = dev_results(model, dev)
        if is_chief:
            model.save_weights(weights)
            export(args, model, text, results)
        joint = runs.add({"model": JOINT, **options}, {"dev": results, "train_seconds": seconds})
    else:
        model.load_weights(weights)
    tuned: dict[str, float] = {}
    for name in rows if args.tune else ():
        run = {"model": f"tuned {name}", **options}
        tuned |= (runs.find(run) or runs.add(run, tune(args, model, name, train, dev)))["dev"]
    if not is_chief:
        return
    single: dict[str, float] = {}
    for task in () if args.no_single_task else tasks:
        run = {"model": task.name, **options}
        steps_per_epoch = max(1, round(len(mixture) * fractions[task.name]))
        entry = runs.find(run) or runs.add(
            run, train_single(args, task, data.texts(records), train, dev, steps_per_epoch)
        )
        single |= entry["dev"]
    shares = ", ".join(f"{task} {fraction:.1%}" for task, fraction in fractions.items())
    print(f"\n{steps:,} updates in {joint['train_seconds']:.0f} s; batches drawn ({args.rates}): {shares}.")
    print("On the development sets:\n")
    print_results(joint["dev"], tuned, single)
    others = {"tuned": tuned, "single_task": single, "fractions": fractions, "train_seconds": joint["train_seconds"]}
    print(f"\nWrote {metrics_file.write(args, f'{JOINT}, {args.encoder}', joint['dev'], **others)}.")


def batches(
    args: argparse.Namespace, sources: Mapping[str, tf.data.Dataset], steps_per_epoch: int, **others: Any
) -> mtl.data.Mixture:
    """Return batches, each of one source; `others` are arguments of `mix`."""
    return mtl.data.mix(
        sources,
        batch_size=args.batch_size,
        batches="homogeneous",
        boundaries=BOUNDARIES,
        epoch=steps_per_epoch,
        shuffle_buffer=SHUFFLE_BUFFER,
        seed=args.seed,
        **others,
    )


def updates(args: argparse.Namespace, sources: Mapping[str, tf.data.Dataset]) -> int:
    """Return the number of batches of all rows of some sources, `--cap` rows at most of each."""
    return math.ceil(sum(min(len(rows), args.cap) for rows in sources.values()) / args.batch_size)


def fit(args: argparse.Namespace, model: mtl.MultiTaskModel, mixture: mtl.data.Mixture, epochs: int, run: str) -> float:
    """Train a compiled model, and return the seconds of it."""
    started = time.time()
    callbacks = training_setup.callbacks(args, run, is_reported=run == JOINT)
    model.fit(mixture, epochs=epochs, verbose=2, callbacks=callbacks)
    return time.time() - started


def dev_results(model: mtl.MultiTaskModel, dev: Mapping[str, tf.data.Dataset]) -> dict[str, float]:
    """Return GLUE's metrics of a model's tasks, `{"<task>_<metric>": value}`."""
    results: dict[str, float] = {}
    for task in model.task_names:
        results |= glue_metrics.scores(model, mtl.data.batch_by_length(dev[task], 64, BOUNDARIES), task)
    return results


def tune(
    args: argparse.Namespace,
    model: mtl.MultiTaskModel,
    task: str,
    train: Mapping[str, tf.data.Dataset],
    dev: Mapping[str, tf.data.Dataset],
) -> dict:
    """Train a copy of the joint model further on one task, and return its results."""
    keras.utils.set_random_seed(args.seed)
    tuned = model.single_task(task, copy=True)
    source = {task: train[task]}
    mixture = batches(args, source, updates(args, source))
    with model.distribute_strategy.scope():
        tuned.compile(optimizers.adamw(TUNE_FACTOR * args.learning_rate, TUNE_EPOCHS * len(mixture)))
    seconds = fit(args, tuned, mixture, TUNE_EPOCHS, f"tuned_{task}")
    return {"dev": dev_results(tuned, dev), "train_seconds": seconds}


def train_single(
    args: argparse.Namespace,
    task: mtl.tasks.Task,
    texts: tf.data.Dataset,
    train: Mapping[str, tf.data.Dataset],
    dev: Mapping[str, tf.data.Dataset],
    steps_per_epoch: int,
) -> dict:
    """Train a model of one task, with as many updates as the joint model's on this task."""
    keras.utils.set_random_seed(args.seed)
    text = ENCODERS[args.encoder](texts, LENGTH, data.TEXTS)
    model = mtl.build_model(text.preprocessor.inputs(), mtl.trunks.HardSharing(text.encoder), [task])
    mixture = batches(args, {task.name: train[task.name]}, steps_per_epoch)
    model.compile(optimizers.adamw(args.learning_rate, args.epochs * steps_per_epoch))
    seconds = fit(args, model, mixture, args.epochs, task.name)
    return {"dev": dev_results(model, dev), "train_seconds": seconds}


def export(args: argparse.Namespace, model: mtl.MultiTaskModel, text: TextEncoder, results: dict[str, float]) -> None:
    """Export the model, and ask it about a single text and two pairs."""
    export_and_ask(args, model, text.preprocessor, EXAMPLES, results, "GLUE: CoLA, SST-2, MRPC, STS-B and RTE.")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = recipe_options.parser("glue", __doc__.splitlines()[0])
    parser.set_defaults(data=Path(data.TFDS))
    parser.add_argument("--encoder", choices=list(DEFAULTS), default="minilm")
    parser.add_argument("--rates", choices=["sqrt", "annealed"], default="sqrt", help="of the data sets in a batch")
    parser.add_argument("--cap", type=int, metavar="N", default=12_000, help="limit on the sizes that rates depend on")
    parser.add_argument("--tune", action="store_true", help="tune copies of the joint model further, one per task")
    recipe_options.add_no_single_task(parser)
    recipe_options.add_balancing(parser)
    args = parser.parse_args(arguments)
    recipe_options.set_defaults(args, DEFAULTS[args.encoder], SMOKE)
    return args


if __name__ == "__main__":
    main()
