"""Run scripts in processes of their own, one by one or as the workers of a cluster on this machine.

Processes are forks of one that has imported TensorFlow and not yet used it, which saves some seconds for each.
"""

import json
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

TESTS = Path(__file__).parent
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tensorflow", "keras", "tf_mtl"])


class Script:
    """A running script, with the part of the interface of `subprocess.Popen` that tests use."""

    def __init__(self, script, arguments, environment, folder):
        pipes = [_CONTEXT.Pipe(duplex=False) for _ in range(2)]
        ends = [writer for _, writer in pipes]
        command = [str(TESTS / script), *map(str, arguments)]
        self._process = _CONTEXT.Process(target=_run, args=(command, environment, folder, *ends))
        self._process.start()
        for end in ends:
            end.close()
        self._readers = [reader for reader, _ in pipes]
        self.stdout, self.stderr = (os.fdopen(reader.fileno(), closefd=False) for reader in self._readers)
        self.kill, self.terminate, self.wait = self._process.kill, self._process.terminate, self._process.join

    @property
    def pid(self):
        return self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def communicate(self, timeout=None):
        """Return what is left of both outputs, when the process has ended."""
        outputs = ["", ""]

        def read(index, stream):
            outputs[index] = stream.read()

        threads = [threading.Thread(target=read, args=pair) for pair in enumerate((self.stdout, self.stderr))]
        for thread in threads:
            thread.start()
        self.wait(timeout)
        expired = self.returncode is None
        if expired:
            self.kill()
        for thread in threads:
            thread.join()
        if expired:
            raise subprocess.TimeoutExpired(self._process.name, timeout)
        return tuple(outputs)


def _run(command, environment, folder, stdout, stderr):
    for stream, pipe in ((1, stdout), (2, stderr)):
        os.dup2(pipe.fileno(), stream)
        pipe.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background inherits that it is ignored
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = command
    sys.path[:0] = [str(Path(command[0]).parent), str(TESTS), str(TESTS / "conformance")]
    runpy.run_path(command[0], run_name="__main__")


def start(script, *arguments, folder=".", **environment):
    """Start a script, given by its path from the folder of the tests.

    Args:
        script: The script.
        *arguments: Its arguments.
        folder: The folder that it runs in.
        **environment: Further environment variables.
    """
    return Script(script, arguments, environment, str(folder))


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
