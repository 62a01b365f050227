"""The servers of the tests: one real PostgreSQL and Redis for all, a fresh database and a fresh house for each test.

After every test its logs and its database are searched for secrets, and at the end whatever the servers wrote.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg2.extensions
import pytest
import redis

from demo import servers, stack
from demo.servers import Qdrant, Stores
from demo.stack import make_database
from lib.db import Database
from lib.secret import Secret
from lib.stop import Stop
from tests import forks
from tests.desk import Desk
from tests.house import House, hunt_house, hunt_qdrant, hunt_stores
from tests.hunt import Find

numbers = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def forked() -> Iterator[None]:
    """Have the scripts forked, see tests/forks.py; the demo starts them in the ordinary way."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (stack, servers):
            patch.setattr(module, "child", forks.child)
        yield


@pytest.fixture(scope="session")
def stores() -> Iterator[Stores]:
    forks.fork_server()  # it gets ready meanwhile
    with pytest.MonkeyPatch.context() as patch, ExitStack() as opened:
        # No test pulls the plug of the machine, and a killed server loses nothing by it; databases come and go faster.
        patch.setattr(servers, "POSTGRES_SETTINGS", servers.POSTGRES_SETTINGS.replace("fsync = on", "fsync = off"))
        both = opened.enter_context(servers.stores())
        patch.undo()
        make_database(both.postgres, "steward_template")
        yield both
        assert not hunt_stores(both)


@pytest.fixture
def make_house(stores: Stores, tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Build a house on a fresh database; `workers`, `watch` and settings as keywords. Nothing is started but the
    simulators."""
    houses: list[House] = []

    def make(workers: int = 1, own_stores: Stores | None = None, watch: bool = False, **settings: str) -> House:
        used = own_stores or stores
        name = f"house_{next(numbers)}"
        template = "steward_template" if used is stores else None
        url = make_database(used.postgres, name, template)
        redis.Redis.from_url(used.redis.url).flushall()
        folder = tmp_path / name
        folder.mkdir()
        house = House(folder, url, used.redis.url, workers=workers, settings=settings, watch=watch)
        house.stores, house.name = used, name
        houses.append(house)
        return house

    yield make
    finds: list[Find] = []
    for script in [script for house in houses for script in house.scripts if script.running]:
        script.signal(signal.SIGTERM)
    for house in houses:
        house.stop()
        finds += hunt_house(house)
        if house.stores is stores:
            stores.postgres.drop_database(house.name)
    assert not finds


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    """A house with one worker, started."""
    made = make_house()
    made.start()
    return made


@pytest.fixture
def own_stores() -> Iterator[Stores]:
    """A PostgreSQL and a Redis of the test's own, to kill and freeze."""
    with servers.stores() as both:
        yield both
        assert not hunt_stores(both)


@pytest.fixture
def own_qdrant(tmp_path: Path) -> Iterator[Qdrant]:
    """A Qdrant of the test's own, to kill and freeze."""
    server = Qdrant(tmp_path / "qdrant")
    server.start()
    yield server
    assert not hunt_qdrant(server)


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Have a figure printed at the end of the run, also when tests run in several processes."""
    return lambda text: record_property("note", text)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The drills take longest, so they come first: at the end of a run no process should be left alone with them."""
    items.sort(key=lambda item: "drills" not in item.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = terminalreporter.stats.get("passed", [])
    for text in sorted(str(text) for report in passed for name, text in report.user_properties if name == "note"):
        terminalreporter.write_line(text)


@pytest.fixture
def stop() -> Iterator[Stop]:
    """A stop flag that nobody raises; the signals are as before afterwards."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    yield Stop()
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def database(make_house: Callable[..., House]) -> Iterator[Database]:
    """A connection such as the scripts have, to a fresh database."""
    opened = Database(Secret(make_house().database_url), "test")
    yield opened
    opened.close()
    psycopg2.extensions.set_wait_callback(None)  # the scripts' deadline is not for the tests' own connections


@pytest.fixture
def make_desk(make_house: Callable[..., House], stop: Stop) -> Iterator[Callable[..., Desk]]:
    """A bot without its loop, in a house in which nothing runs; settings as keywords."""
    desks: list[Desk] = []

    def make(**settings: str) -> Desk:
        desks.append(Desk(make_house(**settings), stop))
        return desks[-1]

    yield make
    for desk in desks:
        desk.bot.database.close()
    psycopg2.extensions.set_wait_callback(None)  # the scripts' deadline is not for the tests' own connections


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    return make_desk()
