"""The layers of the package, as docs/architecture.md lists them: imports go strictly downward."""

import ast
import re
from pathlib import Path

import pytest

import tf_mtl

ROOT = Path(tf_mtl.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")
TABLE = (ROOT.parent / "docs" / "architecture.md").read_text()
LEVEL = {
    name.rstrip("/"): int(level)
    for level, names in re.findall(r"^\| (\d+) \| (.*?) \|", TABLE, flags=re.M)
    for name in re.findall(r"`(\w+/?)`", names)
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            submodules = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "tf_mtl" else []
            yield from submodules or [node.module]


def test_the_table_lists_every_part():
    parts = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in FILES}
    assert set(LEVEL) == parts


def test_every_folder_is_a_package():
    assert all((path.parent / "__init__.py").exists() for path in FILES)  # the wheel contains only packages


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downward(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for module in imports(path):
        if module.startswith("tf_mtl."):
            part = module.split(".")[1]
            assert part == own or LEVEL[part] < LEVEL[own], f"{own} must not import {module}"
