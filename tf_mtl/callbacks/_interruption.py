"""Delay the signals that end a process until the end of a training step."""

import signal
import sys
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Delays SIGTERM, as when a machine is preempted, and the first SIGINT, Ctrl-C; a second one acts immediately.

    Attributes:
        noticed: Whether a signal has arrived.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._earlier_handlers: dict[int, Any] = {}

    @property
    def noticed(self) -> bool:
        return self._received is not None

    def watch(self) -> None:
        """Start to catch the signals that are not ignored, which is only possible in the main thread."""
        if threading.current_thread() is threading.main_thread():
            caught = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._earlier_handlers = {number: signal.signal(number, self._notice) for number in caught}

    def unwatch(self) -> None:
        """Restore the signals' earlier handlers."""
        for number, handler in self._earlier_handlers.items():
            signal.signal(number, handler)
        self._earlier_handlers = {}

    def act(self) -> None:
        """Send the signal again, to its earlier handler."""
        number, self._received = self._received or signal.SIGTERM, None
        by_default = self._earlier_handlers.get(number) is signal.SIG_DFL
        self.unwatch()
        signal.raise_signal(number)
        if by_default:  # the first process of a container ignores signals that it does not handle
            sys.exit(128 + number)

    def _notice(self, number: int, frame: FrameType | None) -> None:
        again, self._received = self._received == number == signal.SIGINT, number
        if again:
            self.act()
