"""Start scripts as the workers of a cluster on this machine."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def start(script, *arguments, **environment):
    """Start a script of the tests."""
    paths = os.pathsep.join(str(Path(__file__).parent / folder) for folder in (".", "conformance"))
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": paths, **environment}
    command = [sys.executable, str(Path(__file__).parent / script), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def start_workers(count, script, *arguments):
    """Start a script as each worker of a cluster."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for unbound in sockets:
            unbound.bind(("localhost", 0))
        hosts = [f"localhost:{bound.getsockname()[1]}" for bound in sockets]
    configs = [{"cluster": {"worker": hosts}, "task": {"type": "worker", "index": i}} for i in range(count)]
    return [start(script, *arguments, TF_CONFIG=json.dumps(config)) for config in configs]


def finish(processes, seconds=600):
    """Wait for processes, which must succeed, and return their outputs."""
    try:
        outputs_and_errors = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, outputs_and_errors, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [output for output, _ in outputs_and_errors]
