"""Every part of the house killed, frozen and slowed for real: the owner reads of it once, and once that it is over."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from demo import servers
from demo.loopback import Fault
from demo.qdrant import QdrantSim
from demo.servers import Qdrant, Server, Stores
from demo.slow import FROZEN, SlowProxy
from demo.telegram import ALICE
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
    behind,
    run,
    serves,
    start,
    stays_quiet,
    talkative,
    told,
    watched_house,
)
from tests.house import House, hunt_qdrant, hunt_stores

POSTGRES, REDIS = "PostgreSQL does not answer", "Redis does not answer"
QDRANT = "Qdrant does not answer"
SLOW = 3.0  # seconds: longer than a check waits
LEISURELY = 0.05  # and shorter, though a check asks PostgreSQL ten times


@dataclass
class Ground:
    """All three stores."""

    stores: Stores
    qdrant: Qdrant

    @property
    def all(self) -> list[Server]:
        return [self.stores.postgres, self.stores.redis, self.qdrant]

    def house(self, make_house: MakeHouse, **settings: str) -> House:
        key = {"QDRANT_URL": self.qdrant.url, "QDRANT_API_KEY": self.qdrant.password}
        return watched_house(make_house, own_stores=self.stores, **key, **settings)


@pytest.fixture
def grounds(tmp_path: Path) -> Iterator[tuple[Ground, Ground]]:
    """Two of them: one to kill, one to freeze."""
    with ExitStack() as stack:
        made = []
        for name in ("killed", "frozen"):
            both = stack.enter_context(servers.stores())
            qdrant = Qdrant(tmp_path / name / "qdrant")
            qdrant.start()
            stack.callback(qdrant.stop)
            made.append(Ground(both, qdrant))
        yield made[0], made[1]
        for ground in made:
            assert not hunt_stores(ground.stores)
            assert not hunt_qdrant(ground.qdrant)


def kill_drill(house: House, server: Server, words: str) -> Drill:
    return Drill(f"{server.name} killed", house, server.kill, server.start, (words,))


def freeze_drill(house: House, server: Server, words: str) -> Drill:
    return Drill(f"{server.name} frozen", house, server.freeze, server.thaw, (words,))


def slow_drill(house: House, proxy: SlowProxy, words: str) -> Drill:
    def slow() -> None:
        proxy.seconds = SLOW

    def fast() -> None:
        proxy.seconds = LEISURELY

    return Drill(f"{words.split()[0]} slow", house, slow, fast, (words,))


def test_each_store_killed_frozen_or_slow_is_told_once_and_its_return_once(
    make_house: MakeHouse, grounds: tuple[Ground, Ground], stores: Stores, note: Note
) -> None:
    killed, frozen = (ground.house(make_house) for ground in grounds)
    sim = QdrantSim("a" * 40)
    sim.start()
    slow = watched_house(make_house, QDRANT_URL=sim.url, QDRANT_API_KEY=sim.api_key)
    proxies = [
        behind(slow, setting, urlsplit(slow.env[setting]).port or 0)
        for setting in ("DATABASE_URL", "REDIS_URL", "QDRANT_URL")
    ]
    for proxy in proxies:
        proxy.seconds = LEISURELY
    start(*map(talkative, (killed, frozen, slow)))
    stays_quiet(slow)  # it is slower than it was, and fast enough
    names = (POSTGRES, REDIS, QDRANT)
    for to_kill, to_freeze, to_slow, words in zip(grounds[0].all, grounds[1].all, proxies, names, strict=True):
        run(
            note,
            kill_drill(killed, to_kill, words),
            freeze_drill(frozen, to_freeze, words),
            slow_drill(slow, to_slow, words),
        )
    serves(killed, frozen, slow)
    assert [len(told(house)) for house in (killed, frozen, slow)] == [8, 8, 8]
    for house in (killed, frozen, slow):
        house.stop()
    for proxy in proxies:
        proxy.stop()
    sim.stop()


def test_all_three_stores_at_once_are_one_message_and_one_when_all_are_back(
    make_house: MakeHouse, grounds: tuple[Ground, Ground], note: Note
) -> None:
    """Also for those who begin to watch when all are gone already: they have their token from .env, or from the file
    of the watch before."""
    killed, frozen = (ground.house(make_house) for ground in grounds)
    with_env, with_file = (grounds[0].house(make_house) for _ in range(2))
    with_env.telegram.say(ALICE, "hello")
    start(killed, frozen, with_file)
    with_file.await_idle()
    for script in reversed(with_file.scripts):  # the watch before those whom it would miss
        script.stop()
    del with_file.env["TELEGRAM_BOT_TOKEN"]
    for late in (with_env, with_file):
        alter(late.healthwatch, "lib.incidents.GRACE_SECONDS=5")
    ours, theirs = (ground.all for ground in grounds)

    def each(stores: list[Server], name: str) -> None:
        for store in stores:
            getattr(store, name)()

    def kill() -> None:
        each(ours, "kill")
        with_env.start()
        with_file.start()

    words = (POSTGRES, REDIS, QDRANT)
    over = tuple(f"{name}: works again since" for name in ("PostgreSQL", "Redis", "Qdrant"))
    begun_late = IN_TIME + 5 + 2 * INTERVAL
    run(
        note,
        Drill("all stores killed", killed, kill, lambda: each(ours, "start"), words, over),
        Drill("all stores frozen", frozen, lambda: each(theirs, "freeze"), lambda: each(theirs, "thaw"), words, over),
        Drill("watch begun late, token from .env", with_env, int, int, words, over, begun_late, answers=1),
        Drill("watch begun late, token from its file", with_file, int, int, words, over, begun_late),
    )
    houses = (killed, frozen, with_env, with_file)
    serves(*houses)
    assert [len(told(house)) for house in houses] == [4, 4, 4, 4]


def test_a_bot_or_worker_killed_or_frozen_is_told_once_and_its_return_once(make_house: MakeHouse, note: Note) -> None:
    """The frozen worker is writing an answer; it is finished later. Slow ones are none of the owner's business."""
    no_bot, frozen_bot, no_worker, frozen_worker, slow = houses = [watched_house(make_house) for _ in range(5)]
    start(*houses)
    slow.telegram.faults.add(Fault("hang", "getUpdates", times=2, seconds=12))
    slow.claude.first_delay = 20
    slow.telegram.say(ALICE, "take your time")
    frozen_worker.claude.first_delay = 5
    frozen_worker.telegram.say(ALICE, "write to me")
    frozen_worker.await_requests(1)
    bot, worker, over = ("The bot is dead, or hangs",), ("All workers are dead, or hang",), ("work again since",)
    missing = IN_TIME + SILENCE
    run(
        note,
        Drill("bot killed", no_bot, no_bot.bot.kill, no_bot.bot.start, bot, seconds=missing),
        Drill(
            "bot frozen",
            frozen_bot,
            lambda: frozen_bot.bot.signal(signal.SIGSTOP),
            lambda: frozen_bot.bot.signal(signal.SIGCONT),
            bot,
            seconds=missing,
        ),
        Drill("worker killed", no_worker, no_worker.worker.kill, no_worker.worker.start, worker, over, missing),
        Drill(
            "worker frozen while Claude writes",
            frozen_worker,
            lambda: frozen_worker.worker.signal(signal.SIGSTOP),
            lambda: frozen_worker.worker.signal(signal.SIGCONT),
            worker,
            over,
            missing,
            answers=1,
        ),
    )
    slow.await_replies(2)
    slow.claude.first_delay = frozen_worker.claude.first_delay = 0
    serves(*houses)
    assert [len(told(house)) for house in houses] == [4, 4, 4, 5, 3]


