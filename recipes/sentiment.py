"""One text encoder, four tasks: domain, polarity, intensity and disagreement of rated sentences.

    python recipes/sentiment.py                             # a small Transformer, trained from scratch
    python recipes/sentiment.py --encoder minilm            # a pretrained BERT, fine-tuned
    python recipes/sentiment.py --encoder minilm --frozen   # the same BERT, frozen; only new layers after it learn

Prints the test results beside reference figures, writes `runs/sentiment/` (metrics.json, report.html, TensorBoard
logs) and `saved_models/sentiment/<version>/`, and asks the exported model about three sentences.
"""

import argparse
import time

import quiet_tensorflow  # noqa: F401
import keras
import metrics_file
import numpy as np
import optimizers
import recipe_options
import sentiment_data
import tensorflow as tf
import training_setup
from export_and_ask import export_and_ask
from sentiment_data import Sentences
from sentiment_encoders import ENCODERS, TextEncoder

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
SMOKE = {"epochs": 1}
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
    strategy = training_setup.choose_strategy(args)
    keras.utils.set_random_seed(args.seed)
    train, validation, test = sentiment_data.load(args.data)
    if args.smoke:
        train, validation, test = train.head(400), validation.head(200), test.head(200)

    with strategy.scope():
        text = ENCODERS[args.encoder](train.text)
        model = mtl.build_model(text.inputs, mtl.trunks.HardSharing(text.encoder), tasks(train))
        steps = args.epochs * -(-len(train) // args.batch_size)
        optimizer = optimizers.adamw(args.learning_rate, steps)
        model.compile(optimizer, balancing=args.balancing)

    train_batches = batches(train, text, args.batch_size, args.seed)
    validation_batches, test_batches = (batches(part, text, args.batch_size) for part in (validation, test))
    callbacks = [mtl.callbacks.GradientConflict(next(iter(validation_batches)))]
    if mtl.distribute.is_chief(strategy):
        callbacks.append(keras.callbacks.TensorBoard(args.workdir / "tensorboard"))
    started = time.time()
    model.fit(
        train_batches,
        validation_data=validation_batches,
        epochs=args.epochs,
        shuffle=False,
        callbacks=[*callbacks, *training_setup.callbacks(args)],
    )
    seconds = time.time() - started

    results = {name: float(value) for name, value in model.evaluate(test_batches, return_dict=True).items()}
    results |= correlations(model, test_batches, test)
    if mtl.distribute.is_chief(strategy):
        report(args, results, seconds)
        export(args, model, text, results)


def tasks(train: Sentences) -> list[mtl.tasks.Task]:
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


def batches(
    sentences: Sentences, text: TextEncoder, batch_size: int, shuffle_seed: int | None = None
) -> tf.data.Dataset:
    """Return batches of (inputs, labels, label weights).

    Args:
        sentences: The data.
        text: Gives the inputs.
        batch_size: Rows of a batch.
        shuffle_seed: Given for training: rows are then shuffled, and words are dropped.
    """
    rows = tf.data.Dataset.from_tensor_slices((sentences.text.astype(str), sentences.labels))
    if text.preprocess_once:
        rows = rows.batch(64).map(lambda texts, labels: (text.preprocessor(texts), labels))
        rows = rows.unbatch().apply(tf.data.experimental.assert_cardinality(len(sentences))).cache()
    if shuffle_seed is not None:
        rows = rows.shuffle(len(sentences), seed=shuffle_seed)
    batched = rows.batch(batch_size)
    if shuffle_seed is not None and text.word_dropout:
        seeds = tf.data.Dataset.random(seed=shuffle_seed, rerandomize_each_iteration=True).batch(2)
        batched = tf.data.Dataset.zip(batched, seeds).map(
            lambda batch, seed: (drop_words(batch[0], text.word_dropout, seed), batch[1])
        )
    if not text.preprocess_once:
        batched = batched.map(lambda texts, labels: (text.preprocessor(texts), labels))
    return mtl.data.mask_missing(batched, {"disagreement": float("nan")}).prefetch(tf.data.AUTOTUNE)


def drop_words(texts: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Return the texts, each word dropped with a probability."""
    words = tf.strings.split(texts)
    is_kept = tf.random.stateless_uniform(tf.shape(words.flat_values), seed) >= probability
    words = tf.ragged.boolean_mask(words, words.with_flat_values(is_kept))
    return tf.strings.reduce_join(words, axis=-1, separator=" ")


def correlations(model: mtl.MultiTaskModel, test_batches: tf.data.Dataset, test: Sentences) -> dict[str, float]:
    """Return the correlation of predicted and rated intensity in each domain."""
    intensity = model.predict(test_batches)["intensity"][:, 0]
    results = {}
    for index, domain in enumerate(sentiment_data.DOMAINS):
        rows = test.domain == index
        if rows.sum() > 1:
            matrix = np.corrcoef(intensity[rows], test.intensity[rows])
            results[f"intensity_pearson_{domain}"] = float(matrix[0, 1])
    return results


def report(args: argparse.Namespace, results: dict[str, float], seconds: float) -> None:
    """Print the table of results, and write it."""
    names = sorted(name for name in results if not name.endswith("loss"))
    rows = [[name, results[name], *REFERENCES.get(name, (None, None))] for name in names]
    print(f"\nTest results after {args.epochs} epochs, {seconds:.0f} s of training:\n")
    print(mtl.report.table(["task and metric", "multi-task", "VADER", "TF-IDF"], rows))
    print(f"\nWrote {metrics_file.write(args, args.encoder, results, train_seconds=seconds)}.")


def export(args: argparse.Namespace, model: mtl.MultiTaskModel, text: TextEncoder, results: dict[str, float]) -> None:
    """Export the model, and ask it about three sentences."""
    export_and_ask(
        args,
        model,
        text.preprocessor,
        SENTENCES,
        results,
        "VADER's rated sentences: tweets, film reviews, product reviews and editorials.",
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = recipe_options.parser("sentiment", __doc__.splitlines()[0])
    parser.add_argument("--encoder", choices=["transformer", "minilm"], default="transformer")
    parser.add_argument("--frozen", action="store_true", help="with minilm: compute its features once, before training")
    recipe_options.add_balancing(parser)
    args = parser.parse_args(arguments)
    if args.frozen:
        if args.encoder != "minilm":
            parser.error("--frozen goes with --encoder minilm")
        args.encoder = "frozen_minilm"
    recipe_options.set_defaults(args, DEFAULTS[args.encoder], SMOKE)
    return args


if __name__ == "__main__":
    main()
