"""The contents and the requirements of a wheel."""

import ast
import configparser
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPTIONAL = {"tensorflow_text"}  # needed by models that use its ops; keras-hub requires it where it exists


def distribution_names(requirements):
    """The normalised names of the distributions in a list of requirements."""
    lines = [line.strip() for line in requirements.splitlines() if line.strip() and not line.startswith("%")]
    return {line.split(">")[0].split("=")[0].split("[")[0].replace("-", "_").lower() for line in lines}


def imported_packages():
    """The top-level packages that the modules of the package import."""
    for path in (ROOT / "tf_mtl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            yield from (module.split(".")[0] for module in modules)


def test_everything_imported_is_required():
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    required = distribution_names(config["options"]["install_requires"]).union(
        *(distribution_names(extras[extra]) for extra in ("litert", "onnx", "recipes"))
    )
    third_party = set(imported_packages()) - set(sys.stdlib_module_names) - {"tf_mtl"} - OPTIONAL
    distributions = packages_distributions()
    missing = {
        package
        for package in third_party
        if not {name.replace("-", "_").lower() for name in distributions.get(package, [package])} & required
    }
    assert not missing, f"setup.cfg does not require {missing}"


@pytest.mark.slow
def test_the_wheel_contains_only_the_package(tmp_path):
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    for name in filter(None, files):
        target = tmp_path / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path]
    subprocess.run([*command, tmp_path / "source"], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    contents = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert contents == {name for name in files if name.startswith("tf_mtl/")}
