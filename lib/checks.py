"""Checks that cannot hold each other up: each runs in a thread of its own, and has so long for its answer."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lib import log
from lib.incidents import Finding
from lib.stop import Stopped


@dataclass
class _Run:
    thread: threading.Thread
    overdue_at: float  # time.monotonic()
    parts: tuple[str, ...]
    findings: list[Finding] = field(default_factory=list)
    overdue: bool = False
    ended_at: float = math.inf  # time.monotonic()

    @property
    def silence(self) -> list[Finding]:
        return [Finding(part, "no_answer") for part in self.parts]


class Checks:
    """Starts checks and collects what they found. For use by one thread."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._missed: list[Finding] = []

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come, or to be given up."""
        return bool(self._missed) or any(not run.overdue for run in self._runs.values())

    def start(
        self, name: str, work: Callable[[], Iterable[Finding]], seconds: float, parts: tuple[str, ...] = ()
    ) -> None:
        """Begin a check. When nothing has come of it after so many seconds, each of `parts` gives no answer.

        While one of this name runs no second is begun: threads must not pile up. If it is overdue, each of its parts
        gives no answer again, at once.
        """
        before = self._runs.get(name)
        if before is not None:
            if before.overdue:
                self._missed += before.silence
            return

        def body() -> None:
            # A signal must cut short what the main thread waits for, and nothing here.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGALRM})
            try:
                run.findings = list(work())
            except Stopped:
                pass
            except Exception as exc:  # our bug, and no sign that the part is ill: but nobody sees any more how it is
                text = "A check failed by a mistake of ours; going on."
                log.error("check_failed", text, exc, private=True, check=name)
                run.findings = [Finding(part, "check_failed") for part in parts]
            finally:
                run.ended_at = time.monotonic()

        thread = threading.Thread(target=body, name=name, daemon=True)
        run = _Run(thread, time.monotonic() + seconds, parts)
        thread.start()  # which fails when the machine has no room for one more
        self._runs[name] = run

    def collect(self) -> list[Finding]:
        """What has been found since the last time. Too late an answer is none."""
        found, self._missed = self._missed, []
        for name, run in list(self._runs.items()):
            if not run.thread.is_alive():
                del self._runs[name]
                found += [] if run.overdue else run.silence if run.ended_at > run.overdue_at else run.findings
            elif not run.overdue and time.monotonic() >= run.overdue_at:
                run.overdue = True
                found += run.silence
        return found

    def join(self, seconds: float) -> None:
        """Wait until all have ended, so long at most."""
        end = time.monotonic() + seconds
        for run in self._runs.values():
            run.thread.join(max(end - time.monotonic(), 0.0))
