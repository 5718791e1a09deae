"""What was found of an export against what it should be."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_mtl.export._requests import Request
from tf_mtl.report import table


def judge(card: Mapping[str, Any], requests: Sequence[Request], found: Mapping[str, Any]) -> None:
    """Print a table of an export's answers.

    Args:
        card: The export's model card.
        requests: What was sent, with the right answers.
        found: What the fresh process found.

    Raises:
        ValueError: naming everything that is not as it should be.
    """
    rows, faults = [], []
    for request, (together, alone) in zip(requests, found["answers"], strict=True):
        row, wrong = _answer(request, together, alone, card["tolerance"])
        held = found["signatures"][request.signature]
        rows.append([*row, held["variables"], held["parameters"]])
        faults += wrong
    for name, promised in card["signatures"].items():
        faults += _contract(name, promised, found["signatures"].get(name))
    if found["bytes_stored"] > found["bytes_used"]:
        faults.append(f"{found['bytes_stored']} bytes of weights are stored, {found['bytes_used']} are used")
    if found["xla"]:
        faults.append(f"XLA, which servers refuse on the CPU, is demanded by {found['xla'][0]}")
    if found["modules"]:
        faults.append(f"loading imported {found['modules']}")
    print(table(["signature", "rows", "difference", "alone", "variables", "parameters"], rows))
    print(f"\nWeights: {found['bytes_stored']:,} bytes.{' Needs TF-Text.' if found['tf_text'] else ''}")
    if faults:
        raise ValueError("The export fails its check: " + "; ".join(faults) + ".")


def _answer(request, together, alone, tolerance):
    name, faults = request.signature, []
    wrong = difference(together, request.answer) if request.answer else None
    apart = difference(alone, {key: value[: len(alone[key])] for key, value in together.items()})
    if wrong is not None and not wrong <= tolerance:
        faults.append(f"'{name}' differs from the model by {wrong:.1e}, more than {tolerance}")
    if not apart <= tolerance:
        faults.append(f"'{name}' answers a row otherwise alone than in its batch, by {apart:.1e}")
    shown = [_shown(value, tolerance) for value in (wrong, apart)]
    return [name, len(next(iter(request.inputs.values()))), *shown], faults


def _shown(value, tolerance):
    if value is None:
        return ""
    return f"<= {tolerance:.0e}" if value <= tolerance else f"{value:.1e}"


def _contract(name, promised, held):
    if held is None:
        return [f"'{name}' is missing"]
    faults = []
    if held["inputs"] != sorted(promised["inputs"]) or held["outputs"] != sorted(promised["outputs"]):
        faults.append(f"'{name}' has other inputs or outputs than its card says")
    if held["variables"] > promised["variables"] or held["parameters"] > promised["parameters"]:
        faults.append(f"'{name}' reaches {held['variables']} variables, but its tasks have {promised['variables']}")
    return faults


def difference(found: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray]) -> float:
    """Return the largest |found - right| / (1 + |right|); infinity where they cannot be compared."""
    if set(found) != set(right):
        return np.inf
    return max(_distance(found[name], right[name]) for name in right)


def _distance(found, right):
    if found.shape != right.shape:
        return np.inf
    if right.dtype.kind not in "fiub":
        return 0.0 if (found == right).all() else np.inf
    found, right = found.astype("float64"), right.astype("float64")
    same = (found == right) | (np.isnan(found) & np.isnan(right))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(found - right) / (1 + np.abs(right)))
    return float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0))
