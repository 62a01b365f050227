"""The pulse: there are as many rows of a service as there should be processes, however one of them has ended."""

from __future__ import annotations

import psycopg2

from demo.children import wait_until
from lib import processes
from lib.db import Database
from tests.house import House

DEAD = "steward-pulse-worker dead"


def workers(house: House) -> list[str]:
    return [name for (name,) in house.query("SELECT name FROM processes WHERE service = 'worker'")]


def test_a_worker_takes_the_place_of_a_dead_one_that_still_seemed_connected_when_it_began(house: House) -> None:
    assert wait_until(lambda: len(workers(house)) == 1, 20), house.story()
    house.worker.stop()
    seeming = psycopg2.connect(house.stores.postgres.url(house.name), application_name=DEAD)
    house.query("INSERT INTO processes (name, service) VALUES (%s, 'worker')", DEAD)
    house.worker.start()
    assert wait_until(lambda: len(workers(house)) == 2, 20), house.story()
    seeming.close()
    assert wait_until(lambda: len(workers(house)) == 1, 20), house.story()
    assert DEAD not in workers(house)


def test_nobody_takes_the_place_of_one_that_has_died_later(database: Database) -> None:
    with database.statement() as cur:
        processes.beat(cur, DEAD, "worker")
        assert not processes.take_place(cur, "worker", 60.0)
        assert processes.take_place(cur, "worker", 0.0)
