"""Writes to Steward as somebody in the simulated Telegram of demo/outside.py, and prints what Steward answers.

An answer has come when messages have, and then for a moment neither a message nor a draft of one. So with several
questions open at once it may be the answer to an earlier one.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import sys
import time
from typing import Any

from demo.outside import PEOPLE, PORT

Json = dict[str, Any]

PATIENCE = 60.0  # seconds for an answer
QUIET = 1.0  # seconds without news after which an answer is whole: its parts leave one right after the other
TICK = 0.1


class SayError(Exception):
    """It cannot be done; the text says why."""


class Control:
    """What demo/outside.py does when asked."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, method: str, path: str, body: Json | None = None) -> Json:
        """Raises SayError."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request(method, path, json.dumps(body) if body else None)
            answer = connection.getresponse()
            found: Json = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            raise SayError(
                f"The simulators do not answer on port {self._port}. In Docker: docker compose ps outside"
            ) from None
        finally:
            connection.close()
        if answer.status != 200:
            raise SayError(f"That cannot be said: {found['error']}.")
        return found

    def ledger(self) -> Json:
        return self.ask("GET", "/ledger")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.say", description="Write to Steward in simulated Telegram.")
    parser.add_argument("text", nargs="*", help="what to write")
    parser.add_argument("--as", dest="name", choices=PEOPLE, default="alice", help="who writes (default: alice)")
    parser.add_argument("--no-wait", action="store_true", help="do not wait for the answer")
    parser.add_argument("--seconds", type=float, default=PATIENCE, help="how long to wait for it (default: 60)")
    parser.add_argument("--claude-slow", type=float, metavar="SECONDS", help="stall Claude's next answer in the middle")
    parser.add_argument("--ledger", action="store_true", help="print who wrote and received what, as JSON")
    parser.add_argument("--port", type=int, default=PORT, help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        run(options, Control(options.port))
    except SayError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


def run(options: argparse.Namespace, control: Control) -> None:
    """Do what was asked for, in this order: slow Claude down, write, print the ledger. Raises SayError."""
    text, slow = " ".join(options.text).strip(), options.claude_slow
    if not text and slow is None and not options.ledger:
        raise SayError('There is nothing to say. Try: python -m demo.say "hello"')
    if slow is not None and not 0 < slow < math.inf:
        raise SayError("--claude-slow needs a number of seconds above 0.")
    if not text.isascii() and text != text.encode("utf-8", "ignore").decode():
        raise SayError("That is not UTF-8 text.")
    if slow is not None:
        control.ask("POST", "/claude", {"seconds": slow})
    if text:
        said = control.ask("POST", "/say", {"name": options.name, "text": text})
        if not options.no_wait:
            print("\n\n".join(await_answer(control, options.name, said["message_id"], options.seconds)))
    if options.ledger:
        print(json.dumps(control.ledger()))


def await_answer(control: Control, name: str, message_id: int, seconds: float) -> list[str]:
    """The bot's messages after this one, once they are whole. Raises SayError when none comes in time."""
    deadline = time.monotonic() + seconds
    seen: tuple[int, int] | None = None
    seen_at = 0.0
    while True:
        account = control.ledger()["people"][name]
        answer = [sent["text"] for sent in account["received"] if sent["message_id"] > message_id]
        news = len(answer), account["drafts"]
        if news != seen:
            seen, seen_at = news, time.monotonic()
        if answer and time.monotonic() - seen_at >= QUIET:
            return answer
        if time.monotonic() > deadline:
            if answer:
                return answer
            raise SayError(f"No answer came within {seconds:.0f} s. In Docker, see: docker compose logs bot worker")
        time.sleep(TICK)


if __name__ == "__main__":
    sys.exit(main())
