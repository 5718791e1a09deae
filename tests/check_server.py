"""One process for all export checks of a test run: it imports TensorFlow once and forks for each check.

As a script it reads one line of JSON per check, the arguments of `subprocess.run`, and writes a line with the results.
"""

import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback


class CheckServer:
    """Replaces the module `subprocess` in `tf_mtl.export`: runs the same scripts, with TensorFlow already imported."""

    TimeoutExpired = subprocess.TimeoutExpired

    def __init__(self):
        self._process = None

    def run(self, command, env, cwd, **options):
        if self._process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self._process = subprocess.Popen([sys.executable, "-P", __file__], env=env, **pipes)
        arguments = [str(part) for part in command[command.index("-P") + 1 :]]
        self._process.stdin.write(json.dumps({"arguments": arguments, "cwd": str(cwd)}) + "\n")
        self._process.stdin.flush()
        result = json.loads(self._process.stdout.readline())
        return subprocess.CompletedProcess(command, result["returncode"], stderr=result["stderr"])

    def close(self):
        if self._process is not None:
            self._process.stdin.close()
            self._process.kill()  # does not wait for TensorFlow's clean-up
            self._process.wait()
            self._process.stdout.close()


def run_script(arguments, cwd, errors):
    """Run a script as `python -P` does, in a fork."""
    os.dup2(errors.fileno(), 2)
    os.chdir(cwd)
    sys.argv = arguments
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def serve():
    """Run the requested scripts until the input ends."""
    import tensorflow  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile("w+") as errors:
            child = os.fork()
            if child == 0:
                run_script(request["arguments"], request["cwd"], errors)
            _, status = os.waitpid(child, 0)
            errors.seek(0)
            result = {"returncode": os.waitstatus_to_exitcode(status), "stderr": errors.read()}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    serve()
