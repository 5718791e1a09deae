"""One text encoder, four tasks: domain, polarity, intensity and disagreement of rated sentences.

    python recipes/sentiment.py                          # a small Transformer from nothing
    python recipes/sentiment.py --encoder minilm         # a pretrained BERT, fine-tuned
    python recipes/sentiment.py --encoder minilm --frozen   # the same as it is: only the layers behind it learn

Prints the test results beside reference figures, writes `runs/sentiment/` (metrics.json, curves.png, TensorBoard
logs) and `saved_models/sentiment/<version>/`, and asks the exported model about three sentences.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import schedule
import sentiment_data
import sentiment_encoders
import tensorflow as tf
import where

import tf_mtl as mtl

SENTENCES = (
    "Best phone I have ever owned, the screen is gorgeous!",
    "The plot makes no sense and the acting is even worse.",
    "The committee will meet on Tuesday to discuss the budget.",
)
DEFAULTS = {
    "transformer": {"epochs": 4, "batch_size": 64, "learning_rate": 1e-3},
    "minilm": {"epochs": 3, "batch_size": 32, "learning_rate": 1e-4},
    "frozen_minilm": {"epochs": 8, "batch_size": 64, "learning_rate": 1e-3},
}
# VADER, and TF-IDF with ridge or logistic regression, on the same test sentences.
REFERENCES = {
    "intensity_pearson": (0.540, 0.693),
    "intensity_rmse": (None, 1.227),
    "intensity_pearson_tweets": (0.873, 0.801),
    "intensity_pearson_movies": (0.443, 0.707),
    "intensity_pearson_products": (0.540, 0.626),
    "intensity_pearson_editorials": (0.492, 0.369),
    "polarity_macro_f1": (None, 0.626),
    "polarity_accuracy": (None, 0.682),
    "domain_accuracy": (None, 0.905),
}


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    checkpoints = args.workdir / "checkpoints"
    strategy = where.choose(args, checkpoints)
    keras.utils.set_random_seed(args.seed)
    train, validation, test = sentiment_data.load(args.data)
    if args.smoke:
        train, validation, test = train.head(400), validation.head(200), test.head(200)

    with strategy.scope():
        text = getattr(sentiment_encoders, args.encoder)(train.text)
        model = mtl.build_model(text.inputs, mtl.trunks.HardSharing(text.encoder), tasks(train))
        steps = args.epochs * -(-len(train) // args.batch_size)
        model.compile(
            schedule.adamw(args.learning_rate, steps), loss_weights=loss_weights(train), balancing=args.balancing
        )

    batches = {
        "train": dataset(train, text, args.batch_size, args.seed),
        "validation": dataset(validation, text, args.batch_size),
        "test": dataset(test, text, args.batch_size),
    }
    writers = [keras.callbacks.TensorBoard(args.workdir / "tensorboard")] if where.is_chief(strategy) else []
    started = time.time()
    history = model.fit(
        batches["train"],
        validation_data=batches["validation"],
        epochs=args.epochs,
        shuffle=False,
        callbacks=[
            mtl.callbacks.GradientConflict(next(iter(batches["validation"]))),
            *writers,
            where.checkpoint(checkpoints),
        ],
    )
    seconds = time.time() - started

    results = {name: float(value) for name, value in model.evaluate(batches["test"], return_dict=True).items()}
    results |= correlations(model, batches["test"], test)
    if not where.is_chief(strategy):
        return
    report(args, results, history.history, seconds)
    path = mtl.export.saved_model(
        model,
        args.export,
        preprocessor=text.preprocessor,
        warmup=list(SENTENCES),
        metrics=results,
        data="VADER's rated sentences: tweets, film reviews, product reviews and editorials.",
    )
    print(f"\nExported to {path}; its answers, from a new process:\n", flush=True)
    subprocess.run([sys.executable, Path(__file__).with_name("ask.py"), path, *SENTENCES], check=True)


def tasks(train: sentiment_data.Sentences) -> list[mtl.tasks.Task]:
    return [
        mtl.tasks.Classification("domain", labels=sentiment_data.DOMAINS),
        mtl.tasks.Classification("polarity", labels=sentiment_data.POLARITIES),
        mtl.tasks.Regression("intensity", scale=train.intensity.std(), offset=train.intensity.mean(), low=-4, high=4),
        mtl.tasks.Regression(
            "disagreement",
            scale=np.nanstd(train.disagreement),
            offset=np.nanmean(train.disagreement),
            low=0,
        ),
    ]


def loss_weights(train: sentiment_data.Sentences) -> dict[str, float]:
    """Bring squared errors to the labels' variance, so that all four losses begin near 1."""
    variances = {"intensity": np.nanvar(train.intensity), "disagreement": np.nanvar(train.disagreement)}
    return {task: float(1 / variances.get(task, 1.0)) for task in train.labels}


