"""Write docs/tasks.md from the docstrings of the tasks, and from an example of each.

python docs/tasks_page.py
"""

import inspect
import os
import re
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl._keys import after_key

PAGE = Path(__file__).with_name("tasks.md")
EXAMPLES = [
    'Classification("topic", labels=["news", "sport"])',
    'BinaryClassification("spam", labels=["ham", "spam"])',
    'MultiLabel("moods", labels=["joy", "anger", "fear"])',
    'Ordinal("pain", levels=["none", "some", "much"])',
    'Regression("stars", low=1, high=5)',
    'Tagging("entities", labels=["O", "B-place", "I-place"])',
    'SpanExtraction("answer")',
    'DependencyParse("parse", labels=["root", "nsubj", "obj"])',
    'Relations("relations", labels=["lives_in", "works_for"], tags=["O", "B-place", "I-place"])',
    'Matching("answers", units=128)',
    'MaskedLM("mlm", vocabulary_size=30)',
    'Ranking("relevance")',
    'Generation("german", tokenizer, start="<de>")',
    'LanguageModel("german_texts", tokenizer, decoder, start="<de>")',
    'Detection("cells", labels=["red", "white"], image_size=(64, 96))',
    'Segmentation("parts", labels=["ground", "item"], image_size=(64, 96), levels=["P3", "P4"])',
    'Depth("depth", image_size=(64, 96), levels=["P3", "P4"])',
    'Normals("normals", image_size=(64, 96), levels=["P3", "P4"])',
    'Keypoints("eyes", labels=["left", "right"], image_size=(64, 96), levels=["P3", "P4"])',
    'Conversion("buy", after="click")',
    'Count("number", labels=["red", "white"], mean=[12.0, 1.0])',
]


def task_of(example: str) -> mtl.tasks.Task:
    """Return the task of an example."""
    tokenizer = mtl.text.learn_tokenizer(["ein Mann"], 300, special_tokens=["<de>"])
    decoder = mtl.layers.Decoder(tokenizer.vocabulary_size(), length=64, dim=16)
    return eval(f"mtl.tasks.{example}", {"mtl": mtl, "tokenizer": tokenizer, "decoder": decoder})


def features() -> dict[str, keras.KerasTensor]:
    """Return the features that heads read, of encoders with 16 units."""
    return {
        "pooled": keras.Input((16,)),
        "query": keras.Input((16,)),
        "document": keras.Input((16,)),
        "sequence": keras.Input((4, 16)),
        "mask": keras.Input((4,), dtype="bool"),
        "token_table": keras.Input(batch_shape=(30, 16)),
        "candidates": keras.Input((4, 16)),
        "P3": keras.Input((8, 12, 16)),
        "P4": keras.Input((4, 6, 16)),
        "P5": keras.Input((2, 3, 16)),
        after_key("entities"): keras.Input((4, 3)),
        after_key("click"): keras.Input((1,)),
        "german_tokens": keras.Input((None,), dtype="int32"),
        "german_texts_tokens": keras.Input((None,), dtype="int32"),
    }


def read_by(task: mtl.tasks.Task) -> list[str]:
    """Return the features that a task reads."""
    return getattr(task, "sides", None) or getattr(task, "levels", None) or [task.features]


def metric_names(task: mtl.tasks.Task) -> list[str]:
    """Return the names of a task's metrics, or of their results."""
    metrics = task.metrics() or task.answer_metrics()
    return [name for metric in metrics for name in getattr(metric, "result_names", [metric.name])]


def section(example: str) -> str:
    """Return the section of a task: what its docstring says of it, and what its example is made of."""
    task = task_of(example)
    kind = type(task)
    docstring = re.split(r"\n\n(?:Args|Raises|Example|Reference):", inspect.getdoc(kind))[0]
    answer = task.decode(tf.zeros([1, *(size or 1 for size in task.head(features()).shape[1:])]))
    facts = {
        "reads": ", ".join(f"`{feature}`" for feature in read_by(task)),
        "loss": f"`{type(task.loss).__name__}`",
        "metrics": ", ".join(f"`{name}`" for name in metric_names(task)),
        "answer": ", ".join(f"`{key}`" for key in answer),
    }
    link = f"[{kind.__name__}](api/tasks.md#tf_mtl.tasks.{kind.__name__})"
    title = [f"## {kind.__name__}", "", f"`mtl.tasks.{example}`; all arguments: {link}", ""]
    table = [f"| {' | '.join(row)} |" for row in (facts, ["---"] * len(facts), facts.values())]
    return "\n".join([*title, docstring, "", *table])


def page() -> str:
    """Return the page."""
    before = PAGE.read_text().split("<!-- tasks -->\n")[0]
    return before + "<!-- tasks -->\n\n" + "\n\n".join(map(section, EXAMPLES)) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
