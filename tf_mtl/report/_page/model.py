"""Sections on a trained model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_mtl.report._page import evidence
from tf_mtl.report._page.document import Section
from tf_mtl.report._page.elements import Cell, Markup, details, element, joined, matrix, number, percent, table

_CARD = "model_card.json"


def results(columns: Mapping[str, Mapping[str, float]]) -> Section:
    """Return results, `{column: {metric: value}}`; the first column determines the rows."""
    first = next(iter(columns.values()))
    rows: list[list[Cell]] = [[name, *(values.get(name) for values in columns.values())] for name in first]
    return Section("Results", table("Metrics of the model", ["metric", *columns], rows))


def gates(layers: Mapping[str, evidence.GateWeights]) -> Section:
    """Return how much each task uses each expert."""
    parts = (
        matrix(f"Mean weights of {name}", "task", gate.tasks, gate.experts, gate.weights)
        for name, gate in layers.items()
    )
    return Section("Gates", joined(*parts))


def confusion(tasks: Mapping[str, tuple[Sequence[str], Any]]) -> Section:
    """Return the confusion matrices of tasks, `{task: (labels, matrix)}`."""
    return Section("Confusion matrices", joined(*(_confusion(task, *value) for task, value in tasks.items())))


def cost(values: Mapping[str, float | str]) -> Section:
    """Return what training or serving costs."""
    return Section("Cost", numbers("Cost", values))


def numbers(caption: str, values: Mapping[str, Any]) -> Markup:
    """Return a table of values by name. Beside texts, numbers are texts, too."""
    has_texts = any(isinstance(value, str) for value in values.values())
    rows = [
        [name, number(value) if has_texts and isinstance(value, (int, float)) else value]
        for name, value in values.items()
    ]
    return table(caption, ["name", "value"], rows)


def card(source: str | Path) -> Section:
    """Return a description of the model: a text, or the path of a model card or of an export."""
    if isinstance(source, str):
        return Section("Model card", element("p", source, class_="text"))
    content = json.loads((source / _CARD if source.is_dir() else source).read_text("utf-8"))
    tasks = [[task["name"], task["kind"], ", ".join(task.get("labels", []))] for task in content["tasks"]]
    signatures = [
        [name, ", ".join(each["tasks"]), _tensors(each["inputs"]), _tensors(each["outputs"])]
        for name, each in content["signatures"].items()
    ]
    facts = {
        "name": content["name"],
        "version": str(content["version"]),
        "created": content["created"],
        "parameters": content["parameters"],
        **content["software"],
    }
    return Section(
        "Model card",
        joined(
            element("p", content["data"], class_="text") if content["data"] else None,
            numbers("The model", facts),
            table("Tasks", ["task", "kind", "labels"], tasks),
            table("Signatures", ["signature", "tasks", "inputs", "outputs"], signatures),
            details("Results", numbers("Results in the card", content["metrics"])) if content["metrics"] else None,
        ),
    )


def _confusion(task: str, labels: Sequence[str], counts: Any) -> Markup:
    counts = np.asarray(counts)
    if counts.shape != (len(labels), len(labels)):
        raise ValueError(
            f"`confusion['{task}']` must have a row and a column for each of {len(labels)} labels, received a matrix "
            f"{counts.shape}. Pass `num_classes` to `tf.math.confusion_matrix`."
        )
    names = [str(label) for label in labels]
    rows = counts.sum(1, keepdims=True)
    fractions = np.divide(counts, rows, out=np.full(counts.shape, np.nan), where=rows > 0)
    texts = [
        [f"{count:,} ({percent(fraction).text})" for count, fraction in zip(*row, strict=True)]
        for row in zip(counts.tolist(), fractions.tolist(), strict=True)
    ]
    accuracy = percent(float(np.trace(counts) / max(counts.sum(), 1))).text
    caption = f"Predictions of {task}: rows are true classes, columns predicted ones; {accuracy} are correct"
    return joined(element("h3", task), matrix(caption, "true class", names, names, fractions, texts, largest=1))


def _tensors(specs: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(
        f"{name}: {spec['dtype']} {spec['shape']}".replace("None", "batch", 1) for name, spec in specs.items()
    )
