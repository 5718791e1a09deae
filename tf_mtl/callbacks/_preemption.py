"""Notice the signal by which a machine is taken away."""

import signal
import threading
from collections.abc import Callable


class Preemption:
    """Notices SIGTERM while training runs; at other times the signal does what it did before.

    Args:
        running: Whether training runs.
    """

    def __init__(self, running: Callable[[], bool]):
        self.noticed = False
        self._running = running
        self._before = None

    def watch(self) -> None:
        """Begin to notice the signal, which only the main thread can."""
        if self._before is None and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._notice)

    def unwatch(self) -> None:
        """Give the signal its earlier meaning."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def go(self) -> None:
        """Do what the signal asked for."""
        self.noticed = False
        self.unwatch()
        signal.raise_signal(signal.SIGTERM)

    def _notice(self, *_):
        self.noticed = True
        if not self._running():
            self.go()
