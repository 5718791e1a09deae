"""One text encoder, two tasks: the intent of a request, and the slots that its words fill.

    python recipes/intent_slots.py --data snips/                      # a bidirectional LSTM and a CRF, from nothing
    python recipes/intent_slots.py --data snips/ --encoder minilm     # a pretrained BERT, fine-tuned
    python recipes/intent_slots.py --data home-assistant --languages en de fr

A folder has the parts train, dev (or valid) and test, each with the files seq.in, seq.out and label, as ATIS and SNIPS
are passed on; "home-assistant" samples sentences from the templates of a voice assistant. Prints intent accuracy, slot
F1 and frame accuracy (all of a sentence right) on the test part, writes `runs/intent_slots/metrics.json` and
`saved_models/intent_slots/<version>/`, and asks the exported model about three sentences.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import home_assistant_data
import keras
import schedule
import tagging_encoders
import tensorflow as tf
import where

import tf_mtl as mtl

DEFAULTS = {
    "bilstm": {"epochs": 20, "batch_size": 32, "learning_rate": 3e-3},
    "minilm": {"epochs": 6, "batch_size": 32, "learning_rate": 1e-4},
}
PARTS = {"train": ("train",), "validation": ("dev", "valid", "validation"), "test": ("test",)}
BOUNDARIES = [8, 12, 16, 24]
METRICS = {"intent_accuracy": "intent accuracy", "slots_span_f1": "slot F1", "frame_accuracy": "frame accuracy"}


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    checkpoints = args.workdir / "checkpoints"
    strategy = where.choose(args, checkpoints)
    keras.utils.set_random_seed(args.seed)
    records = load(args)
    tasks = [
        mtl.tasks.Classification("intent", labels=mtl.data.labels_of(records, "intent"), dropout=0.1),
        mtl.tasks.Tagging(
            "slots", labels=mtl.data.labels_of(records, "slots", scheme="BIO"), crf=not args.no_crf, dropout=0.1
        ),
    ]
    with strategy.scope():
        text = getattr(tagging_encoders, args.encoder)(records["train"].map(lambda row: row["words"]))
        model = mtl.build_model(text.preprocessor.inputs(), mtl.trunks.HardSharing(text.encoder), tasks)
    rows = {part: mtl.data.encode_text(data, text.preprocessor, tasks) for part, data in records.items()}
    train = mtl.data.mix(
        {"sentences": rows["train"]},
        batch_size=args.batch_size,
        boundaries=BOUNDARIES,
        shuffle_buffer=len(rows["train"]),
        seed=args.seed,
    )
    with strategy.scope():
        model.compile(
            schedule.adamw(args.learning_rate, args.epochs * len(train)),
            balancing=args.balancing,
            joint_metrics=[mtl.metrics.FrameAccuracy(["intent", "slots"])],
        )
    started = time.time()
    best = keras.callbacks.EarlyStopping("val_frame_accuracy", mode="max", patience=6, restore_best_weights=True)
    model.fit(
        train,
        validation_data=batches(rows["validation"]),
        epochs=args.epochs,
        verbose=2,
        callbacks=[best, where.checkpoint(checkpoints)],
    )
    seconds = time.time() - started
    found = model.evaluate(batches(rows["test"]), return_dict=True, verbose=0)
    if where.is_chief(strategy):
        report(args, {name: float(found[name]) for name in METRICS}, records, seconds)
        export(args, model, text, found, records["test"])


def load(args) -> dict[str, tf.data.Dataset]:
    """Return `{part: records}`."""
    if args.data == "home-assistant":
        found = home_assistant_data.load(args.languages, seed=args.seed)
    else:
        found = {part: mtl.data.from_label_folder(_folder(Path(args.data), names)) for part, names in PARTS.items()}
    return {part: data.take(200) for part, data in found.items()} if args.smoke else found


def _folder(folder, names):
    found = [folder / name for name in names if (folder / name).is_dir()]
    if not found:
        raise FileNotFoundError(f"--data {folder} must have a folder {' or '.join(names)}.")
    return found[0]


def batches(rows: tf.data.Dataset) -> tf.data.Dataset:
    """Return all rows, in batches of rows of like length."""
    return mtl.data.batch_by_length(rows, 64, BOUNDARIES).prefetch(tf.data.AUTOTUNE)


def report(args, results, records, seconds) -> None:
    """Print the results, and write them."""
    sizes = ", ".join(f"{len(data):,} {part}" for part, data in records.items())
    print(f"\n{sizes} sentences; {seconds:.0f} s of training. On the test data:\n")
    print(mtl.report.table(["metric", args.encoder], [[METRICS[name], value] for name, value in results.items()]))
    args.workdir.mkdir(parents=True, exist_ok=True)
    options = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    document = {"test": results, "train_seconds": seconds, "options": options}
    (args.workdir / "metrics.json").write_text(json.dumps(document, indent=2) + "\n")
    print(f"\nWrote {args.workdir / 'metrics.json'}.")


def export(args, model, text, results, test) -> None:
    """Export the model for texts of up to 48 tokens, and ask it about three test sentences."""
    sentences = [b" ".join(row["words"]).decode() for row in test.take(3).as_numpy_iterator()]
    path = mtl.export.saved_model(
        model,
        args.export,
        preprocessor=type(text.preprocessor).from_config({**text.preprocessor.get_config(), "length": 48}),
        warmup=sentences,
        metrics=results,
        data=f"{args.data}: sentences with intents and slots.",
    )
    print(f"\nExported to {path}; its answers, from a new process:\n", flush=True)
    subprocess.run([sys.executable, Path(__file__).with_name("ask.py"), path, *sentences], check=True)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, metavar="FOLDER", help="a folder, or home-assistant")
    parser.add_argument("--languages", nargs="+", default=["en"], help="of home-assistant, such as en de fr")
    parser.add_argument("--encoder", choices=list(DEFAULTS), default="bilstm")
    parser.add_argument("--no-crf", action="store_true", help="tag each word by itself")
    parser.add_argument("--balancing", default="equal", help="name of a method of tf_mtl.balancing")
    where.add_options(parser)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few hundred sentences, one epoch")
    parser.add_argument("--workdir", type=Path, default=Path("runs/intent_slots"))
    parser.add_argument("--export", type=Path, default=Path("saved_models/intent_slots"))
    args = parser.parse_args(arguments)
    defaults = DEFAULTS[args.encoder] | ({"epochs": 1} if args.smoke else {})
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


if __name__ == "__main__":
    main()
