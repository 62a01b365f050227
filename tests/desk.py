"""A bot without its loop: raw updates go in, and what it has stored and wants to say comes out."""

from __future__ import annotations

import itertools
import time
from typing import Any, NamedTuple

from bot import Bot, receive
from demo.telegram import ALICE, Person
from lib import allowed, config, history, inbox, outbox
from lib.allowance import Allowance
from lib.bell import Bell
from lib.db import Database
from lib.history import Turn
from lib.pulse import Pulse
from lib.secret import Secret
from lib.stop import Stop
from lib.telegram import Telegram
from tests.house import House

FRIENDS = {"id": -5005, "type": "group", "title": "Friends"}
NAME = "steward_bot"


class Said(NamedTuple):
    """A row of the outbox."""

    chat_id: int
    body: str
    document: str | None
    buttons: list[list[tuple[str, str]]] | None
    edits: int | None
    reply_to: int | None


class Desk:
    """The bot of a house in which nothing runs."""

    def __init__(self, house: House, stop: Stop) -> None:
        settings = config.load(house.env)
        token = Secret(house.env["TELEGRAM_BOT_TOKEN"])
        self.house = house
        self.clock = 1000.0
        self.bot = Bot(
            settings=settings,
            stop=stop,
            database=Database(settings.database_url, "steward-bot"),
            bell=Bell(settings.redis_url),
            telegram=Telegram(token, settings.telegram_api_url),
            pulse=Pulse(settings, "bot"),
            allowance=Allowance(settings.turns_per_hour, clock=lambda: self.clock),
            username=NAME,
        )
        self._numbers = itertools.count(1)
        self._seen = 0

    def start_again(self) -> None:
        """As a bot that has just been started: it knows what the tables say."""
        with self.bot.database.statement() as cur:
            self.bot.let_in = frozenset(allowed.load(cur))

    def say(self, person: Person, text: str, chat: dict[str, Any] | None = None, **more: Any) -> list[Said]:
        """Somebody writes this; what is said then."""
        return self.take({"message": self.message(person, text, chat) | more})

    def mention(self, person: Person, text: str, chat: dict[str, Any] | None = None) -> list[Said]:
        """Somebody in a group writes this and mentions the bot."""
        text = f"@{NAME} {text}"
        return self.say(person, text, chat or FRIENDS, entities=[{"type": "mention", "offset": 0, "length": 12}])

    def press(self, person: Person, data: str, chat: dict[str, Any] | None = None, message_id: int = 70) -> list[Said]:
        """Somebody presses a button of ours that carries this."""
        message = {"message_id": message_id, "date": int(time.time()), "chat": chat or person.as_chat(), "text": "?"}
        query = {"id": str(next(self._numbers)), "from": person.as_user(), "message": message, "data": data}
        return self.take({"callback_query": query | {"chat_instance": "1"}})

    def message(self, person: Person, text: str, chat: dict[str, Any] | None = None) -> dict[str, Any]:
        return {
            "message_id": next(self._numbers),
            "date": int(time.time()),
            "from": person.as_user(),
            "chat": chat or person.as_chat(),
            "text": text,
        }

    def take(self, update: dict[str, Any]) -> list[Said]:
        """An update comes; what is said then."""
        receive(self.bot, {"update_id": self.update_id(), **update})
        rows = self.house.query(
            "SELECT chat_id, body, document, buttons, edits, reply_to, id FROM outbox WHERE id > %s ORDER BY id",
            self._seen,
        )
        self._seen = rows[-1][-1] if rows else self._seen
        return [Said(*row[:-1]) for row in rows]

    def update_id(self) -> int:
        return next(self._numbers)

    def answer(self, chat_id: int = ALICE.id, text: str = "an answer", recalled: tuple[int, ...] = ()) -> int:
        """What a worker does with the turn that waits in this chat; its id."""
        self.house.query("UPDATE inbox SET ready_at = now() WHERE state = 'waiting'")
        with self.bot.database.statement() as cur:
            turn = inbox.claim(cur, chat_id)
            assert turn is not None
        with self.bot.database.transaction() as cur:
            assert inbox.settle(cur, turn, "answered", recalled)
            turns = [Turn("user", turn.body), Turn("assistant", text)]
            history.add(cur, chat_id, turn.conversation, turn.id, turns, turn.user_id)
            outbox.add(cur, "worker", chat_id, turn.correlation_id, [text])
        self.house.query("UPDATE outbox SET state = 'sent', message_id = id WHERE sender = 'worker'")
        [(self._seen,)] = self.house.query("SELECT max(id) FROM outbox")
        return turn.id

    def audit(self) -> list[tuple[Any, ...]]:
        """Actor, action, outcome and reason of every row, in order."""
        return self.house.query("SELECT actor_kind, action, outcome, reason FROM audit ORDER BY id")

    def waiting(self) -> list[str]:
        """What waits to be answered."""
        return [body for (body,) in self.house.query("SELECT body FROM inbox WHERE state = 'waiting' ORDER BY id")]
