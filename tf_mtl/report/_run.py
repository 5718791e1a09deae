"""A report of what a run has left in its folder."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tf_mtl.report._compare import compare
from tf_mtl.report._page import document, model, training, transfer
from tf_mtl.report._page.document import Section
from tf_mtl.report._page.elements import Cell, Markup, joined, number, table

_KNOWN = ("model", "test", "single_task", "options")


def html_of_run(folder: str | Path) -> Path:
    """Write `report.html` into a run's folder, from the files in it.

    `metrics.json` must exist. Its keys: `test`, the results by name; `single_task`, those of single-task models, which
    add the gains; `model`, a text for the title; and `options`, the settings of the run by name. Numbers under other
    keys become tables. If they exist, `history.json`, a training history as `fit` returns it, adds the curves, and
    `model_card.json`, copied from an export, the description of the model.

    Args:
        folder: The run's folder.

    Returns:
        The path of the report.

    Raises:
        ValueError: if `metrics.json` has no results by name under `test`.

    Example:

    >>> import json, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "metrics.json").write_text(json.dumps({"test": {"a_auc": 0.9}, "train_seconds": 60.0}))
    >>> mtl.report.html_of_run(folder).name
    'report.html'
    """
    folder = Path(folder)
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    if not isinstance(metrics, dict) or not isinstance(metrics.get("test"), dict):
        raise ValueError(f"{folder / 'metrics.json'} must have results by name under 'test'.")
    sections = [*_results(metrics), *_curves(folder / "history.json"), *_others(metrics)]
    card = folder / "model_card.json"
    if card.exists():
        sections.append(model.card(card))
    name = folder.resolve().name
    return document.write(
        folder / "report.html", f"{name}: {metrics['model']}" if "model" in metrics else name, sections
    )


def _results(metrics: Mapping[str, Any]) -> Iterator[Section]:
    """The results, beside others of the same metrics, and the gains over those of single-task models."""
    test, single = metrics["test"], metrics.get("single_task") or {}
    columns = {key: value for key, value in metrics.items() if _is_results(key, value, test)}
    yield model.results({"test": test, **({"single-task": single} if single else {}), **columns})
    common = [
        name for name, value in test.items() if value is not None and single.get(name)
    ]  # a gain relative to 0 is not defined
    if common:
        gains = compare({"": {name: test[name] for name in common}}, {"": {name: single[name] for name in common}})
        yield Section("Gains", transfer.gain_table(gains.rows))


def _curves(path: Path) -> Iterator[Section]:
    if path.exists():
        history = json.loads(path.read_text("utf-8"))
        yield training.training(history)
        balancing = training.balancing(history)
        if balancing is not None:
            yield balancing


def _others(metrics: Mapping[str, Any]) -> Iterator[Section]:
    """All further numbers, and the options."""
    others = {
        key: value
        for key, value in metrics.items()
        if key not in _KNOWN and value not in ({}, []) and not _is_results(key, value, metrics["test"])
    }
    tables = [_table(name, value) for name, value in others.items() if isinstance(value, dict)]
    numbers = {name: _cell(value) for name, value in others.items() if not isinstance(value, dict)}
    if numbers:
        tables.insert(0, model.numbers("Further numbers", numbers))
    if tables:
        yield Section("Further numbers", joined(*tables))
    if metrics.get("options"):
        options = {name: _cell(value) for name, value in metrics["options"].items()}
        yield Section("Options", model.numbers("Options of the run", options))


def _is_results(key: str, value: Any, test: Mapping[str, float]) -> bool:
    """Whether a key holds results of the same metrics as `test`."""
    return key not in _KNOWN and isinstance(value, dict) and bool(value.keys() & test.keys())


def _table(name: str, values: Mapping[str, Any]) -> Markup:
    """A table of numbers by name, or of rows of such."""
    if not any(isinstance(value, dict) for value in values.values()):
        return model.numbers(name, {key: _cell(value) for key, value in values.items()})
    rows = {key: dict(_flat(value)) for key, value in values.items()}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    return table(name, ["name", *columns], [[key, *map(row.get, columns)] for key, row in rows.items()])


def _flat(value: Any, *names: str) -> Iterator[tuple[str, Cell]]:
    """The values of nested dictionaries, with their joined names."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _flat(part, *names, name)
    else:
        yield " ".join(names) or "value", _cell(value)


def _cell(value: Any) -> Cell:
    if isinstance(value, list):
        separator = "; " if any(isinstance(part, list) for part in value) else ", "  # rows of a matrix
        return separator.join(number(part) if isinstance(part, float) else str(_cell(part)) for part in value)
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    return str(value)
