"""The stop flag: SIGTERM and SIGINT ask the script to end, and every wait in it can be cut short.

A handler only sets the flag. Inside `interruptible()` it may also raise Stopped, because a blocking
network read cannot look at a flag: only put there what may be done again.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """The script was asked to stop. Not an Exception, so that no `except Exception` in a library swallows it."""


class TookTooLong(BaseException):
    """What was done inside `interruptible(at_most=...)` did not end in time."""


class Cut(BaseException):
    """What was done inside `interruptible()` is no longer wanted: another thread has called cut()."""


class Stop:
    """Create one in the main thread; `if stop:` tells whether the script was asked to end."""

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._within: float | None = None
        self._deadline: float | None = None
        self._cut = False
        self._pipe, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGALRM, self._on_alarm)

    def __bool__(self) -> bool:
        return self._asked_at is not None

    def wait(self, seconds: float) -> bool:
        """Sleep; True at once when the script is asked to stop."""
        # Not threading.Event: its wait() can deadlock with a set() from a signal handler.
        if not self:
            select.select([self._pipe], [], [], max(0.0, seconds))
        return bool(self)

    @contextmanager
    def interruptible(self, within: float = 0.0, at_most: float | None = None) -> Iterator[None]:
        """Raise Stopped inside this block, `within` seconds after the stop was asked for, be it now or earlier;
        TookTooLong once the block has lasted `at_most` seconds, whatever it waits for, and Cut after cut()."""
        self._cut, self._within = False, within
        self._deadline = None if at_most is None else time.monotonic() + at_most
        try:
            self._arm()
            yield
        finally:
            self._within = None
            signal.setitimer(signal.ITIMER_REAL, 0)

    def cut(self) -> None:
        """From another thread: raise Cut in the main thread, if it is inside `interruptible()` now."""
        self._cut = True
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked_at is None:  # a second signal changes nothing
            self._asked_at = time.monotonic()
            os.write(self._wake, b"x")
            self._arm()

    def _arm(self) -> None:
        """Set the alarm for whichever comes first. A timer also for what is due: then there is one way out."""
        if self._within is None:
            return
        due = [] if self._asked_at is None else [self._asked_at + self._within]
        due += [] if self._deadline is None else [self._deadline]
        if due:
            signal.setitimer(signal.ITIMER_REAL, max(min(due) - time.monotonic(), 0.001))

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        if self._within is None:
            return
        if self._asked_at is not None and time.monotonic() >= self._asked_at + self._within - 0.001:
            raise Stopped
        if self._deadline is not None and time.monotonic() >= self._deadline - 0.001:
            raise TookTooLong
        if self._cut:
            raise Cut
        self._arm()


class Pauses:
    """Growing pauses between tries of something that is away: first, double, double, up to the longest (seconds)."""

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest = first, longest
        self._next = first

    def next(self) -> float:
        pause, self._next = self._next, min(self._next * 2, self._longest)
        return pause

    def reset(self) -> None:
        self._next = self._first
