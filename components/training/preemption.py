"""SIGTERM: finish the step, save, leave with 143. Spot machines are given a few seconds' notice."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Termination:
    """Whether this process was asked to end."""

    asked = False

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Note SIGTERM for a while instead of dying of it; only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(_signum: int, _frame: FrameType | None) -> None:
            self.asked = True

        before = signal.signal(signal.SIGTERM, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
