"""Qdrant killed and frozen as a process, and the memory made anew by command while the house goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from zoneinfo import ZoneInfo

from demo.servers import Qdrant
from demo.stack import ROOT
from lib import console, unindexed
from lib.db import Database
from lib.memory import Memory
from lib.recollection import REST_SECONDS, Recollection
from lib.secret import Secret
from tests.house import House
from tests.test_memory import ALICE, CHATTER, said, say, waiting


def test_a_killed_or_frozen_qdrant_costs_seconds_once_and_no_memory(database: Database, own_qdrant: Qdrant) -> None:
    now = [0.0]
    memory = Memory(own_qdrant.url, Secret(own_qdrant.password))
    recollection = Recollection(database, memory, ZoneInfo("UTC"), clock=lambda: now[0])
    say(database, *CHATTER, said(1, "My boat is called Anna"))
    assert recollection.catch_up() == 21

    own_qdrant.freeze()
    began = time.monotonic()
    assert recollection.remember(ALICE, "boat").ids == ()
    assert time.monotonic() - began < 5
    began = time.monotonic()
    assert recollection.remember(ALICE, "boat").ids == ()  # left alone for now
    assert time.monotonic() - began < 0.5
    own_qdrant.thaw()

    own_qdrant.kill()
    say(database, said(2, "My boat was painted blue"))
    now[0] += REST_SECONDS
    assert recollection.catch_up() == 0
    assert waiting(database) == 1
    own_qdrant.start()  # with what it had
    now[0] += REST_SECONDS
    assert recollection.catch_up() == 1
    assert set(recollection.remember(ALICE, "boat").ids) == {1, 2}


def rebuild(house: House, **settings: str) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / "memory.py"), "rebuild"]
    done = subprocess.run(command, env=house.env | settings, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_one_command_makes_the_memory_anew(make_house: Callable[..., House], own_qdrant: Qdrant) -> None:
    house = make_house()
    database = Database(Secret(house.database_url), "test")
    say(database, *CHATTER, said(1, "My boat is called Anna"))
    memory = Memory(own_qdrant.url, Secret(own_qdrant.password))
    memory.make()
    memory.keep([said(999, "A boat that is in no history")])
    with database.transaction() as cur:
        unindexed.done(cur, unindexed.next(cur, 15))  # as if they had been written long ago
    settings = {"QDRANT_URL": own_qdrant.url, "QDRANT_API_KEY": own_qdrant.password}
    code, printed = rebuild(house, **settings)
    assert (code, console.REBUILT.format(total=21) in printed) == (0, True)
    assert memory.recall(ALICE, "boat") == [1]
    assert memory.count() == 21

    own_qdrant.kill()
    code, printed = rebuild(house, **settings)
    assert (code, console.REBUILT_LATER.format(left=21) in printed) == (1, True)
    assert waiting(database) == 21
    assert rebuild(house, QDRANT_URL="") == (1, console.NO_QDRANT + "\n")
    database.close()
