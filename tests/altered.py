"""Runs one of the scripts with figures changed that would make a test long, and with a clock that can be set:

    python tests/altered.py healthwatch POLL_SECONDS=8 lib.incidents.GROUP_SECONDS=5 clock=/tmp/offset

A figure without a module is the script's own. The file of `clock` holds how many seconds the clock is ahead.
"""

from __future__ import annotations

import datetime
import importlib
import sys
import time
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)


def set_clock(path: Path) -> None:
    """From now on time.time() and datetime.now() go by what stands in this file."""
    real_time, real_datetime = time.time, datetime.datetime

    def ahead() -> float:
        return float(path.read_text()) if path.exists() else 0.0

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return real_datetime.now(tz) + datetime.timedelta(seconds=ahead())

    time.time = lambda: real_time() + ahead()
    datetime.datetime = Shifted  # type: ignore[misc]


def main() -> int:
    name, *changes = sys.argv[1:]
    given = dict(change.split("=", 1) for change in changes)
    if clock := given.pop("clock", ""):
        set_clock(Path(clock))  # before anything else takes the old one
    script: Any = importlib.import_module(name)
    for path, value in given.items():
        module, _, figure = path.rpartition(".")
        owner: Any = importlib.import_module(module) if module else script
        assert isinstance(getattr(owner, figure), float | int), f"there is no figure {path}"
        setattr(owner, figure, type(getattr(owner, figure))(float(value)))
    return int(script.main())


if __name__ == "__main__":
    sys.exit(main())
