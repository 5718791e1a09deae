"""Checks of names, such as the keys of a dict keyed by task."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return a hint with the candidate closest to `name`, ignoring case and underscores, or an empty string."""
    by_key = {key(candidate): candidate for candidate in candidates}
    matches = difflib.get_close_matches(key(str(name)), by_key, n=1)
    return f" Did you mean '{by_key[matches[0]]}'?" if matches else ""


def key(name: str) -> str:
    """Return a name in lower case and without underscores."""
    return name.replace("_", "").lower()


def by_output(argument: str, given: Any, outputs: Iterable[str]) -> dict[str, Any]:
    """Return what `compile` was given for several outputs as a dict: a dict, or a list in Keras' order of outputs.

    Keras orders the outputs of a dict by name, as in `model.outputs` and `model.output_names`.

    Raises:
        ValueError: for an unknown key, a list of another length, or anything else.
    """
    names = sorted(outputs)
    if isinstance(given, (list, tuple)):
        if len(given) != len(names):
            raise ValueError(
                f"`{argument}` as a list must have one entry per output, in the order {names}, received {given!r}. "
                f"Pass a dict {{task: entry}} to give some outputs an entry."
            )
        return dict(zip(names, given, strict=True))
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f"`{argument}` must be a dict {{task: entry}}, received {given!r}.")
    check_names(argument, given or {}, outputs, required=False)
    return dict(given or {})


def check_task_name(argument: str, name: str) -> None:
    """Check the name of a task.

    Args:
        argument: What it names, for the message.
        name: The name.

    Raises:
        ValueError: unless it is a Python identifier of ASCII characters, which TensorFlow accepts in names.
    """
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        raise ValueError(
            f"{argument} must be an identifier of ASCII letters, digits and _, since it names a layer and served "
            f"outputs; received {name!r}. Rename the task."
        )


def check_names(argument: str, given: Iterable[str], tasks: Iterable[str], required: bool = True) -> None:
    """Check that the keys `given` are task names and, if `required`, that no task is missing.

    Args:
        argument: Name of the argument with these keys, for the message.
        given: The keys received.
        tasks: The model's task names.
        required: Whether every task must have a key.

    Raises:
        ValueError: for an unknown or a missing key.
    """
    given, tasks = list(given), list(tasks)
    for name in given:
        if name not in tasks:
            raise ValueError(
                f"`{argument}` must be keyed by task name. Received the unknown key '{name}'; "
                f"the tasks are {tasks}.{nearest(name, tasks)}"
            )
    missing = [name for name in tasks if name not in given]
    if required and missing:
        raise ValueError(
            f"`{argument}` must have one entry per task. Missing: {missing}; received: {given}. "
            f"Add {'it' if len(missing) == 1 else 'them'} to `{argument}`."
        )
