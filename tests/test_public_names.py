"""Public names are declared, importable and typed; all others start with an underscore."""

import importlib
import inspect
import pkgutil
import types
from pathlib import Path

import pytest

import tf_mtl

ROOT = Path(tf_mtl.__file__).parent


def is_public(module):
    return not any(part.startswith("_") for part in module.split("."))


MODULES = ["tf_mtl", *(module.name for module in pkgutil.walk_packages(tf_mtl.__path__, "tf_mtl."))]
PACKAGES = [name for name in MODULES if is_public(name)]


def declared(package):
    """The names in a package's `__all__`, with their objects."""
    module = importlib.import_module(package)
    return {name: getattr(module, name) for name in module.__all__}


def public_callables():
    """The public functions, constructors, methods and properties, with their full names."""
    for package in PACKAGES:
        for name, value in declared(package).items():
            if inspect.isclass(value):
                yield from class_callables(value)
            elif callable(value):
                yield f"{package}.{name}", value


def class_callables(cls):
    """The callables that a class and its bases define within the package, without those of Keras."""
    for base in cls.__mro__:
        for name, value in vars(base).items():
            function = function_of(value)
            ours = inspect.isfunction(function) and (function.__module__ or "").startswith("tf_mtl")
            if ours and (name in ("__init__", "__call__") or not name.startswith("_")):
                yield f"{base.__module__}.{base.__qualname__}.{name}", function


def function_of(value):
    """The function of a method, a property or a wrapper."""
    if isinstance(value, classmethod | staticmethod):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    return inspect.unwrap(value) if callable(value) else value


CALLABLES = dict(public_callables())


def missing_annotations(function):
    """The parameters of a function without an annotation, and "return" if that annotation is missing."""
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    missing = [p.name for p in parameters if p.annotation is p.empty]
    needs_return = function.__name__ != "__init__"
    return missing + (["return"] if needs_return and signature.return_annotation is signature.empty else [])


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_those_of_all(package):
    module = importlib.import_module(package)
    assert len(set(module.__all__)) == len(module.__all__)
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert not missing, f"{package}.__all__ names {missing}, which the package does not have"
    undeclared = [name for name in vars(module) if not name.startswith("_") and name not in module.__all__]
    assert not undeclared, f"{package} has {undeclared}: declare them in __all__, or let their names start with _"


@pytest.mark.parametrize("package", PACKAGES)
def test_public_modules_are_packages(package):
    """A module within a public package, or beside it, is private."""
    assert hasattr(importlib.import_module(package), "__path__"), f"{package} is a module: let its name start with _"


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_hidden_by_another_object(module):
    """`import tf_mtl.a.b` and `tf_mtl.a.b` give the same module."""
    parent, _, name = module.rpartition(".")
    imported = importlib.import_module(module)
    if parent:
        value = getattr(importlib.import_module(parent), name)
        assert isinstance(value, types.ModuleType), (
            f"{module} is hidden by {value!r}: let the module's name start with _"
        )
        assert value is imported


def test_every_file_is_a_module_of_the_package():
    """These tests walk through every file, because each folder has an `__init__.py`."""
    files = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts) for path in ROOT.rglob("*.py")}
    assert {name.removesuffix(".__init__") for name in files} == set(MODULES)


@pytest.mark.parametrize("name", CALLABLES)
def test_arguments_and_results_are_annotated(name):
    assert not missing_annotations(CALLABLES[name]), (
        f"{name} lacks annotations of {missing_annotations(CALLABLES[name])}"
    )
