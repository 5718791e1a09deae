"""One encoder and one decoder for several languages: translation, and language models beside it.

    python recipes/translate.py --data multi30k/ --languages de cs
    python recipes/translate.py --data multi30k/ --languages de --no-single-task

The folder has gzip files of sentences, line by line translations of each other: train.en.gz, val.en.gz,
test_2016_flickr.en.gz, and the same for each target language. A sub-word vocabulary is learnt from the training
sentences of all languages. All models start from random weights; embeddings, encoder and decoder are shared by all
tasks. A language's translation and its language model begin with the same token, such as <de>.

Prints BLEU and chrF of the translated test sentences, as sacrebleu gives them (cased, detokenised), writes
`runs/translate/metrics.json`, exports the joint model to `saved_models/translate/<version>/` and has it translate three
sentences. Single-task models translate into one language, without a language model, and have as many updates.
results.json in `runs/translate` has the finished models' results: a command that was stopped resumes with the next
model. Delete the folder after changing the code.
"""

import argparse
import time
from collections.abc import Mapping, Sequence

import quiet_tensorflow  # noqa: F401
import keras
import metrics_file
import optimizers
import recipe_options
import tensorflow as tf
import training_setup
import translate_data as data
from export_and_ask import export_and_ask
from finished_runs import FinishedRuns

import tf_mtl as mtl

EXAMPLES = ("A man is riding a bicycle.", "Two dogs are playing in the snow.", "A girl in a red dress eats an apple.")
DEFAULTS = {"epochs": 6, "batch_size": 32, "learning_rate": 3e-3, "vocabulary_size": 6000}
SMOKE = {"epochs": 1, "vocabulary_size": 800}
JOINT = "joint"
LENGTH = 64
BOUNDARIES = [12, 15, 18, 22, 28]
SIZE = {"dim": 128, "layers": 2, "heads": 4, "feedforward_dim": 256, "dropout": 0.1}


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    strategy = training_setup.choose_strategy(args)
    is_chief = mtl.distribute.is_chief(strategy)
    runs = FinishedRuns(args.workdir / "results.json", write=is_chief)
    sentences = data.load(args.data, [args.source, *args.languages], args.smoke)
    models: dict[str, Sequence[str]] = {
        JOINT: args.languages,
        **({} if args.no_single_task else {language: [language] for language in args.languages}),
    }
    options = recipe_options.of_a_run(args)
    entries = {}
    for model, languages in models.items():
        run = {"model": model, **options}
        entries[model] = runs.find(run) or runs.add(run, train(args, strategy, model, languages, sentences))
    if is_chief:
        report(args, entries)


def train(
    args: argparse.Namespace,
    strategy: tf.distribute.Strategy,
    run: str,
    languages: Sequence[str],
    sentences: Mapping[str, data.Sentences],
) -> dict:
    """Train a model of some languages, and return its results; export the joint one."""
    keras.utils.set_random_seed(args.seed)
    texts = [line for lines in sentences["train"].values() for line in lines]
    tokenizer = mtl.text.learn_tokenizer(texts, args.vocabulary_size, [f"<{language}>" for language in args.languages])
    preprocessor = mtl.text.Subwords(tokenizer, LENGTH)
    with strategy.scope():
        tasks = all_tasks(tokenizer, languages, language_models=run == JOINT)
        encoder = mtl.encoders.TransformerEncoder(tokenizer.vocabulary_size(), LENGTH, **SIZE, token_table=True)
        model = mtl.build_model(preprocessor.inputs(), mtl.trunks.HardSharing(encoder), tasks)
    of_tasks = {name: language for language in languages for name in task_names(language)}
    fields = {"text": args.source, **{task.name: of_tasks[task.name] for task in tasks}}
    rows = {
        part: mtl.data.encode_text(data.records(sentences[part], fields), preprocessor, tasks, text="text")
        for part in ("train", "val")
    }
    batches = mtl.data.mix(
        {"sentences": rows["train"]},
        batch_size=args.batch_size,
        boundaries=BOUNDARIES,
        shuffle_buffer=len(rows["train"]),
        seed=args.seed,
    )
    with strategy.scope():
        model.compile(
            optimizers.adamw(args.learning_rate, args.epochs * len(batches)),
            metrics={task.name: [] for task in tasks},  # which take a fifth of a step's time
            balancing=args.balancing,
        )
    started = time.time()
    model.fit(
        batches,
        validation_data=mtl.data.batch_by_length(rows["val"], 64, BOUNDARIES),
        epochs=args.epochs,
        verbose=2,
        callbacks=training_setup.callbacks(args, run, is_reported=run == JOINT),
    )
    seconds = time.time() - started
    results = scores(model, preprocessor, sentences[data.PARTS[-1]], args.source, languages)
    if run == JOINT and mtl.distribute.is_chief(strategy):
        source = f"{args.data}: {args.source} to {', '.join(languages)}."
        export_and_ask(args, model, preprocessor, EXAMPLES, results, source)
    return {"test": results, "train_seconds": seconds}


