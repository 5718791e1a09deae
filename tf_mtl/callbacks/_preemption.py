"""Detect the signal that announces the end of a process, as when a machine is preempted."""

import signal
import sys
import threading
from collections.abc import Callable
from typing import Any


class Preemption:
    """Delays SIGTERM while training runs; at other times the signal has its earlier effect.

    Args:
        running: Whether training runs.

    Attributes:
        noticed: Whether the signal has arrived.
    """

    def __init__(self, running: Callable[[], bool]):
        self.noticed = False
        self._running = running
        self._earlier_handler: Any = None

    def watch(self) -> None:
        """Start to catch the signal, which is only possible in the main thread."""
        if self._earlier_handler is None and threading.current_thread() is threading.main_thread():
            self._earlier_handler = signal.signal(signal.SIGTERM, self._notice)

    def unwatch(self) -> None:
        """Restore the signal's earlier handler."""
        if self._earlier_handler is not None:
            signal.signal(signal.SIGTERM, self._earlier_handler)
            self._earlier_handler = None

    def exit(self) -> None:
        """Send the signal again, to its earlier handler."""
        self.noticed = False
        by_default = self._earlier_handler is signal.SIG_DFL
        self.unwatch()
        signal.raise_signal(signal.SIGTERM)
        if by_default:  # the first process of a container ignores signals that it does not handle
            sys.exit(128 + signal.SIGTERM)

    def _notice(self, *_):
        self.noticed = True
        if not self._running():
            self.exit()
