"""Two towers over one encoder: find the sentence that answers a question, and tell whether a sentence answers it.

    python recipes/retrieve.py --data QNLI/                     # MiniLM, fine-tuned
    python recipes/retrieve.py --data QNLI/ --encoder bilstm    # an LSTM, trained from scratch

The folder has dev.tsv and, if at hand, train.tsv, with the columns question, sentence and label, as GLUE distributes
QNLI. `Matching` learns from the pairs in which the sentence answers the question, with the other sentences of the batch
as negatives, and `Classification` from all pairs. Prints recall@1, recall@10 and MRR of the test part's questions among
all of its sentences: of the joint model, of a model of each task alone with as many updates, of the encoder before
training, and of BM25. Writes `runs/retrieve/metrics.json`, exports the joint model with a signature for each tower to
`saved_models/retrieve/<version>/`, and answers three questions with it. results.json in the work folder has the results
of finished models: a command that was stopped resumes with the next one.
"""

import argparse
import time
from collections.abc import Sequence

import quiet_tensorflow  # noqa: F401
import keras
import metrics_file
import numpy as np
import optimizers
import recipe_options
import retrieve_data as data
import tensorflow as tf
import training_setup
from finished_runs import FinishedRuns
from retrieve_ranking import bm25, recalls, table
from tagging_encoders import ENCODERS

import tf_mtl as mtl

DEFAULTS = {
    "bilstm": {"epochs": 10, "batch_size": 64, "learning_rate": 2e-3},
    "transformer": {"epochs": 10, "batch_size": 64, "learning_rate": 1e-3},
    "minilm": {"epochs": 2, "batch_size": 64, "learning_rate": 5e-5},
}
SMOKE = {"epochs": 1}
TEXTS = ("question", "sentence")
UNITS = 384
LENGTH = 64
BOUNDARIES = [24, 32, 48]
JOINT, BEFORE, BM25 = "joint", "before training", "BM25"


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    strategy = training_setup.choose_strategy(args)
    is_chief = mtl.distribute.is_chief(strategy)
    runs = FinishedRuns(args.workdir / "results.json", write=is_chief)
    parts = data.load(args.data, args.smoke)
    tasks = [
        mtl.tasks.Matching("match", UNITS, TEXTS, shared_projection=True),
        mtl.tasks.Classification("answered", labels=data.LABELS, hidden_units=256, dropout=0.1),
    ]
    chosen = {JOINT: tasks} | ({} if args.no_single_task else {task.name: [task] for task in tasks})
    options = recipe_options.of_a_run(args)
    results: dict[str, dict] = {BM25: {"test": bm25_results(parts["test"])}}
    for name, of_model in chosen.items():
        run = {"model": name, **options}
        results[name] = runs.find(run) or runs.add(run, train(args, strategy, name, of_model, parts))
    if is_chief:
        report(args, results)


def train(
    args: argparse.Namespace,
    strategy: tf.distribute.Strategy,
    name: str,
    tasks: Sequence[mtl.tasks.Task],
    parts: dict[str, list[data.Pair]],
) -> dict:
    """Train a model of some tasks, export it if it has all, and return its results and the seconds of training."""
    keras.utils.set_random_seed(args.seed)
    with strategy.scope():
        text = ENCODERS[args.encoder]([text for pair in parts["train"] for text in (pair.question, pair.sentence)])
        texts = mtl.text.TwoTexts(text.preprocessor, TEXTS, LENGTH)
        towers = mtl.encoders.Towers(dict.fromkeys(TEXTS, text.encoder))
        model = mtl.build_model(texts.inputs(), mtl.trunks.HardSharing(towers), tasks)
    rows = {part: mtl.data.encode_text(data.records(pairs), texts, tasks, text=TEXTS) for part, pairs in parts.items()}
    batches = mtl.data.mix(
        {"pairs": rows["train"]},
        batch_size=args.batch_size,
        boundaries=BOUNDARIES,
        shuffle_buffer=len(rows["train"]),
        seed=args.seed,
    )
    with strategy.scope():
        model.compile(optimizers.adamw(args.learning_rate, args.epochs * len(batches)), balancing=args.balancing)
    before = ranked(model, rows["test"], parts["test"])
    started = time.time()
    callbacks = training_setup.callbacks(args, name, is_reported=name == JOINT)
    model.fit(batches, epochs=args.epochs, verbose=2, callbacks=callbacks)
    seconds = time.time() - started
    evaluated = model.evaluate(mtl.data.batch_by_length(rows["test"], 64), return_dict=True, verbose=0)
    results = {key: float(value) for key, value in evaluated.items() if key == "answered_accuracy"}
    results |= ranked(model, rows["test"], parts["test"])
    if name == JOINT and mtl.distribute.is_chief(strategy):
        export(args, model, texts, results, parts["test"])
    return {"test": results, "before": before, "train_seconds": seconds}


