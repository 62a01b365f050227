"""The health watch itself in trouble: killed, frozen, doubled, with a wrong clock, without its file or its owner."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from demo.children import wait_until
from demo.loopback import Handler, LoopbackServer
from demo.servers import Stores
from demo.stack import Script
from demo.telegram import ALICE
from lib.english import English
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

english = English()

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
        assert repeated.startswith(english.REPEAT_MARK)
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
