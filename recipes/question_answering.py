"""One text encoder, two tasks: the answer to a question about a paragraph, and whether the paragraph has it.

    python recipes/question_answering.py --data xquad.en.json    # MiniLM, fine-tuned
    python recipes/question_answering.py --data squad/           # a folder with train-v2.0.json, dev-v2.0.json

The files are in SQuAD's JSON format. One file is split by article. SQuAD 1 and XQuAD have only questions that their
paragraph answers: half of them are also asked about another paragraph of the same article, which does not.

Prints exact match and F1 by SQuAD's rules on the test data and how many answers were truncated, writes
`runs/question_answering/metrics.json`, exports the joint model to `saved_models/question_answering/<version>/` and asks
it three questions. Single-task models have the same encoder and the same batches. results.json in
`runs/question_answering` has the finished models' results: a command that was stopped resumes with the next model.
Delete the folder after changing the code.
"""

import argparse
import time
from collections.abc import Mapping, Sequence

import quiet_tensorflow  # noqa: F401
import keras
import metrics_file
import optimizers
import recipe_options
import squad_data as data
import tensorflow as tf
import training_setup
from export_and_ask import export_and_ask
from finished_runs import FinishedRuns
from squad_data import Question
from tagging_encoders import ENCODERS, TextEncoder

import tf_mtl as mtl

TASKS = ("answer", "answerable")
PAIR = ("context", "question")
CONTEXT = "The Amazon rises in Peru and flows through Brazil. It carries more water than the Nile."
EXAMPLES = {
    "context": (CONTEXT,) * 3,
    "question": ("Where does the Amazon rise?", "What carries less water than the Amazon?", "How deep is the Nile?"),
}
DEFAULTS = {
    "bilstm": {"epochs": 20, "batch_size": 32, "learning_rate": 2e-3},
    "transformer": {"epochs": 20, "batch_size": 32, "learning_rate": 1e-3},
    "minilm": {"epochs": 3, "batch_size": 16, "learning_rate": 1e-4},
}
SMOKE = {"epochs": 1}
JOINT = "joint"
LENGTH = 384
BOUNDARIES = [96, 128, 160, 200, 256, 320]


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    strategy = training_setup.choose_strategy(args)
    is_chief = mtl.distribute.is_chief(strategy)
    runs = FinishedRuns(args.workdir / "results.json", write=is_chief)
    questions = data.load(args.data, args.smoke)
    models: dict[str, Sequence[str]] = {
        JOINT: TASKS,
        **({} if args.no_single_task else {task: [task] for task in TASKS}),
    }
    options = recipe_options.of_a_run(args)
    entries = {}
    for model, names in models.items():
        run = {"model": model, **options}
        entries[model] = runs.find(run) or runs.add(run, train(args, strategy, model, names, questions))
    if is_chief:
        report(args, entries, questions)


def train(
    args: argparse.Namespace,
    strategy: tf.distribute.Strategy,
    run: str,
    names: Sequence[str],
    questions: Mapping[str, Sequence[Question]],
) -> dict:
    """Train a model of some tasks, and return its results; export the joint one."""
    keras.utils.set_random_seed(args.seed)
    records = {part: data.records(questions[part]) for part in data.PARTS}
    tasks = [task for task in all_tasks() if task.name in names]
    texts = records["train"].flat_map(
        lambda record: tf.data.Dataset.from_tensor_slices([record[text] for text in PAIR])
    )
    with strategy.scope():
        text = ENCODERS[args.encoder](texts, LENGTH, PAIR)
        model = mtl.build_model(text.preprocessor.inputs(), mtl.trunks.HardSharing(text.encoder), tasks)
    rows = {part: mtl.data.encode_text(records[part], text.preprocessor, tasks, text=PAIR) for part in data.PARTS}
    batches = mtl.data.mix(
        {"questions": rows["train"]},
        batch_size=args.batch_size,
        boundaries=BOUNDARIES,
        shuffle_buffer=len(rows["train"]),
        seed=args.seed,
    )
    with strategy.scope():
        model.compile(optimizers.adamw(args.learning_rate, args.epochs * len(batches)), balancing=args.balancing)
    started = time.time()
    model.fit(
        batches,
        validation_data=mtl.data.batch_by_length(rows["dev"], 64, BOUNDARIES),
        epochs=args.epochs,
        verbose=2,
        callbacks=training_setup.callbacks(args, run, is_reported=run == JOINT),
    )
    seconds = time.time() - started
    results = scores(model, text.preprocessor, questions["test"])
    if run == JOINT and mtl.distribute.is_chief(strategy):
        export(args, model, text, results)
    truncated = {part: lost_answers(rows[part]) for part in data.PARTS} if "answer" in names else {}
    return {"test": results, "train_seconds": seconds, "truncated_answers": truncated}