def test_telegram_away_is_told_once_when_it_is_back(make_house: MakeHouse, own_stores: Stores, note: Note) -> None:
    """So is what failed, and came back, while nobody could be told."""
    stopped, frozen, slow = (watched_house(make_house) for _ in range(3))
    both = watched_house(make_house, own_stores=own_stores)
    houses = (stopped, both, frozen, slow)
    proxies = [behind(house, "TELEGRAM_API_URL", urlsplit(house.telegram.url).port or 0) for house in (frozen, slow)]
    start(*houses)
    both.telegram.stop()
    own_stores.redis.kill()
    stopped.telegram.stop()
    proxies[0].seconds, proxies[1].seconds = FROZEN, SLOW
    began = time.monotonic()
    for house in houses:
        house.await_event(house.healthwatch, "part_down", 2 if house is both else 1)
        note(f"Telegram away: found within {(time.monotonic() - began) / INTERVAL:.1f} intervals")
    assert time.monotonic() - began <= IN_TIME + SLACK
    own_stores.redis.start()
    both.await_event(both.healthwatch, "part_up")
    stays_quiet(*houses)
    for proxy in proxies:
        proxy.seconds = 0
    stopped.telegram.start()
    both.telegram.start()
    for house in houses:
        text = as_sent(await_told(house, 2, 40))
        assert text.startswith("I could not tell you in time: it is over.\n"), text
        assert "Telegram: works again since" in text
        assert ("Redis: works again since" in text) == (house is both)
    serves(*houses)
    assert [len(told(house)) for house in houses] == [3, 3, 3, 3]
    for house in houses:
        house.stop()
    for proxy in proxies:
        proxy.stop()
