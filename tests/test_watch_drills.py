"""The health watch itself in trouble: killed, frozen, doubled, with a wrong clock, without its file, without Telegram's
goodwill. And troubles that need no dead server: a full Redis, a full disk, a second bot, a message nobody answers."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from demo.children import wait_until
from demo.loopback import Handler, LoopbackServer
from demo.qdrant import QdrantSim
from demo.servers import Stores
from demo.stack import Script
from demo.telegram import ALICE
from lib import sentences
from tests.drill import (
    IN_TIME,
    INTERVAL,
    SILENCE,
    SLACK,
    Drill,
    MakeHouse,
    Note,
    alter,
    as_sent,
    await_told,
    await_well,
    full_redis,
    run,
    serves,
    start,
    stays_quiet,
    told,
    watched_house,
)
from tests.house import House

FULL = "Redis is full"
SOON = IN_TIME + SLACK


def span_of(text: str) -> float:
    """For how many seconds something was away, by a message that it is over."""
    found = re.search(r"for (?:(\d+) min|(\d+) s)", text)
    assert found, text
    return 60.0 * int(found[1]) if found[1] else float(found[2])


# The watch that dies


def test_an_incident_outlives_the_watch_that_told_it(make_house: MakeHouse, stores: Stores) -> None:
    """A second watch waits; the first is killed while something is broken; and then the second, and a third begins."""
    house = watched_house(make_house)
    start(house)
    second = Script("healthwatch", house.env, house.healthwatch.log.parent, 2)
    second.start()
    try:
        house.await_event(second, "another_watch")
        began = time.monotonic()
        with full_redis(stores):
            assert FULL in as_sent(await_told(house, 2, SOON))
            stays_quiet(house, seconds=1)  # until it has written down that Telegram took it
            house.healthwatch.kill()
            house.await_event(second, "started")
            stays_quiet(house, seconds=INTERVAL)
            second.kill()
            house.healthwatch.start()
            house.await_event(house.healthwatch, "started", 2)
            stays_quiet(house)
            lasted = time.monotonic() - began
        over = as_sent(await_told(house, 3, 30))
        assert over.startswith("Redis: works again since")
        assert lasted - SOON <= span_of(over) <= time.monotonic() - began
        serves(house)
        assert len(told(house)) == 4
    finally:
        second.kill()


def test_a_watch_killed_before_telegrams_answer_repeats_itself_with_the_mark(
    make_house: MakeHouse, stores: Stores
) -> None:
    house = watched_house(make_house)
    start(house)

    def kill(kind: str, chat_id: int, text: str) -> None:
        if kind == "message" and FULL in text:
            house.telegram.on_event = None
            house.healthwatch.kill()

    house.telegram.on_event = kill
    with full_redis(stores):
        await_told(house, 2, SOON)
        assert wait_until(lambda: not house.healthwatch.running, 10)
        house.healthwatch.start()
        repeated = as_sent(await_told(house, 3, 30))
        assert repeated.startswith(sentences.REPEAT_MARK)
        assert FULL in repeated
        stays_quiet(house, seconds=INTERVAL)
    assert "works again since" in as_sent(await_told(house, 4, 30))
    serves(house)
    assert len(told(house)) == 5


def test_the_bot_tells_when_the_watch_is_frozen_dead_or_was_never_there(make_house: MakeHouse, note: Note) -> None:
    frozen, killed, never = houses = [watched_house(make_house, watch=watch) for watch in (True, True, False)]
    for house in houses:  # really: a minute, and looked at every ten seconds, between long polls
        alter(house.bot, "WATCH_SECONDS=8", "WATCH_LOOK_SECONDS=1", "POLL_SECONDS=1")
    never.telegram.say(ALICE, "hello")
    never.start()
    start(frozen, killed)
    silent = ("healthwatch.py gives no sign of life",)
    over = ("healthwatch.py watches over me again",)
    # What counts is the last sign of life, one interval ago at most; and the bot looks between its polls.
    run(
        note,
        Drill(
            "watch frozen",
            frozen,
            lambda: frozen.healthwatch.signal(signal.SIGSTOP),
            lambda: frozen.healthwatch.signal(signal.SIGCONT),
            silent,
            over,
            seconds=8 + 2 + IN_TIME,
        ),
        Drill("watch killed", killed, killed.healthwatch.kill, killed.healthwatch.start, silent, over, 8 + 2 + IN_TIME),
    )
    await_told(never, 2, 10)
    assert sum(silent[0] in as_sent(message) for message in told(never)) == 1
    never.healthwatch.start()
    assert over[0] in as_sent(await_told(never, 3, 30))
    for house in houses:
        await_well(house)
    serves(*houses)
    assert [len(told(house)) for house in houses] == [4, 4, 4]
    never.healthwatch.stop()


def test_a_machine_that_stood_still_for_a_while_alarms_nobody(make_house: MakeHouse) -> None:
    """Bot, worker and watch frozen together, as by `docker compose pause`; the bot moves first."""
    house = watched_house(make_house)
    alter(house.bot, "WATCH_SECONDS=8", "WATCH_LOOK_SECONDS=1", "POLL_SECONDS=1")
    start(house)
    house.await_idle()
    for script in reversed(house.scripts):
        script.signal(signal.SIGSTOP)
        stays_quiet(house, seconds=INTERVAL)  # the bot sees the last sign of life
    stays_quiet(house, seconds=SILENCE)
    for script in house.scripts:
        script.signal(signal.SIGCONT)
        stays_quiet(house, seconds=1)
    serves(house)
    assert len(told(house)) == 2


# The clock


def set_ahead(path: Path, seconds: float) -> None:
    """Set the clock of those who look into this file, at once."""
    new = path.with_suffix(".new")
    new.write_text(str(seconds))
    new.replace(path)


def summer_until(at: float) -> str:
    """A time zone an hour ahead of UTC until this moment, and then no more."""
    end = datetime.fromtimestamp(at, UTC) + timedelta(hours=1)
    day = min(end.timetuple().tm_yday, 365)
    return f"WINTER0SUMMER,{(day - 100) % 365},{day - 1}/{end:%H:%M:%S}"


def last_check(house: House) -> float:
    """Seconds since the watch last wrote down how things are."""
    [(seconds,)] = house.query("SELECT extract(epoch FROM clock_timestamp() - max(checked_at)) FROM parts")
    return float(seconds)


def goes_on(house: House) -> bool:
    """Whether a check comes within the next interval or so."""
    began = time.monotonic()
    return wait_until(lambda: last_check(house) < time.monotonic() - began, INTERVAL + SLACK)


def test_a_clock_that_is_set_makes_no_trouble_and_hides_none(
    make_house: MakeHouse, stores: Stores, tmp_path: Path
) -> None:
    """By an hour to and fro, while all is well and while something is broken; and at the end of a real summer time."""
    set_house, autumn = watched_house(make_house), watched_house(make_house)
    clock = tmp_path / "ahead"
    alter(set_house.healthwatch, f"clock={clock}")
    ends_at = time.time() + 35
    autumn.env["TZ"] = summer_until(ends_at)
    start(set_house, autumn)
    for count, ahead in enumerate((3600, 0), 1):
        set_ahead(clock, ahead)
        set_house.await_event(set_house.healthwatch, "clock_set", count)
        assert goes_on(set_house)
    stays_quiet(set_house, autumn)
    with full_redis(stores):
        began = time.monotonic()
        for house in (set_house, autumn):
            assert FULL in as_sent(await_told(house, 2, SOON))
        set_ahead(clock, -3600)
        set_house.await_event(set_house.healthwatch, "clock_set", 3)
        assert goes_on(set_house)
        wait_until(lambda: time.time() > ends_at + 1, 35)
        assert goes_on(autumn)
        set_ahead(clock, 3600)
        set_house.await_event(set_house.healthwatch, "clock_set", 4)
        assert goes_on(set_house)
        lasted = time.monotonic() - began
    for house in (set_house, autumn):
        assert abs(span_of(as_sent(await_told(house, 3, 30))) - lasted) <= SOON
    serves(set_house, autumn)
    assert [len(told(house)) for house in (set_house, autumn)] == [4, 4]


# The file, the owner, and who watches the watch


def test_the_watch_goes_on_without_its_file_and_without_an_owner(make_house: MakeHouse, stores: Stores) -> None:
    cut, rubbish = watched_house(make_house), watched_house(make_house)
    nowhere = watched_house(make_house, HEALTH_FILE="/nowhere/healthwatch.json")
    unwritable = watched_house(make_house, HEALTH_FILE="/proc/healthwatch.json")
    alone = watched_house(make_house, OWNER_ID="")
    Path(cut.env["HEALTH_FILE"]).write_text('{"state": {"parts": {"redis": {"down": true, "si')
    Path(rubbish.env["HEALTH_FILE"]).write_bytes(os.urandom(500))
    houses = (cut, rubbish, nowhere, unwritable, alone)
    start(*houses)
    for house in houses[:2]:
        assert "memory_unreadable" in house.healthwatch.events()
    for house in houses[2:4]:
        assert "not_kept" in house.healthwatch.events()
    with full_redis(stores):
        for house in houses[:4]:
            assert FULL in as_sent(await_told(house, 2, SOON))
        alone.await_event(alone.healthwatch, "part_down")
    for house in houses[:4]:
        assert "works again since" in as_sent(await_told(house, 3, 30))
    alone.await_event(alone.healthwatch, "part_up")
    serves(*houses)
    assert [len(told(house)) for house in houses] == [4, 4, 4, 4, 2]


class _Monitor(Handler):
    def do_GET(self) -> None:
        self.server.simulator.append((time.monotonic(), self.path))  # type: ignore[attr-defined]
        self.answer(200, "OK")


@pytest.fixture
def monitor() -> Iterator[LoopbackServer]:
    """An outside monitor; its simulator is the list of pings, each with its time."""
    server = LoopbackServer(_Monitor, [])
    server.start()
    yield server
    server.stop()


def test_pings_end_while_the_owner_cannot_be_told_and_the_message_comes_in_the_end(
    make_house: MakeHouse, stores: Stores, monitor: LoopbackServer
) -> None:
    """The owner has blocked the bot. Really the pings come every minute, end after five, and it tries every ten."""
    pings: list[tuple[float, str]] = monitor.simulator
    house = watched_house(make_house, HEALTH_PING_URL=f"{monitor.url}/ping/0123456789")
    alter(house.healthwatch, "PING_SECONDS=1", "UNTOLD_SECONDS=4", "NOT_TAKEN_SECONDS=3")
    start(house)
    assert wait_until(lambda: len(pings) >= 5, 10)
    assert {path for _, path in pings} == {"/ping/0123456789"}
    house.telegram.block(ALICE.id)
    with full_redis(stores):
        house.await_event(house.healthwatch, "owner_not_told", 3)
        count = len(pings)
        stays_quiet(house, seconds=3)
        assert len(pings) <= count + 1
        house.telegram.unblock(ALICE.id)
        assert FULL in as_sent(await_told(house, 2, 20))
        assert wait_until(lambda: len(pings) >= count + 4, 15)
    assert "works again since" in as_sent(await_told(house, 3, 30))
    serves(house)
    assert len(told(house)) == 4


# Troubles without a dead server


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
    assert sorted(as_sent(one).split(" since")[0] for one in told(house)[3:]) == 2 * ["Disk space: works again"]
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
    alter(conflict.healthwatch, "POLL_SECONDS=10")  # really 90, which are three long polls
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
            ("waiting for its answer for more than ten minutes",),
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
