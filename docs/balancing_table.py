"""Write the tables of methods in docs/balancing.md from the signatures and docstrings of the classes.

python docs/balancing_table.py
"""

import inspect
import re
from pathlib import Path

import tf_mtl as mtl
from tf_mtl.balancing._wrapper import Wrapper

PAGE = Path(__file__).with_name("balancing.md")
KINDS = {
    "Scalarizers: losses to one objective": mtl.balancing.Scalarizer,
    "Weightings: Gramian to weights": mtl.balancing.Weighting,
    "Aggregators: Jacobian to direction": mtl.balancing.Aggregator,
    "Wrappers: around a method of any kind": Wrapper,
}


def methods(kind: type) -> list[type]:
    """Return the public methods of a kind, sorted by name."""
    classes = [
        c for _, c in inspect.getmembers(mtl.balancing, inspect.isclass) if issubclass(c, kind) and c is not kind
    ]
    return sorted(classes, key=lambda method: method.__name__.lower())


def section(method: type, name: str) -> str:
    """Return the paragraph "<name>: ..." of a docstring on one line."""
    match = re.search(rf"^{name}: (.*?)(?=\n\S|\n\n|\Z)", inspect.getdoc(method), re.DOTALL | re.MULTILINE)
    if match is None:
        raise ValueError(f"The docstring of {method.__name__} must have a line '{name}: ...'.")
    return " ".join(match[1].split()).removesuffix(".")


def row(method: type) -> str:
    """Return a method's row of the table."""
    parameters = [p for name, p in inspect.signature(method).parameters.items() if name != "name"]
    call = ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters)
    rule = inspect.getdoc(method).split("\n\n")[0].replace("\n", " ").replace("|", r"\|")
    needs_parameters = method.needs_half_batches or method.has_jacobian_state
    features = "" if issubclass(method, (mtl.balancing.Scalarizer, Wrapper)) or needs_parameters else "yes"
    cells = f"`{method.__name__}({call})`", rule, section(method, "Needs"), section(method, "Cost"), features
    return f"| {' | '.join(cells)} | {section(method, 'Reference')} |"


def table() -> str:
    """Return the tables of all methods."""
    head = "| method and defaults | rule | needs | cost | by features | reference |\n|---|---|---|---|---|---|"
    return "\n\n".join(
        f"### {title}\n\n{head}\n" + "\n".join(row(method) for method in methods(kind)) for title, kind in KINDS.items()
    )


def page() -> str:
    """Return the page with tables that match the code."""
    before, rest = PAGE.read_text().split("<!-- methods -->\n")
    _, after = rest.split("<!-- end of methods -->")
    return f"{before}<!-- methods -->\n\n{table()}\n\n<!-- end of methods -->{after}"


if __name__ == "__main__":
    PAGE.write_text(page())
