"""A house for one test: the demo's stack, what a test wants to know of it, and the hunt for secrets afterwards."""

from __future__ import annotations

import time
from typing import Any

import psycopg2

from demo.children import wait_until
from demo.servers import Qdrant, Stores
from demo.stack import MARKS, Script, Stack
from demo.telegram import ALICE, Person
from tests.hunt import Find, Hunt


class House(Stack):
    """The demo's stack with what a test wants to know of it."""

    stores: Stores
    name: str
    _said = 0

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the database as its superuser."""
        connection = psycopg2.connect(self.stores.postgres.url(self.name))
        try:
            with connection, connection.cursor() as cur:
                cur.execute(sql, parameters or None)
                return cur.fetchall() if cur.description else []
        finally:
            connection.close()

    @property
    def worker(self) -> Script:
        return self.workers[0]

    def hire(self) -> Script:
        """One more worker; not started yet."""
        self.workers.append(Script("worker", self.env, self.worker.log.parent, len(self.workers) + 1))
        return self.workers[-1]

    def say(self, person: Person, text: str) -> None:
        """The person writes this; always ten seconds after the last one, or what comes at once would be one turn."""
        self._said += 1
        self.telegram.say(person, text, date=int(time.time()) - 7200 + 10 * self._said)

    def replies(self, person: Person = ALICE) -> list[str]:
        """What this person has been sent, in order."""
        return [message.text for message in self.telegram.messages(person.id)]

    def await_replies(self, count: int, person: Person = ALICE, seconds: float = 30.0) -> list[str]:
        """The replies once there are so many of them; fails when they do not come."""
        assert self.telegram.wait_for(lambda sim: len(sim.messages(person.id)) >= count, seconds), self.story()
        return self.replies(person)

    def await_idle(self, seconds: float = 30.0) -> None:
        """Wait until all is stored, answered and sent."""

        def idle() -> bool:
            try:
                return self.idle()
            except psycopg2.OperationalError:
                return False

        assert wait_until(idle, seconds), self.story()

    def await_requests(self, count: int, seconds: float = 20.0) -> None:
        """Wait until Claude has been asked so many times."""
        assert self.claude.wait_for(lambda: len(self.claude.requests) >= count, seconds), self.story()

    def await_event(self, script: Script, event: str, count: int = 1, seconds: float = 20.0) -> None:
        """Wait until the script has logged this event so many times."""
        assert wait_until(lambda: script.events().count(event) >= count, seconds), self.story()

    def story(self) -> str:
        """All logs, for a failed test."""
        return "\n".join(script.log.read_text() for script in self.scripts if script.log.exists())[-20_000:]


def hunt_house(house: House) -> list[Find]:
    """Secrets in the logs of a house, and in its database if the server still answers. Its scripts have ended."""
    hunt = Hunt(MARKS.items())
    finds = hunt.search_folder(house.bot.log.parent)
    if house.stores.postgres.running:
        finds += hunt.search(f"the dump of {house.name}", house.stores.postgres.dump(house.name))
    return finds


def hunt_stores(both: Stores) -> list[Find]:
    """Secrets in what the servers wrote: data files, write-ahead log, append-only file, logs. They are stopped by it.

    Only where a server keeps its own password may one stand.
    """
    both.postgres.stop()
    both.redis.stop()
    kept = {("Redis password", str(both.redis.folder / name)) for name in ("password", "redis.conf")}
    finds = Hunt([*MARKS.items(), ("Redis password", both.redis.password)]).search_folder(both.folder)
    return [find for find in finds if (find.kind, find.where) not in kept]


def hunt_qdrant(server: Qdrant) -> list[Find]:
    """Secrets in what it wrote, its own key among them. It is stopped by it."""
    server.stop()
    finds = Hunt([*MARKS.items(), ("Qdrant key", server.password)]).search_folder(server.folder)
    return [find for find in finds if find.where != str(server.folder / "password")]
