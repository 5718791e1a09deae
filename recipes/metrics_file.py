"""The file in which every recipe leaves its results: metrics.json."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import recipe_options


def write(args: argparse.Namespace, model: str, test: Mapping[str, float], **others: Any) -> Path:
    """Write `<workdir>/metrics.json`, and return its path.

    Args:
        args: The recipe's options, which are written too.
        model: The model that `test` is about.
        test: Its results on the test data, `{"<task>_<metric>": value}`.
        **others: Further keys of the document.
    """
    args.workdir.mkdir(parents=True, exist_ok=True)
    path = args.workdir / "metrics.json"
    document = {"model": model, "test": test, **others, "options": recipe_options.as_json(args)}
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path
