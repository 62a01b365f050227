"""Drills: something is broken, and the owner must read of it once, and once more when it is over."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import redis

from demo.children import wait_until
from demo.servers import Stores
from demo.slow import SlowProxy
from demo.stack import Script
from demo.telegram import ALICE, BOB, Sent
from tests.house import House

INTERVAL = 2.0  # HEALTH_SECONDS of all drills
IN_TIME = 3 * INTERVAL
# With so short an interval a check may wait a whole one for its answer, which is one more; and a machine may be busy.
SLACK = INTERVAL + 4.0
SILENCE = 15.0  # a sign of life of bot and workers may be missing so long
ALTERED = Path(__file__).parent / "altered.py"

MakeHouse = Callable[..., House]
Note = Callable[[str], None]


@dataclass
class Drill:
    """One fault. `words` stand in the message about it, `over` in the one that it is over."""

    name: str
    house: House
    begin: Callable[[], Any]
    end: Callable[[], Any]
    words: tuple[str, ...]
    over: tuple[str, ...] = ("works again since",)
    seconds: float = IN_TIME  # so long the message may take
    answers: int = 0  # ordinary ones that come when it is over


def watched_house(make_house: MakeHouse, **settings: Any) -> House:
    """A house with a health watch, for drills; not started. The folder that is watched never fills up."""
    return make_house(**{"watch": True, "HEALTH_SECONDS": f"{INTERVAL:.0f}", "DISK_PATHS": "/proc", **settings})


def talkative(house: House) -> House:
    """This one may tell more in a minute than is bearable: it has several drills in it."""
    alter(house.healthwatch, "lib.incidents.MOST_PER_MINUTE=60")
    return house


def alter(script: Script, *changes: str) -> None:
    """Have this script start with other figures, or another clock: see tests/altered.py."""
    script.command = [sys.executable, ALTERED, script.name, *changes]


def behind(house: House, setting: str, port: int) -> SlowProxy:
    """Put a proxy before this port, in the setting that names it."""
    proxy = SlowProxy(port)
    assert f":{port}" in house.env[setting]
    house.env[setting] = house.env[setting].replace(f":{port}", f":{proxy.port}")
    return proxy


def start(*houses: House) -> None:
    """Start them, and wait until all of each was found well. Alice has written, so that she can be written to."""
    for house in houses:
        house.telegram.say(ALICE, "hello")
        house.start()
    for house in houses:
        house.await_replies(1)
        await_well(house)


def await_well(house: House, seconds: float = 30.0) -> None:
    def well() -> bool:
        with suppress(psycopg2.Error):
            states = dict(house.query("SELECT part, state FROM parts WHERE checked_at > now() - interval '5 seconds'"))
            return len(states) >= 12 and set(states.values()) == {"up"}
        return False

    assert wait_until(well, seconds), house.story()


def told(house: House) -> list[Sent]:
    """The messages to the owner."""
    return house.telegram.messages(ALICE.id)


def as_sent(message: Sent) -> str:
    """Its text before it was edited."""
    return [*message.edits, message.text][0]


def await_told(house: House, count: int, seconds: float) -> Sent:
    """The last of so many messages to the owner, once it is there; and there are not more of them."""
    house.telegram.wait_for(lambda _: len(told(house)) >= count, seconds)
    assert len(told(house)) == count, "\n\n".join(
        [*map(as_sent, told(house)), house.healthwatch.log.read_text()[-5000:]]
    )
    return told(house)[-1]


def stays_quiet(*houses: House, seconds: float = 2 * INTERVAL) -> None:
    """Nobody is told anything for so long."""
    counts = [len(house.telegram.sent) for house in houses]
    time.sleep(seconds)
    for house, count in zip(houses, counts, strict=True):
        assert len(house.telegram.sent) == count, [as_sent(one) for one in house.telegram.sent[count:]]


def run(note: Note, *drills: Drill) -> None:
    """Break everything, read of everything, mend everything, and read that it is over."""
    before = [len(told(drill.house)) for drill in drills]
    began = []
    for drill in drills:
        drill.begin()
        began.append(time.time())
    for drill, count, at in zip(drills, before, began, strict=True):
        message = await_told(drill.house, count + 1, at + drill.seconds + SLACK + 10 - time.time())
        took = message.at - at
        note(f"{drill.name}: told after {took:.1f} s, {took / INTERVAL:.1f} intervals")
        assert all(word in as_sent(message) for word in drill.words), as_sent(message)
        assert took <= drill.seconds + SLACK, drill.house.story()
    for drill, count in zip(drills, before, strict=True):
        assert len(told(drill.house)) == count + 1
        drill.end()
    for drill, count in zip(drills, before, strict=True):
        await_told(drill.house, count + 2 + drill.answers, 40)
        since = [as_sent(message) for message in told(drill.house)[count + 1 :]]
        assert sum(all(word in text for word in drill.over) for text in since) == 1, since


@contextmanager
def full_redis(stores: Stores) -> Iterator[None]:
    """Inside, Redis answers and takes nothing."""
    client = redis.Redis.from_url(stores.redis.url)
    client.config_set("maxmemory", "1")
    try:
        yield
    finally:
        client.config_set("maxmemory", "0")
        client.close()


def serves(*houses: House) -> None:
    """An ordinary message is answered, and nothing else is said; Bob never heard anything."""
    counts = [len(told(house)) for house in houses]
    for house in houses:
        house.telegram.say(ALICE, "are you there?")
    for house, count in zip(houses, counts, strict=True):
        assert "«are you there?»" in as_sent(await_told(house, count + 1, 30))
    stays_quiet(*houses)
    for house in houses:
        assert house.replies(BOB) == []
