"""Processes that are watched, signalled, and given a limited time."""

import os
import subprocess
import threading
import time

import processes

SECONDS = 240.0  # any process here needs a few seconds on an idle machine


_running: "set[Job]" = set()


def end_all() -> None:
    """Kill what still runs, as after an error."""
    for job in list(_running):
        job.end()


class Unfinished(AssertionError):
    """A process did not end in bounded time."""


class Job:
    """A script that was started; its outputs are read while it runs.

    Attributes:
        out: What it has written to standard output.
        errors: What it has written to standard error, complete after `finish`.
    """

    def __init__(self, script, *arguments):
        self._script = processes.start(f"faults/{script}", *arguments)
        _running.add(self)
        self.out, self.errors = [], ""
        self._changed = threading.Condition()
        self._ended = False
        self._threads = [threading.Thread(target=target) for target in (self._read_output, self._read_errors)]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self):
        return self._script.pid

    @property
    def alive(self):
        return self._script.returncode is None

    def wait_for(self, start, seconds=SECONDS):
        """Wait until a line of the output starts with some text, or the process ends; return whether it was seen."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not (seen := any(line.startswith(start) for line in self.out)) and not self._ended:
                if not self._changed.wait(deadline - time.monotonic()):
                    self._end_and_raise(seconds)
            return seen

    def signal(self, number):
        """Send a signal, unless the process has ended; return whether it was sent."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def finish(self, seconds=SECONDS):
        """Wait for the end, and return the exit status."""
        self._script.wait(seconds)
        if self.alive:
            self._end_and_raise(seconds)
        for thread in self._threads:
            thread.join()
        _running.discard(self)
        return self._script.returncode

    def end(self):
        """Kill the process if it still runs."""
        self._script.kill()
        self._script.wait()
        _running.discard(self)

    def _end_and_raise(self, seconds):
        subprocess.run(["ps", "-o", "pid,stat,wchan,etime,cmd", "-p", str(self.pid)], check=False)
        self.end()
        raise Unfinished(f"Process {self.pid} did not end within {seconds:.0f} s. Output: {self.out[-3:]}")

    def _read_output(self):
        for line in self._script.stdout:
            with self._changed:
                self.out.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _read_errors(self):
        self.errors = self._script.stderr.read()
