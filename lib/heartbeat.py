"""The heartbeat: a file whose time says until when the working loop promised to show up again.

Docker's health check compares that time with now. No store is asked, so an outage of one makes no script unhealthy.
And because Docker does not start a hanging container again, a loop that breaks its promise by a minute ends its own
process: nothing is lost by that (docs/running.md says why), and a new one begins.
"""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from pathlib import Path

ROUND_SECONDS = 90.0  # any one step of a loop: a long poll, some stores with their deadlines, a message to send
LATE_SECONDS = 60.0  # how long a promise may be broken before the process ends itself

_file: Path | None = None
_promised = 0.0  # time.monotonic()


def keep(path: str) -> None:
    """Begin to keep the promise in this file. Without a path beat() only notes it, for lib/pulse.py, and nobody is
    ended."""
    global _file
    _file = Path(path) if path else None
    beat()


def beat(more: float = 0.0) -> None:
    """The loop is alive, and will be again within ROUND_SECONDS and `more`: what it means to wait or work longer."""
    if threading.current_thread() is not threading.main_thread():
        return  # what another thread does is no sign of life of the loop
    global _promised
    _promised = time.monotonic() + ROUND_SECONDS + more
    if _file is None:
        return
    promised = time.time() + ROUND_SECONDS + more
    _file.touch()
    os.utime(_file, (promised, promised))
    # A thread of the interpreter's own, which also gets through when Python code or a library hangs.
    faulthandler.dump_traceback_later(ROUND_SECONDS + more + LATE_SECONDS, exit=True)


def promised() -> float:
    """In how many seconds the loop means to be back; below 0: it should have been."""
    return _promised - time.monotonic()