def ranked(model: mtl.MultiTaskModel, rows: tf.data.Dataset, pairs: Sequence[data.Pair]) -> dict[str, float]:
    """Return how well a model with the task `match` ranks the sentences; {} without it."""
    if "match" not in model.task_names:
        return {}
    vectors = model.predict(mtl.data.batch_by_length(rows.map(lambda x, y, weight: x), 64), verbose=0)["match"]
    questions, answers, numbers = answered(pairs)
    of_sentences = np.zeros((len(numbers), UNITS), "float32")
    of_sentences[[numbers[pair.sentence] for pair in pairs]] = vectors[:, UNITS:]
    scores = vectors[questions, :UNITS] @ of_sentences.T
    return {f"match_{name}": value for name, value in recalls(scores, answers).items()}


def bm25_results(pairs: Sequence[data.Pair]) -> dict[str, float]:
    """Return how well BM25 ranks the sentences."""
    questions, answers, numbers = answered(pairs)
    scores = bm25([pairs[row].question for row in questions], list(numbers))
    return {f"match_{name}": value for name, value in recalls(scores, answers).items()}


def answered(pairs: Sequence[data.Pair]) -> tuple[list[int], list[int], dict[str, int]]:
    """Return the rows of questions with an answer, their sentences' numbers, and all sentences with their numbers."""
    numbers = dict(data.numbered(pair.sentence for pair in pairs))
    rows = [row for row, pair in enumerate(pairs) if pair.label == "entailment"]
    return rows, [numbers[pairs[row].sentence] for row in rows], numbers


def report(args: argparse.Namespace, results: dict[str, dict]) -> None:
    """Print the results, and write them."""
    joint = results[JOINT]
    ways = {way: results[way]["test"] for way in (JOINT, "match", BM25) if way in results} | {BEFORE: joint["before"]}
    print(f"\n{joint['train_seconds']:.0f} s of training. Each question of the test part among all sentences:\n")
    print(table({way: {key.removeprefix("match_"): row[key] for key in row} for way, row in ways.items()}))
    if "match" in results:
        single = {**results["match"]["test"], **results["answered"]["test"]}
        print("\nThe joint model beside a model of each task:\n")
        print(mtl.report.compare(by_task(joint["test"]), by_task(single)))
    others = {way: row["test"] for way, row in results.items() if way != JOINT}
    path = metrics_file.write(
        args,
        f"{JOINT}, {args.encoder}",
        joint["test"],
        **others,
        before=joint["before"],
        train_seconds=joint["train_seconds"],
    )
    print(f"\nWrote {path}.")


def by_task(results: dict[str, float]) -> dict[str, dict[str, float]]:
    """Return results by task and metric."""
    return {
        "match": {name: results[f"match_{name}"] for name in ("recall@1", "recall@10")},
        "answered": {"accuracy": results["answered_accuracy"]},
    }


def export(
    args: argparse.Namespace,
    model: mtl.MultiTaskModel,
    texts: mtl.text.TwoTexts,
    results: dict[str, float],
    pairs: Sequence[data.Pair],
) -> None:
    """Export the model, and find the sentences that answer three questions with its towers."""
    warmup = {"question": [pair.question for pair in pairs[:2]], "sentence": [pair.sentence for pair in pairs[:2]]}
    path = mtl.export.saved_model(
        model, args.export, preprocessor=texts, warmup=warmup, metrics=results, data=f"{args.data}: QNLI's pairs."
    )
    metrics_file.add_model_card(args, path)
    print(f"\nExported to {path}. What it finds for three questions:\n")
    loaded = tf.saved_model.load(str(path))
    sentences = list(data.numbered(pair.sentence for pair in pairs))
    tower = loaded.signatures["match_document"]
    batches = [sentences[first : first + 64] for first in range(0, len(sentences), 64)]
    index = np.concatenate([tower(sentence=tf.constant(batch))["match_document"] for batch in batches])
    for pair in [pair for pair in pairs if pair.label == "entailment"][:3]:
        vector = loaded.signatures["match_query"](question=tf.constant([pair.question]))["match_query"]
        best = int(np.argmax(index @ np.transpose(vector)))
        print(f"{pair.question}\n    {sentences[best]}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = recipe_options.parser("retrieve", __doc__.splitlines()[0])
    parser.add_argument("--encoder", choices=list(DEFAULTS), default="minilm")
    recipe_options.add_no_single_task(parser)
    recipe_options.add_balancing(parser)
    args = parser.parse_args(arguments)
    recipe_options.require_data(parser, args, "a folder with QNLI's dev.tsv")
    recipe_options.set_defaults(args, DEFAULTS[args.encoder], SMOKE)
    return args


if __name__ == "__main__":
    main()
