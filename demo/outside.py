"""The world outside as a process of its own: Telegram, Claude, Slack and ClickUp at fixed ports, beside Docker Compose.

Tokens come from the environment, as the scripts know them. What people write, and what became of it, goes through a
control server that only this machine (in Docker: this container) reaches: demo/say.py talks to it. Nothing is kept
when the process ends.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import time
from contextlib import ExitStack
from typing import Any

from demo.claude import ClaudeSim
from demo.loopback import Fault, Handler, LoopbackServer
from demo.telegram import ALICE, BOB, CHARLIE, OLGA, TelegramSim
from demo.tokens import ClickUpSim, SlackSim

Json = dict[str, Any]

PORT = 8080  # of the control server; Telegram, Claude, Slack and ClickUp have the four behind it
PEOPLE = {"alice": ALICE, "bob": BOB, "charlie": CHARLIE, "olga": OLGA}
TOKENS = ("TELEGRAM_BOT_TOKEN", "ANTHROPIC_API_KEY", "SLACK_TOKEN", "CLICKUP_TOKEN")


class OutsideError(Exception):
    """The simulators cannot start; the text says why."""


class Outside:
    """The simulators together, what people do there, and the ledger of it."""

    def __init__(self, tokens: list[str], port: int, address: str) -> None:
        telegram, claude, slack, clickup = tokens
        # PostgreSQL outlives this process, and takes an update whose number it has seen for a second copy: so the
        # numbers begin with the time, in milliseconds because some may write many messages in a second.
        self.telegram = TelegramSim(telegram, port + 1, address, first_update=time.time_ns() // 10**6)
        self.claude = ClaudeSim(claude, port + 2, address=address)
        self.slack = SlackSim(slack, port=port + 3, address=address)
        self.clickup = ClickUpSim(clickup, port=port + 4, address=address)
        self._written: dict[str, list[Json]] = {name: [] for name in PEOPLE}  # updates
        for person in PEOPLE.values():
            # An update that no bot asked for only makes the chat known: answers from before a restart find it.
            self.telegram.push({"chat_member": {"chat": person.as_chat()}})

    def start(self, cleanup: ExitStack) -> None:
        for simulator in (self.telegram, self.claude, self.slack, self.clickup):
            simulator.start()
            cleanup.callback(simulator.stop)

    def say(self, name: str, text: str) -> Json:
        """Raises ValueError for a text that no app would send."""
        update = self.telegram.update(self.telegram.say(PEOPLE[name], text))
        self._written[name].append(update)
        return {"message_id": update["message"]["message_id"]}

    def slow_claude(self, seconds: float) -> Json:
        self.claude.faults.add(Fault("stalls-midway", "/v1/messages", seconds=seconds))
        return {}

    def ledger(self) -> Json:
        pending = set(self.telegram.pending())
        refused = [call for call in self.telegram.calls if call.status >= 400]
        return {
            "people": {name: self._account(name, pending) for name in PEOPLE},
            "pending": len(pending),
            "claude_requests": len(self.claude.requests),
            "telegram_refused": [{"method": call.method, "status": call.status} for call in refused],
        }

    def _account(self, name: str, pending: set[int]) -> Json:
        """What one person wrote and was sent. `confirmed`: the bot has told Telegram that it has the message; `edits`:
        how often the message was changed since."""
        chat_id = PEOPLE[name].id
        standing = [sent for sent in self.telegram.messages(chat_id) if not sent.deleted]
        return {
            "written": [
                {
                    "message_id": update["message"]["message_id"],
                    "text": update["message"]["text"],
                    "confirmed": update["update_id"] not in pending,
                }
                for update in list(self._written[name])
            ],
            "received": [
                {"message_id": sent.message_id, "text": sent.text, "edits": len(sent.edits)} for sent in standing
            ],
            "drafts": len(self.telegram.drafts(chat_id)),
        }


class _Control(Handler):
    server: LoopbackServer

    def do_GET(self) -> None:
        outside: Outside = self.server.simulator
        self.answer(200, outside.ledger())

    def do_POST(self) -> None:
        outside: Outside = self.server.simulator
        wanted: Json = json.loads(self.read_body())
        try:
            said = outside.say(**wanted) if self.path == "/say" else outside.slow_claude(**wanted)
        except ValueError as exc:
            self.answer(400, {"error": str(exc)})
        else:
            self.answer(200, said)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.outside", description="Serve the simulators.")
    parser.add_argument("--address", default="127.0.0.1", help="where they are reached (0.0.0.0: from everywhere)")
    parser.add_argument("--port", type=int, default=PORT, help="of the control server; they have the next four")
    options = parser.parse_args()
    # Before the first thread, which inherits it: then the signal waits for sigwait() below.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        with ExitStack() as cleanup:
            serve(options.port, options.address, cleanup)
            signal.sigwait({signal.SIGTERM, signal.SIGINT})
    except OutsideError as exc:
        print(f"The simulators cannot start. {exc}", file=sys.stderr)
        return 1
    return 0


def serve(port: int, address: str, cleanup: ExitStack) -> None:
    """Start everything, and say so. Raises OutsideError."""
    tokens = [os.environ.get(name, "").strip() for name in TOKENS]
    if missing := [name for name, token in zip(TOKENS, tokens, strict=True) if not token]:
        raise OutsideError(f"Put any made-up token into the environment: {', '.join(missing)}.")
    if not re.fullmatch(r"\d+:[\w-]+", tokens[0], re.ASCII):
        raise OutsideError("TELEGRAM_BOT_TOKEN does not look right: digits, a colon, letters.")
    try:
        outside = Outside(tokens, port, address)
        outside.start(cleanup)
        control = LoopbackServer(_Control, outside, port)
    except (OSError, OverflowError) as exc:
        raise OutsideError(f"A port of {port} to {port + 4} cannot be opened on {address}: {exc}.") from None
    control.start()
    cleanup.callback(control.stop)
    names = ("Telegram", "Claude", "Slack", "ClickUp")
    places = ", ".join(f"{name} {number}" for number, name in enumerate(names, port + 1))
    print(f"The simulators are ready on {address}: {places}.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