def all_tasks(tokenizer, languages: Sequence[str], language_models: bool) -> list[mtl.tasks.Task]:
    """Return the tasks of some languages, with one decoder."""
    decoder = mtl.layers.Decoder(tokenizer.vocabulary_size(), LENGTH, **SIZE)
    options = {"decoder": decoder, "label_smoothing": 0.1, "sampler": mtl.samplers.Beam(4), "tied": True}
    tasks: list[mtl.tasks.Task] = []
    for language in languages:
        start = f"<{language}>"
        translation, texts = task_names(language)
        tasks.append(mtl.tasks.Generation(translation, tokenizer, LENGTH, start=start, **options))
        if language_models:
            tasks.append(mtl.tasks.LanguageModel(texts, tokenizer, start=start, **options))
    return tasks


def task_names(language: str) -> tuple[str, str]:
    """Return the names of the translation into a language and of its language model."""
    name = language.replace("-", "_")
    return name, f"{name}_texts"


def scores(
    model: mtl.MultiTaskModel,
    preprocessor: mtl.text.TextPreprocessor,
    sentences: data.Sentences,
    source: str,
    languages: Sequence[str],
) -> dict[str, float]:
    """Return BLEU and chrF of a model's translations, `{"<language>_bleu": value}`."""
    names = {language: task_names(language)[0] for language in languages}
    answers = model.answer(sentences[source], preprocessor, tasks=list(names.values()), batch_size=100)
    results = {}
    for language in languages:
        for metric in (mtl.metrics.Bleu(), mtl.metrics.ChrF()):
            metric.update_state(sentences[language], answers[names[language]]["text"])
            results[f"{language}_{metric.name}"] = float(metric.result())
    return results


def report(args: argparse.Namespace, entries: Mapping[str, Mapping]) -> None:
    """Print the results, and write them."""
    joint = entries[JOINT]
    single = {name: value for model in entries if model != JOINT for name, value in entries[model]["test"].items()}
    print(f"\n{joint['train_seconds']:.0f} s of training. On the test sentences:\n")
    columns = [JOINT, *(["single-task"] if single else [])]
    rows = [[name, value, *([single[name]] if single else [])] for name, value in joint["test"].items()]
    print(mtl.report.table(["language and metric", *columns], rows))
    others = {"single_task": single, "train_seconds": joint["train_seconds"]}
    print(f"\nWrote {metrics_file.write(args, JOINT, joint['test'], **others)}.")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = recipe_options.parser("translate", __doc__.splitlines()[0])
    parser.add_argument("--source", metavar="LANGUAGE", default="en", help="translate from it (default: en)")
    parser.add_argument("--languages", metavar="LANGUAGE", nargs="+", required=True, help="translate into them")
    parser.add_argument("--vocabulary-size", type=int, metavar="N", help="number of sub-words of all languages")
    recipe_options.add_no_single_task(parser)
    recipe_options.add_balancing(parser)
    args = parser.parse_args(arguments)
    recipe_options.require_data(parser, args, "a folder with files like train.en.gz, which are not downloaded")
    recipe_options.set_defaults(args, DEFAULTS, SMOKE)
    return args


if __name__ == "__main__":
    main()
