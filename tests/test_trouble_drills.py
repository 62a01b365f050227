"""Drills that need no dead server: a disk that fills, a second poller, a message nobody answers, a flapping store."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import requests

from demo.children import wait_until
from demo.qdrant import QdrantSim
from demo.stack import Script
from demo.telegram import ALICE
from tests.drill import (
    IN_TIME,
    SLACK,
    Drill,
    MakeHouse,
    Note,
    alter,
    as_sent,
    await_told,
    run,
    serves,
    start,
    stays_quiet,
    told,
    watched_house,
)
from tests.house import House

SOON = IN_TIME + SLACK


def test_a_filling_disk_is_a_gentle_word_and_a_full_one_a_loud_one(make_house: MakeHouse, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    house = watched_house(make_house, DISK_PATHS=f"/proc {disk}")
    alter(house.healthwatch, "lib.incidents.GROUP_SECONDS=3")
    with_disk(house.healthwatch, disk)
    start(house)
    filled = Path(f"/proc/{house.healthwatch.pid}/root{disk}/filled")  # the disk as the watch sees it
    for share, word in ((85, "The disk fills up"), (92, "Almost no room is left on the disk")):
        filled.write_bytes(bytes(MEGABYTE * 4 * share // 100))
        text = as_sent(await_told(house, 2 if share == 85 else 3, SOON))
        assert f"{word}: {disk} ({share} %)" in text
        stays_quiet(house, seconds=3)  # later than that it is an incident of its own
    filled.unlink()
    await_told(house, 5, 30)
    assert sorted(as_sent(one).split(" since")[0] for one in told(house)[3:]) == 2 * ["Disk space: is enough again"]
    serves(house)
    assert len(told(house)) == 6


MEGABYTE = 1 << 20


def with_disk(script: Script, folder: Path) -> None:
    """Have it start where a disk of 4 MB is mounted in this folder; only it sees that."""
    flags = "-m" if os.geteuid() == 0 else "-Urm"
    mount = 'mount -t tmpfs -o size=4m none "$0" && exec "$@"'
    script.command = ["unshare", flags, "sh", "-c", mount, str(folder), *map(str, script.command)]


def test_another_poller_and_a_message_that_waits_too_long_are_told(make_house: MakeHouse, note: Note) -> None:
    conflict, late = watched_house(make_house), watched_house(make_house)
    alter(conflict.bot, "POLL_SECONDS=1")
    alter(conflict.healthwatch, "lib.lookout.UNPOLLED_SECONDS=10")  # really 90, which are three long polls
    start(conflict, late)
    late.claude.first_delay = 25
    late.telegram.say(ALICE, "hello?")
    late.await_requests(2)
    rival = Rival(conflict)
    run(
        note,
        Drill("another poller", conflict, rival.start, rival.stop, ("Another program takes",), seconds=10 + IN_TIME),
        Drill(
            "message waits too long",
            late,
            lambda: late.query("UPDATE inbox SET received_at = now() - interval '11 minutes' WHERE state = 'waiting'"),
            int,
            ("Answers take more than ten minutes",),
            ("in time again since",),
            answers=1,
        ),
    )
    late.claude.first_delay = 0
    serves(conflict, late)
    assert [len(told(house)) for house in (conflict, late)] == [4, 5]


class Rival:
    """Another program that polls with the same token, again and again."""

    def __init__(self, house: House) -> None:
        self._telegram, self._ended = house.telegram, threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(10)

    def _poll(self) -> None:
        url = f"{self._telegram.url}/bot{self._telegram.token}/getUpdates"
        with requests.Session() as session:
            session.trust_env = False
            while not self._ended.wait(0.1):
                session.post(url, data={"timeout": 2}, timeout=10)


class Flapping(QdrantSim):
    """Well for so many checks and not well for as many, three times over."""

    def __init__(self, period: int) -> None:
        super().__init__("b" * 40)
        self.begun, self.asked, self.last = False, 0, 6 * period
        self.is_well = lambda: not self.begun or self._count() // period % 2 == 1
        self.start()

    def _count(self) -> int:
        """The number of this check; all after the last are well, as the last."""
        self.asked += 1
        return min(self.asked, self.last) - 1


def test_a_store_that_comes_and_goes_is_told_once_or_not_at_all(make_house: MakeHouse) -> None:
    """With a period of three checks it is; with one of two it never fails three times in a row."""
    sims = [Flapping(2), Flapping(3)]
    twice, thrice = houses = [watched_house(make_house, QDRANT_URL=sim.url, QDRANT_API_KEY=sim.api_key) for sim in sims]
    alter(thrice.healthwatch, "lib.incidents.MOST_EDITS_PER_MINUTE=6")  # the last edit would have to wait for a minute
    start(*houses)
    for sim in sims:
        sim.begun = True
    assert wait_until(lambda: all(sim.asked > sim.last + 3 for sim in sims), 90)
    serves(*houses)
    assert [len(told(house)) for house in houses] == [2, 4]
    bad, good = told(thrice)[1:3]
    assert "Qdrant does not answer" in as_sent(bad)
    assert "Qdrant: works again since" in as_sent(good)
    assert wait_until(lambda: "3 times" in good.text, 15)
    assert twice.healthwatch.events().count("part_down") == 0
    for house, sim in zip(houses, sims, strict=True):
        house.stop()
        sim.stop()
