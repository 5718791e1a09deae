"""What a driver did, one line for each action, and how often."""

import time
from collections import Counter


class Violation(AssertionError):
    """An invariant does not hold."""


class Journal:
    """Prints the actions of the current episode and counts them.

    Attributes:
        lines: The lines of the current episode.
        counts: How often each kind of thing was done.
    """

    def __init__(self):
        self.lines: list[str] = []
        self.counts: Counter = Counter()
        self._started = time.monotonic()

    def begin(self, title):
        self.lines = []
        self.log(title)

    def log(self, line):
        """Print and keep a line."""
        self.lines.append(line)
        print(f"[{time.monotonic() - self._started:6.0f}s] {line}", flush=True)

    def count(self, kind):
        """Count a thing that was done."""
        self.counts[kind] += 1


def require(condition, message):
    """Raise a `Violation` unless a condition holds."""
    if not condition:
        raise Violation(message)
