"""A report of a model and its tasks as one HTML file."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_mtl.report._compare import Comparison
from tf_mtl.report._history import History
from tf_mtl.report._page import document, evidence, model, training, transfer


def html(
    path: str | Path,
    title: str = "Multi-task learning",
    *,
    results: Mapping[str, float] | None = None,
    comparison: Comparison | None = None,
    gains: evidence.Gains | None = None,
    overlap: evidence.Overlap | None = None,
    history: History | None = None,
    affinity: evidence.Affinity | None = None,
    grouping: evidence.Grouping | None = None,
    gates: Mapping[str, evidence.GateWeights] | None = None,
    confusion: Mapping[str, tuple[Sequence[str], Any]] | None = None,
    cost: Mapping[str, float | str] | None = None,
    card: str | Path | None = None,
) -> Path:
    """Write a report as one HTML file, without scripts or anything from the network.

    Each argument is a section, in the order below. The page follows the reader's choice of light or dark colours, and
    every chart has its numbers in a table.

    Args:
        path: The file to write.
        title: The title of the page.
        results: Results of the model, as `evaluate(return_dict=True)` returns them.
        comparison: What `tf_mtl.report.compare` returns.
        gains: What `tf_mtl.analysis.gains` returns.
        overlap: The labels of each task and of pairs of them, from `tf_mtl.analysis.overlap`.
        history: The attribute `history` of the object that `fit` returns. The weights and cosines that balancing logs
            become a section.
        affinity: What `tf_mtl.analysis.affinity` returns, or the result of `tf_mtl.callbacks.TaskAffinity`.
        grouping: What `tf_mtl.analysis.group` returns.
        gates: `{gate: weights}`, objects with the attributes `tasks`, `experts` and `weights`, [tasks, experts].
        confusion: `{task: (labels, matrix)}`, the counts of pairs of classes, [classes, classes]; rows are true
            classes, as in `tf.math.confusion_matrix`.
        cost: Numbers by name, such as seconds and parameters.
        card: A text about the model, or the `Path` of an export or of its model card.

    Returns:
        The path of the file.

    Raises:
        ValueError: without any section, or for a confusion matrix that does not fit its labels.

    Example:

    >>> history = {"loss": [2.0, 1.0], "a_loss": [1.2, 0.6], "b_loss": [0.8, 0.4]}
    >>> import tempfile
    >>> path = mtl.report.html(tempfile.mkdtemp() + "/report.html", history=history, results={"a_mae": 0.5})
    >>> path.read_text().count("<section>")
    2
    """
    parts: list[tuple[Callable[[Any], document.Section | None], Any]] = [
        (model.results, None if results is None else {"value": results}),
        (transfer.comparison, comparison),
        (transfer.gains, gains),
        (transfer.overlap, overlap),
        (training.training, history),
        (training.balancing, history),
        (transfer.affinity, affinity),
        (transfer.grouping, grouping),
        (model.gates, gates),
        (model.confusion, confusion),
        (model.cost, cost),
        (model.card, card),
    ]
    sections = [section for show, part in parts if part is not None and (section := show(part)) is not None]
    if not sections:
        raise ValueError("`html` must get at least one section, received none. Pass `history`, for example.")
    return document.write(path, title, sections)