def all_tasks() -> list[mtl.tasks.Task]:
    return [
        mtl.tasks.SpanExtraction("answer", no_answer=True, dropout=0.1),
        mtl.tasks.BinaryClassification("answerable", dropout=0.1),
    ]


def lost_answers(rows: tf.data.Dataset) -> int:
    """Return the number of rows whose answer is not in the truncated paragraph."""
    return sum(float(weights["answer"]) == 0 for _, _, weights in rows)


def scores(
    model: mtl.MultiTaskModel, preprocessor: mtl.text.TextPreprocessor, questions: Sequence[Question]
) -> dict[str, float]:
    """Return SQuAD's scores of a model's answers, of all questions and of the answerable ones, and accuracy and AUC."""
    inputs = {text: [getattr(question, text) for question in questions] for text in PAIR}
    answers = model.answer(inputs, preprocessor)
    results: dict[str, float] = {}
    if "answer" in answers:
        pairs = list(zip(answers["answer"]["text"].tolist(), (question.answers for question in questions), strict=True))
        answerable = [(text, references) for text, references in pairs if references]
        for name, subset in (("answer", pairs), ("answer_of_answerable", answerable)):
            squad = mtl.metrics.squad_scores(*zip(*subset, strict=True))
            results |= {f"{name}_{metric}": value for metric, value in squad.items()}
    if "answerable" in answers:
        labels = [bool(question.answers) for question in questions]
        predicted = answers["answerable"]["score"]
        results["answerable_accuracy"] = float(keras.metrics.BinaryAccuracy()(labels, predicted))
        results["answerable_auc"] = float(keras.metrics.AUC()(labels, predicted))
    return results


def report(
    args: argparse.Namespace, entries: Mapping[str, Mapping], questions: Mapping[str, Sequence[Question]]
) -> None:
    """Print the results, and write them."""
    joint = entries[JOINT]
    single = {name: value for model in entries if model != JOINT for name, value in entries[model]["test"].items()}
    print()
    for part, asked in questions.items():
        unanswerable = sum(not question.answers for question in asked)
        truncated = joint["truncated_answers"][part]
        print(f"{part}: {len(asked):,} questions, {unanswerable:,} of them unanswerable, {truncated} answers truncated")
    print(f"{joint['train_seconds']:.0f} s of training. On the test data:\n")
    columns = [JOINT, *(["single-task"] if single else [])]
    rows = [[name, value, *([single[name]] if single else [])] for name, value in joint["test"].items()]
    print(mtl.report.table(["task and metric", *columns], rows))
    if single and all(single.values()):  # a gain relative to 0 is not defined
        comparison = mtl.report.compare(by_task(joint["test"]), by_task(single))
        print(f"\ndelta-m, mean relative gain over tasks: {comparison.gain_per_task:+.2%}")
    others = {"single_task": single, **{key: joint[key] for key in ("truncated_answers", "train_seconds")}}
    print(f"\nWrote {metrics_file.write(args, f'{JOINT}, {args.encoder}', joint['test'], **others)}.")


def by_task(results: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return `{task: {metric: value}}`."""
    return {task: {name: value for name, value in results.items() if name.split("_")[0] == task} for task in TASKS}


def export(args: argparse.Namespace, model: mtl.MultiTaskModel, text: TextEncoder, results: dict[str, float]) -> None:
    """Export the model, and ask it three questions."""
    export_and_ask(args, model, text.preprocessor, EXAMPLES, results, f"{args.data}: questions about paragraphs.")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = recipe_options.parser("question_answering", __doc__.splitlines()[0])
    parser.add_argument("--encoder", choices=list(DEFAULTS), default="minilm")
    recipe_options.add_no_single_task(parser)
    recipe_options.add_balancing(parser)
    args = parser.parse_args(arguments)
    recipe_options.require_data(parser, args, "files in SQuAD's format, which are not downloaded")
    recipe_options.set_defaults(args, DEFAULTS[args.encoder], SMOKE)
    return args


if __name__ == "__main__":
    main()
