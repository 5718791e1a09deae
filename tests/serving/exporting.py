"""A process that exports under difficult conditions: `exporting.py NAME FOLDER`, where NAME is a function below.

It prints the result of each attempt as a line of JSON.
"""

import json
import os
import resource
import signal
import sys
import tempfile

import serving_models

import tf_mtl as mtl

ATTEMPTS = {
    "variables": (100, {}),
    "saved_model.pb": (50_000, {}),
    "warm-up": (250_000, {"warmup": [[0.5, 1.0, -1.0, 2.0]] * 20_000}),
    "model card": (250_000, {"data": "much " * 80_000}),
}


def disk_full(folder):
    """For each file in `ATTEMPTS`, export with a limit on file sizes that the file exceeds."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    model, _ = serving_models.vectors()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name, (limit, options) in ATTEMPTS.items():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        attempt(name, model, folder, **options)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def no_permission(folder):
    """Export to a folder without write permission; as the user "nobody" if root runs the tests."""
    model, _ = serving_models.vectors()
    mtl.export.saved_model(model, tempfile.mkdtemp(), check=False)  # so that all imports are done
    if os.geteuid() == 0:
        os.seteuid(65534)
    attempt("next version", model, folder)
    attempt("version 7", model, folder, version=7)
    attempt("new folder", model, os.path.join(folder, "new"))


def forever(folder):
    """Export again and again until killed, while other processes do the same."""
    model, _ = serving_models.vectors()
    while True:
        attempt("export", model, folder)


def attempt(name, model, folder, **options):
    try:
        mtl.export.saved_model(model, folder, check=False, **options)
        error = None
    except Exception as raised:
        error = type(raised).__name__
    print(json.dumps({"name": name, "error": error}), flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
