"""What the files of a run's folder hold, and which of them may be missing."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from journal import require

from tf_mtl.callbacks._checkpoint_files import CheckpointFiles


class Saved(NamedTuple):
    """A readable checkpoint.

    Attributes:
        step: The step in its name.
        values: Its JSON values.
        updates: The optimizer's count of updates.
        digest: Identifies the content that is read from it, whatever its name.
    """

    step: int
    values: dict[str, Any]
    updates: int
    digest: str


def readable(directory: Path) -> list[Saved]:
    """Return the readable checkpoints of a folder, the newest first."""
    files = CheckpointFiles(directory, 2)
    found = []
    for step in reversed(files.steps()):
        try:
            values, arrays = files.read(step)
        except ValueError:
            continue
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
        for array in arrays:
            digest.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
        found.append(Saved(step, values, _updates(values, arrays), digest.hexdigest()))
    return found


def paths(directory: Path) -> list[Path]:
    """Return all files of a folder, hidden ones as well."""
    return sorted(path for path in directory.glob("*") if path.is_file())


def require_none_lost(before: list[Saved], after: list[Saved], keep: int) -> None:
    """Readable checkpoints may only vanish if there are enough newer ones."""
    steps = [saved.step for saved in after]
    for saved in before:
        newer = [step for step in steps if step > saved.step]
        require(
            saved.step in steps or len(newer) >= keep,
            f"The readable checkpoint of step {saved.step} is gone, and only those of {newer} are newer; keep={keep}.",
        )


def require_only_known(after: list[Saved], known: Collection[str]) -> None:
    """A damaged file must not be read as what no run has written; `known` has the digests of what they have."""
    for saved in after:
        require(saved.digest in known, f"The damaged checkpoint of step {saved.step} is read, with another content.")


def _updates(values, arrays):
    names = values["variables"]
    index = next(i for i, name in enumerate(names["optimizer"]) if "/iteration " in name)
    return int(arrays[sum(values["sizes"]) + len(names["weights"]) + index])
