"""The soak: many chats, real processes, and everything that can break does, at random; a ledger at the end says what
became of every message. Run it with `make soak`, or `python -m tests.soak --seed 7`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg2

from demo.children import wait_until
from demo.claude import simulated_answer
from demo.servers import stores
from demo.stack import Stack, make_database
from demo.telegram import ALICE, Person
from tests.soak.ledger import Ledger, count, count_lines, shortened, unsettled
from tests.soak.plan import Plan
from tests.soak.strikes import Scene, torment

INTERVAL = 2  # HEALTH_SECONDS
START_SECONDS, REST_SECONDS, TOLD_SECONDS = 60.0, 120.0, 120.0
LONG_ANSWER = " ".join(f"{number}{'-and-so-on' * 8}" for number in range(60))  # two parts
THOUGHT_SECONDS, PACE_SECONDS = 0.3, 0.01  # Claude takes long enough to be struck in the middle of it


def run(plan: Plan, keep: bool = False) -> Ledger:
    """Carry out the plan, let the house come to rest, and count. `keep`: the traces, if a promise was broken."""
    options = plan.options
    people = [Person(7000 + number, f"Person {number}") for number in range(options.chats)]
    with stores() as both:
        settings = {
            "ALLOWED_USER_IDS": ",".join(str(person.id) for person in people),
            "HEALTH_SECONDS": str(INTERVAL),
            "DISK_PATHS": "/proc",  # never fills up
        }
        url = make_database(both.postgres, "soak")
        stack = Stack(both.folder, url, both.redis.url, workers=options.workers, settings=settings, watch=True)
        stack.claude.first_delay, stack.claude.pace, stack.claude.answer = THOUGHT_SECONDS, PACE_SECONDS, answer
        scene = Scene(stack, both.postgres, both.redis, people)
        try:
            ledger = carry_out(plan, scene)
        finally:
            stack.stop()
        count_lines(ledger, stack)
        if ledger.broken and keep:
            print(f"how it came to that: {keep_traces(scene)}", flush=True)
        return ledger


def carry_out(plan: Plan, scene: Scene) -> Ledger:
    stack, restless = scene.stack, []
    stack.telegram.say(ALICE, "hello")  # so that she can be written to
    stack.start()
    if not wait_until(lambda: all("started" in script.events() for script in stack.scripts), START_SECONDS):
        restless.append("the scripts did not start")
    began = time.monotonic()
    torment(plan, scene)
    if not wait_until(lambda: at_rest(stack), REST_SECONDS):
        restless.append("messages wait")
    if not wait_until(lambda: not unsettled(stack), TOLD_SECONDS):
        restless.append("alerts wait")
    seconds = time.monotonic() - began
    ledger = count(plan, scene)
    ledger.seconds, ledger.restless = seconds, restless
    return ledger


def answer(body: dict[str, Any]) -> str:
    """What the simulated Claude says: it quotes the question, and answers a long one at length."""
    short = shortened(body)
    text = simulated_answer(short)
    return f"{text}\n\n{LONG_ANSWER}" if short["messages"][-1] != body["messages"][-1] else text


def at_rest(stack: Stack) -> bool:
    try:
        return stack.idle()
    except psycopg2.OperationalError:
        return False


def keep_traces(scene: Scene) -> Path:
    """What tells how it came to that, copied to where it outlives the stores: logs, strikes and chats."""
    folder = Path(tempfile.mkdtemp(prefix="steward-soak-"))
    for script in scene.stack.scripts:
        shutil.copy(script.log, folder)
    (folder / "strikes.txt").write_text("\n".join(scene.struck))
    chats = [str(message) for person in [ALICE, *scene.people] for message in scene.stack.telegram.messages(person.id)]
    (folder / "chats.txt").write_text("\n".join(chats))
    return folder