def dataset(part, text: sentiment_encoders.TextEncoder, batch_size, seed=None) -> tf.data.Dataset:
    """Return batches of (inputs, labels, label weights); with a seed, those of training: shuffled, words left out."""
    found = tf.data.Dataset.from_tensor_slices((part.text.astype(str), part.labels))
    if text.once:
        found = found.batch(64).map(lambda sentences, labels: (text.preprocessor(sentences), labels))
        found = found.unbatch().apply(tf.data.experimental.assert_cardinality(len(part))).cache()
    if seed is not None:
        found = found.shuffle(len(part), seed=seed)
    found = found.batch(batch_size)
    if seed is not None and text.word_dropout:
        noise = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)
        found = tf.data.Dataset.zip(found, noise).map(
            lambda row, noise: (leave_out(row[0], text.word_dropout, noise), row[1])
        )
    if not text.once:
        found = found.map(lambda sentences, labels: (text.preprocessor(sentences), labels))
    return mtl.data.mask_missing(found, {"disagreement": float("nan")}).prefetch(tf.data.AUTOTUNE)


def leave_out(sentences, share, seed):
    """Return the sentences without a random share of their words."""
    words = tf.strings.split(sentences)
    kept = tf.random.stateless_uniform(tf.shape(words.flat_values), seed) >= share
    words = tf.ragged.boolean_mask(words, words.with_flat_values(kept))
    return tf.strings.reduce_join(words, axis=-1, separator=" ")


def correlations(model, batches, test) -> dict[str, float]:
    """Return the correlation of predicted and rated intensity in each domain."""
    predicted = model.predict(batches)["intensity"][:, 0]
    found = {}
    for index, domain in enumerate(sentiment_data.DOMAINS):
        rows = test.domain == index
        if rows.sum() > 1:
            pairs = np.corrcoef(predicted[rows], test.intensity[rows])
            found[f"intensity_pearson_{domain}"] = float(pairs[0, 1])
    return found


def report(args, results, history, seconds) -> None:
    """Print the table of results, and write it with the curves."""
    names = sorted(name for name in results if not name.endswith("loss"))
    rows = [[name, results[name], *REFERENCES.get(name, (None, None))] for name in names]
    print(f"\nTest results after {args.epochs} epochs, {seconds:.0f} s of training:\n")
    print(mtl.report.table(["task and metric", "multi-task", "VADER", "TF-IDF"], rows))
    args.workdir.mkdir(parents=True, exist_ok=True)
    options = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    document = {"test": results, "train_seconds": seconds, "options": options}
    (args.workdir / "metrics.json").write_text(json.dumps(document, indent=2) + "\n")
    picture = mtl.report.curves(history, args.workdir / "curves.png")
    print(f"\nWrote {args.workdir / 'metrics.json'} and {picture}.")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", choices=["transformer", "minilm"], default="transformer")
    parser.add_argument("--frozen", action="store_true", help="with minilm: compute its features once, before training")
    parser.add_argument("--balancing", default="equal", help="name of a method of tf_mtl.balancing")
    where.add_options(parser)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few hundred rows, one epoch")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="take the data files from here")
    parser.add_argument("--workdir", type=Path, default=Path("runs/sentiment"))
    parser.add_argument("--export", type=Path, default=Path("saved_models/sentiment"))
    args = parser.parse_args(arguments)
    if args.frozen:
        if args.encoder != "minilm":
            parser.error("--frozen goes with --encoder minilm")
        args.encoder = "frozen_minilm"
    defaults = DEFAULTS[args.encoder] | ({"epochs": 1} if args.smoke else {})
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


if __name__ == "__main__":
    main()
