"""The layers of the package: imports go strictly downward, and siblings never import each other."""

import ast
from pathlib import Path

import pytest

import tf_mtl

ROOT = Path(tf_mtl.__file__).parent
LAYERS = [
    {"_assertions", "_bio", "_files", "_names", "_optimizers", "_pooling", "_shapes", "_version", "layers"},
    {
        "trunks",
        "encoders",
        "balancing",
        "data",
        "losses",
        "metrics",
        "distribute",
        "replicas",
        "division",
        "stream",
        "snapshots",
        "text",
    },
    {"partition", "unlabelled", "labels", "tasks", "jacobian", "workarounds"},
    {"checks", "layerwise", "objectives", "sharing"},
    {"batch_losses"},
    {"lookahead"},
    {"fitting", "gradients"},
    {"model"},
    {"builder", "report"},
    {"callbacks", "distill", "export"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def part(module):
    return module.split(".")[1]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            below = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "tf_mtl" else []
            yield from below or [node.module]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downward(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for module in imports(path):
        if module.startswith("tf_mtl.") and part(module) != own:
            assert LEVEL[part(module)] < LEVEL[own], f"{own} must not import {module}"
