"""One text encoder, two tasks: the intent of a request, and the slots that its words fill.

    python recipes/intent_slots.py --data snips/                      # a bidirectional LSTM and a CRF, from scratch
    python recipes/intent_slots.py --data snips/ --encoder minilm     # a pretrained BERT, fine-tuned
    python recipes/intent_slots.py --data home-assistant --languages en de fr
    python recipes/intent_slots.py --replies                          # a third task: what the assistant replies

A folder has the parts train, dev (or valid) and test, each with the files seq.in, seq.out and label, as ATIS and SNIPS
are distributed. "home-assistant", the default, samples sentences from the templates of a voice assistant. Prints intent
accuracy, slot F1 and frame accuracy (all of a sentence is correct) on the test part, writes
`runs/intent_slots/metrics.json` and `saved_models/intent_slots/<version>/`, and asks the exported model about three
sentences. With --replies, a decoder also writes the assistant's reply. It reads sub-words, because those of unseen
values are known. Three in ten sentences have no reply to learn from; what it writes for these is not measured.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import quiet_tensorflow  # noqa: F401
import home_assistant_data
import intent_slots_replies as replies
import keras
import metrics_file
import optimizers
import recipe_options
import tensorflow as tf
import training_setup
from export_and_ask import export_and_ask
from tagging_encoders import ENCODERS, TextEncoder

import tf_mtl as mtl

DEFAULTS = {
    "bilstm": {"epochs": 20, "batch_size": 32, "learning_rate": 3e-3},
    "bilstm_subwords": {"epochs": 20, "batch_size": 32, "learning_rate": 3e-3},
    "minilm": {"epochs": 6, "batch_size": 32, "learning_rate": 1e-4},
}
SMOKE = {"epochs": 1}
HOME_ASSISTANT = Path("home-assistant")
PARTS = {"train": ("train",), "validation": ("dev", "valid", "validation"), "test": ("test",)}
BOUNDARIES = [8, 12, 16, 24]
EXPORTED_LENGTH = 48
METRICS = {
    "intent_accuracy": "intent accuracy",
    "slots_span_f1": "slot F1",
    "frame_accuracy": "frame accuracy",
    **replies.METRICS,
}


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    strategy = training_setup.choose_strategy(args)
    keras.utils.set_random_seed(args.seed)
    records = load(args)
    tasks: list[mtl.tasks.Task] = [
        mtl.tasks.Classification("intent", labels=mtl.data.labels_of(records, "intent"), dropout=0.1),
        mtl.tasks.Tagging(
            "slots", labels=mtl.data.labels_of(records, "slots", scheme="BIO"), crf=not args.no_crf, dropout=0.1
        ),
        *([replies.task(records["train"])] if args.replies else []),
    ]
    with strategy.scope():
        text = ENCODERS[args.encoder](records["train"].map(lambda record: record["words"]))
        model = mtl.build_model(text.preprocessor.inputs(), mtl.trunks.HardSharing(text.encoder), tasks)
    rows = {part: mtl.data.encode_text(records[part], text.preprocessor, tasks) for part in PARTS}
    train = mtl.data.mix(
        {"sentences": rows["train"]},
        batch_size=args.batch_size,
        boundaries=BOUNDARIES,
        shuffle_buffer=len(rows["train"]),
        seed=args.seed,
    )
    with strategy.scope():
        model.compile(
            optimizers.adamw(args.learning_rate, args.epochs * len(train)),
            balancing=args.balancing,
            joint_metrics=[mtl.metrics.FrameAccuracy(["intent", "slots"])],
        )
    started = time.time()
    callbacks = training_setup.callbacks(args)
    if not args.replies:  # frames are at their best before the decoder has learnt to copy
        early_stopping = keras.callbacks.EarlyStopping(
            "val_frame_accuracy", mode="max", patience=6, restore_best_weights=True
        )
        callbacks = [early_stopping, *callbacks]
    model.fit(
        train,
        validation_data=batches(rows["validation"]),
        epochs=args.epochs,
        verbose=2,
        callbacks=callbacks,
    )
    seconds = time.time() - started
    results = model.evaluate(batches(rows["test"]), return_dict=True, verbose=0)
    if args.replies:
        results |= replies.scores(model, text.preprocessor.with_length(EXPORTED_LENGTH), records)
    if mtl.distribute.is_chief(strategy):
        report(args, {name: float(results[name]) for name in METRICS if name in results}, records, seconds)
        export(args, model, text, results, records["test"])


def load(args: argparse.Namespace) -> dict[str, tf.data.Dataset]:
    """Return `{part: records}`."""
    if args.data == HOME_ASSISTANT:
        records = home_assistant_data.load(args.languages, seed=args.seed)
    else:
        records = {part: mtl.data.from_label_folder(part_folder(args.data, names)) for part, names in PARTS.items()}
    return {part: records[part].take(200) for part in PARTS} if args.smoke else records


def part_folder(folder: Path, names: Sequence[str]) -> Path:
    """Return the sub-folder with the first of some names that exists."""
    part = next((folder / name for name in names if (folder / name).is_dir()), None)
    if part is None:
        raise FileNotFoundError(f"--data {folder} must have a folder {' or '.join(names)}.")
    return part


def batches(rows: tf.data.Dataset) -> tf.data.Dataset:
    """Return all rows, in batches of rows of similar length."""
    return mtl.data.batch_by_length(rows, 64, BOUNDARIES).prefetch(tf.data.AUTOTUNE)


def report(
    args: argparse.Namespace, results: Mapping[str, float], records: Mapping[str, tf.data.Dataset], seconds: float
) -> None:
    """Print the results, and write them."""
    sizes = ", ".join(f"{len(records[part]):,} {part}" for part in PARTS)
    print(f"\n{sizes} sentences; {seconds:.0f} s of training. On the test data:\n")
    print(mtl.report.table(["metric", args.encoder], [[METRICS[name], value] for name, value in results.items()]))
    if args.replies:
        print(f"\n{replies.sizes(records)}")
    print(f"\nWrote {metrics_file.write(args, args.encoder, results, train_seconds=seconds)}.")


def export(
    args: argparse.Namespace,
    model: mtl.MultiTaskModel,
    text: TextEncoder,
    results: Mapping[str, float],
    test: tf.data.Dataset,
) -> None:
    """Export the model, and ask it about three test sentences."""
    sentences = [b" ".join(record["words"]).decode() for record in test.take(3).as_numpy_iterator()]
    export_and_ask(
        args,
        model,
        text.preprocessor.with_length(EXPORTED_LENGTH),
        sentences,
        results,
        f"{args.data}: sentences with intents and slots.",
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = recipe_options.parser("intent_slots", __doc__.splitlines()[0])
    parser.set_defaults(data=HOME_ASSISTANT)
    parser.add_argument(
        "--languages", nargs="+", default=["en"], metavar="CODE", help="of home-assistant, such as en de fr"
    )
    parser.add_argument("--encoder", choices=list(DEFAULTS), help="default: bilstm; with --replies, bilstm_subwords")
    parser.add_argument("--no-crf", action="store_true", help="score each word's tag independently, without a CRF")
    parser.add_argument("--replies", action="store_true", help="also learn the replies of home-assistant")
    recipe_options.add_balancing(parser)
    args = parser.parse_args(arguments)
    args.encoder = args.encoder or ("bilstm_subwords" if args.replies else "bilstm")
    recipe_options.set_defaults(args, DEFAULTS[args.encoder], SMOKE)
    return args


if __name__ == "__main__":
    main()
