"""The pulse: each running script writes a sign of life into PostgreSQL every few seconds, for healthwatch.py.

A thread of its own writes it, so that it also comes while the loop waits for Claude or Telegram, and stops within
seconds when the process is killed or frozen. A loop that hangs does not hide behind it: it carries the loop's promise.
"""

from __future__ import annotations

import signal
import threading
import time

from lib import heartbeat, log, processes
from lib.config import Settings
from lib.db import Cursor, Database, Down

BEAT_SECONDS = 5.0
SEEK_SECONDS = 90.0  # whom we replace may seem to be connected: for a moment, or a minute when its machine has died


class Pulse:
    """The signs of life of one process. start() it when it is ready to work, and end() it."""

    def __init__(self, settings: Settings, service: str) -> None:
        self._service, self._database = service, Database(settings.database_url, f"steward-pulse-{service}")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._polled_at = time.monotonic()
        self._trouble: str | None = None

    def start(self) -> None:
        self._thread.start()

    def polled(self) -> None:
        """A getUpdates was completed."""
        self._polled_at, self._trouble = time.monotonic(), None

    def troubled(self, word: str) -> None:
        """It fails: why, as a word for lib/english.py."""
        self._trouble = word

    def end(self) -> None:
        """The script ends as it should: take its row away. A database that does not answer is not waited for."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(0.5)

    def _run(self) -> None:
        # A signal must cut short what the main thread waits for, and nothing here.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGALRM})
        first_at: float | None = None  # time.monotonic() of the first sign that was written
        replaced = broken = False
        while True:
            try:
                with self._database.statement() as cur:
                    since = time.monotonic() - first_at if first_at is not None else 0.0
                    if not replaced and since < SEEK_SECONDS:
                        # Not one that has died later: nobody has come in its place.
                        replaced = processes.take_place(cur, self._service, max(since - BEAT_SECONDS, 0.0))
                    self._beat(cur)
                first_at, broken = first_at or time.monotonic(), False
            except Down:
                pass  # the loop says so
            except Exception as exc:
                if not broken:
                    log.error("pulse_failed", "The sign of life cannot be written; going on.", exc, private=True)
                broken = True
            if self._ended.wait(BEAT_SECONDS):
                break
        try:
            with self._database.statement() as cur:
                processes.leave(cur, self._database.name)
        except Exception as exc:
            log.warning("pulse_left_behind", "healthwatch may miss this script, which has ended.", exc)

    def _beat(self, cur: Cursor) -> None:
        ago = time.monotonic() - self._polled_at
        processes.beat(
            cur,
            self._database.name,
            self._service,
            promised=heartbeat.promised(),
            polled_ago=ago if self._service == "bot" else None,
            trouble=self._trouble,
        )
