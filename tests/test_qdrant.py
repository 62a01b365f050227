"""Whether Qdrant answers and takes our key is asked with a deadline, and /status says what was found."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from demo.loopback import Handler, LoopbackServer
from demo.telegram import ALICE
from lib import qdrant
from lib.english import English
from lib.qdrant import Health
from lib.secret import Secret

english = English()

KEY = "f" * 64


class Qdrant(Handler):
    """What the server of release 1.20 answers: with the right key, without one, and on bad days."""

    def do_GET(self) -> None:
        if self.server.simulator["hangs"]:  # type: ignore[attr-defined]
            time.sleep(1)
        collections = self.server.simulator["collections"]  # type: ignore[attr-defined]
        name = self.path.removeprefix("/collections/")
        if self.path in ("/", "/readyz"):
            self.answer(200, {"title": "qdrant - vector search engine", "version": "1.20.0", "commit": "0"})
        elif self.headers.get("Authorization") != f"Bearer {KEY}":
            self.answer(401, "Must provide an API key or an Authorization bearer token")
        elif self.path == "/collections":
            self.answer(200, {"result": {"collections": [{"name": name} for name in collections]}, "status": "ok"})
        elif name in collections:
            self.answer(200, {"result": collections[name], "status": "ok", "time": 0.000003})
        else:
            self.answer(503, "some shards are not ready")


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    made = LoopbackServer(Qdrant, {"hangs": False, "collections": {}})
    made.start()
    yield made
    made.stop()


def test_a_qdrant_that_takes_the_key_is_well(server):
    assert qdrant.check(server.url, Secret(KEY)) == Health(None, 0, "1.20.0")


def test_what_is_kept_is_counted_and_a_collection_that_cannot_be_read_is_found(server):
    server.simulator["collections"] |= {name: {"status": "green", "points_count": 7} for name in ("a", "b")}
    assert qdrant.check(server.url, Secret(KEY)) == Health(None, 14, "1.20.0")
    server.simulator["collections"]["b"] = {"status": "red", "points_count": 0}
    assert qdrant.check(server.url, Secret(KEY)) == Health("damaged")


@pytest.mark.parametrize("key", [None, Secret("a" * 64)])
def test_a_wrong_or_missing_key_is_told_from_silence(server, key):
    assert qdrant.check(server.url, key).problem == "refused"


def test_a_qdrant_that_is_not_ready_does_not_count_as_well(server):
    assert qdrant.check(f"{server.url}/elsewhere", Secret(KEY)).problem == "no_answer"


def test_a_frozen_or_dead_qdrant_costs_no_more_than_the_deadline(server):
    server.simulator["hangs"] = True
    began = time.monotonic()
    assert qdrant.check(server.url, Secret(KEY), seconds=0.2).problem == "no_answer"
    assert time.monotonic() - began < 1
    server.stop()
    assert qdrant.check(server.url, Secret(KEY)).problem == "no_answer"


def test_status_names_qdrant_only_where_there_is_one(make_house):
    house = make_house(QDRANT_API_KEY=KEY)
    house.bot.start()
    house.telegram.say(ALICE, "/status")
    assert "Qdrant" not in house.await_replies(1)[0]


def test_status_tells_how_qdrant_is(make_house, server):
    house = make_house(QDRANT_URL=server.url + "/", QDRANT_API_KEY=KEY)
    house.bot.start()
    house.telegram.say(ALICE, "/status")
    assert "Qdrant: answers" in house.await_replies(1)[0]
    server.stop()
    house.telegram.say(ALICE, "/status")
    assert "Qdrant: does not answer" in house.await_replies(2)[1]


def test_every_finding_has_its_words():
    assert {None, "refused", "no_answer", "damaged"} == set(english.QDRANT)
    assert {"refused", "no_answer", "damaged"} == set(english.TROUBLES["qdrant"])
