"""Examples in docstrings run and print what they show; every public class and function has a docstring."""

import doctest
import importlib
import inspect
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

MODULES = ["tf_mtl", *(module.name for module in pkgutil.walk_packages(mtl.__path__, "tf_mtl."))]
GLOBALS = {"np": np, "keras": keras, "tf": tf, "mtl": mtl}


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    tests = doctest.DocTestFinder(exclude_empty=True).find(module, globs=dict(GLOBALS))
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in tests:
        runner.run(test)
    assert runner.failures == 0


def public():
    namespaces = [
        mtl,
        mtl.balancing,
        mtl.callbacks,
        mtl.data,
        mtl.distribute,
        mtl.encoders,
        mtl.export,
        mtl.losses,
        mtl.metrics,
        mtl.report,
        mtl.tasks,
        mtl.text,
        mtl.trunks,
    ]
    for namespace in namespaces:
        for name, value in vars(namespace).items():
            ours = getattr(value, "__module__", "").startswith("tf_mtl")
            if not name.startswith("_") and ours and (inspect.isclass(value) or inspect.isfunction(value)):
                yield f"{namespace.__name__}.{name}", value


PUBLIC = dict(public())


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_have_a_docstring_and_type_hints(name):
    value = PUBLIC[name]
    assert inspect.getdoc(value), name
    if inspect.isfunction(value):
        signature = inspect.signature(value)
        assert signature.return_annotation is not signature.empty
        assert all(p.annotation is not p.empty for p in signature.parameters.values())
