"""The verdict on an export: whether it keeps the promises of its model card."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_mtl.export._requests import Request
from tf_mtl.export._session import Findings
from tf_mtl.report import table

TOLERANCE = 1e-5
LOW_PRECISION_TOLERANCE = 2e-2


def judge(
    promised: Mapping[str, Any], requests: Sequence[Request], findings: Findings, warmup_faults: Sequence[str]
) -> None:
    """Print a table of how an export's outputs differ from the expected ones.

    Args:
        promised: The signatures of the export's model card.
        requests: The requests sent, with the expected outputs.
        findings: The findings of the fresh process.
        warmup_faults: The faults of the warm-up file.

    Raises:
        ValueError: naming every fault.
    """
    rows, faults = [], list(warmup_faults)
    tolerance = LOW_PRECISION_TOLERANCE if findings.is_low_precision else TOLERANCE
    answered = [request for request in requests if request.signature in findings.signatures]
    for request, batched, single in zip(answered, findings.batched, findings.single, strict=True):
        name = request.signature
        from_model = difference(batched, request.expected) if request.expected else None
        from_batch = difference(single, {key: value[: len(single[key])] for key, value in batched.items()})
        rows_of = {key: len(value) for key, value in batched.items() if len(value) != request.rows}
        if rows_of:
            faults.append(f"'{name}' gives {rows_of} rows for {request.rows}")
        if from_model is not None and not from_model <= tolerance:
            faults.append(f"'{name}' differs from the model by {from_model:.1e}, more than {tolerance}")
        if not from_batch <= tolerance:
            faults.append(f"'{name}' gives other outputs for a row alone than in its batch, by {from_batch:.1e}")
        signature = findings.signatures[name]
        shown = [_shown(value, tolerance) for value in (from_model, from_batch)]
        rows.append([name, request.rows, *shown, signature["variables"], signature["parameters"]])
    for name in sorted({*promised, *findings.signatures}):
        faults += _broken_promises(name, promised.get(name), findings.signatures.get(name))
    if findings.bytes_stored > findings.bytes_used:
        faults.append(f"{findings.bytes_stored} bytes of weights are stored, {findings.bytes_used} are used")
    if findings.xla_functions:
        faults.append(f"{findings.xla_functions[0]} demands XLA, which servers refuse on the CPU")
    if findings.imported:
        faults.append(f"loading imported {findings.imported}")
    print(table(["signature", "rows", "difference", "alone", "variables", "parameters"], rows))
    print(f"\nWeights: {findings.bytes_stored:,} bytes.{' Needs TF-Text.' if findings.needs_tf_text else ''}")
    if faults:
        raise ValueError("The export fails its check: " + "; ".join(faults) + ".")


def _shown(value, tolerance):
    if value is None:
        return ""
    return f"<= {tolerance:.0e}" if value <= tolerance else f"{value:.1e}"


def _broken_promises(name, promised, actual):
    if actual is None:
        return [f"'{name}' is missing"]
    if promised is None:
        return [f"'{name}' is not in the model card"]
    faults = []
    if actual["inputs"] != sorted(promised["inputs"]) or actual["outputs"] != sorted(promised["outputs"]):
        faults.append(f"'{name}' has other inputs or outputs than its model card lists")
    if actual["variables"] > promised["variables"] or actual["parameters"] > promised["parameters"]:
        faults.append(f"'{name}' reaches {actual['variables']} variables, but its tasks have {promised['variables']}")
    return faults


def difference(outputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """Return the largest |output - expected| / (1 + m), with m the largest |expected| of the row.

    It is infinity where the two cannot be compared. Rounding errors of an output, such as the coordinates of a box,
    have the size of its largest values.
    """
    if set(outputs) != set(expected):
        return np.inf
    return max(_difference(outputs[name], expected[name]) for name in expected)


def _difference(output, expected):
    if output.shape != expected.shape:
        return np.inf
    if expected.dtype.kind not in "fiub":
        return 0.0 if (output == expected).all() else np.inf
    output, expected = output.astype("float64"), expected.astype("float64")
    same = (output == expected) | (np.isnan(output) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        finite = np.where(np.isfinite(expected), np.abs(expected), 0.0)
        largest = finite.max(axis=tuple(range(1, expected.ndim)), keepdims=True, initial=0.0)
        relative = np.where(same, 0.0, np.abs(output - expected) / (1 + largest))
    return float(np.nan_to_num(relative, nan=np.inf).max(initial=0.0))
