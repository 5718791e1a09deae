"""The results of finished runs, so that a recipe that was stopped does not repeat them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class FinishedRuns:
    """Results by run, kept in a JSON file.

    Args:
        path: The file; it need not exist.
        write: Whether this process writes the file.
    """

    def __init__(self, path: Path, write: bool):
        self._path, self._write = path, write
        self._runs = json.loads(path.read_text()) if path.exists() else []

    def find(self, run: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the entry of a run, its options and results, or None if it has not finished.

        Args:
            run: The options that the run depends on.
        """
        return next((entry for entry in self._runs if run.items() <= entry.items()), None)

    def add(self, run: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the results of a run, and return its entry."""
        entry = {**run, **results}
        self._runs.append(entry)
        if self._write:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self._runs, indent=2) + "\n")
        return entry
