"""Export a recipe's model, and ask it about a few texts."""

import argparse
from collections.abc import Mapping, Sequence

import ask_export
import metrics_file

import tf_mtl as mtl


def export_and_ask(
    args: argparse.Namespace,
    model: mtl.MultiTaskModel,
    preprocessor: mtl.text.TextPreprocessor | mtl.images.ImagePreprocessor,
    texts: Sequence[str] | Mapping[str, Sequence[str]],
    results: Mapping[str, float],
    data: str,
) -> None:
    """Export a model, add its card to the report, and print its answers from a new process.

    Args:
        args: The recipe's options.
        model: The model.
        preprocessor: What turns texts or pictures into its inputs.
        texts: The texts or the paths of pictures to ask it about, or `{input: texts}` for a model of pairs.
        results: Its test results, for the model card.
        data: What it was trained on, for the model card.
    """
    texts = {name: list(part) for name, part in texts.items()} if isinstance(texts, Mapping) else list(texts)
    warmup = texts if isinstance(texts, dict) else [ask_export.content(text) for text in texts]
    path = mtl.export.saved_model(
        model, args.export, preprocessor=preprocessor, warmup=warmup, metrics=results, data=data
    )
    metrics_file.add_model_card(args, path)
    ask_export.ask_in_new_process(path, texts)
