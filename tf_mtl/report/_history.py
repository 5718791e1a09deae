"""What the quantities of a training history are about."""

from collections.abc import Mapping, Sequence

History = Mapping[str, Sequence[float]]

WEIGHT, COSINE, VALIDATION = "weight/", "cosine/", "val_"
_LOSS = "_loss"


def quantities(history: History) -> dict[str, list[str]]:
    """Return the names of each task's quantities, its loss first; those that concern all tasks are under "".

    Validation quantities, and the weights and cosines of balancing, are left out.

    Raises:
        ValueError: if the history is empty.
    """
    if not any(not name.startswith(VALIDATION) for name in history):
        raise ValueError("`history` must contain at least one quantity, received none.")
    names = [name for name in history if not name.startswith((VALIDATION, WEIGHT, COSINE))]
    tasks = [name.removesuffix(_LOSS) for name in names if name.endswith(_LOSS)]
    of_task: dict[str, list[str]] = {"": [], **{task: [f"{task}{_LOSS}"] for task in tasks}}
    for name in names:
        task = max((task for task in tasks if name.startswith(f"{task}_")), key=len, default="")
        if name not in of_task[task]:
            of_task[task].append(name)
    return {task: each for task, each in of_task.items() if each}


def beginning(history: History, prefix: str) -> list[str]:
    """Return the names that begin with a prefix."""
    return [name for name in history if name.startswith(prefix)]


def pair(name: str) -> str:
    """Return the two tasks of a cosine as text."""
    return " · ".join(name.removeprefix(COSINE).split("/"))
