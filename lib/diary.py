"""The diary: the one file with what the health watch must remember over a restart, because any store may be dead."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from lib import heartbeat, log
from lib.stop import Stop, Stopped


class Diary:
    """A file of JSON, readable by its owner only. Without it, or without room for it, the watch goes on."""

    def __init__(self, path: str) -> None:
        self._path, self._again_at = Path(path), 0.0

    def take(self, stop: Stop) -> None:
        """Become its only writer: two watches with one memory would tell everything twice. The second waits here until
        the first has gone. Raises Stopped."""
        try:
            folder = os.open(self._path.parent, os.O_RDONLY)
        except OSError as exc:
            log.warning("no_folder", "The folder of HEALTH_FILE cannot be opened: watching without a memory.", exc)
            return
        while not stop:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until the process ends
                return
            except BlockingIOError:
                log.warning("another_watch", "Another healthwatch.py uses the folder of HEALTH_FILE; waiting for it.")
            except OSError as exc:
                log.warning("no_lock", "The folder of HEALTH_FILE cannot be locked; watching all the same.", exc)
                return
            heartbeat.beat()
            stop.wait(5.0)
        raise Stopped

    def read(self) -> Any:
        """What was written last; None when there is nothing. Raises OSError and ValueError."""
        try:
            return json.loads(self._path.read_text())
        except FileNotFoundError:
            return None

    def write(self, content: Any) -> bool:
        """Put this in the place of what stands there: whole or not at all, and on the disk. After a failure the next
        minute's calls do nothing. False: it is not written."""
        if time.monotonic() < self._again_at:
            return False
        new = self._path.with_name(self._path.name + ".new")
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError as exc:
            log.warning("not_kept", "HEALTH_FILE cannot be written: a restart would forget what was told.", exc)
            self._again_at = time.monotonic() + 60.0
            return False
        return True
