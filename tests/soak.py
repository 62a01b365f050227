"""Kills at random: many chats, real processes, and a ledger at the end that says what became of every message.

Run it with `make soak`, or `python -m tests.soak --seed 7 --messages 300 --kills 60`.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import psycopg2
import redis

from demo.children import wait_until
from demo.loopback import Fault
from demo.servers import Postgres, Redis, stores
from demo.stack import Stack, make_database
from demo.telegram import Person
from lib.english import English

english = English()

MARK = english.REPEAT_MARK.strip()
QUOTED = re.compile(r"You wrote: «(.*?)»", re.DOTALL)  # a turn: one message or several
DRAIN_SECONDS = 120


@dataclass
class Plan:
    """What to do to the house. The same seed gives the same plan; the machine's timing still differs."""

    seed: int
    messages: int = 300
    chats: int = 10
    kills: int = 60
    workers: int = 2
    seconds: float = 150.0  # over which messages and kills are spread


@dataclass
class Ledger:
    """What became of the messages."""

    sent: int = 0
    answered: int = 0
    set_aside: int = 0
    lost: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    doubled_unmarked: list[str] = field(default_factory=list)
    doubled_marked: int = 0
    asked_twice: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        return not (self.lost or self.out_of_order or self.doubled_unmarked)

    def __str__(self) -> str:
        kills = ", ".join(f"{count} {name}" for name, count in sorted(self.kills.items()))
        return (
            f"messages {self.sent}, answered {self.answered}, set aside {self.set_aside}, lost {len(self.lost)},"
            f" out of order {len(self.out_of_order)}, doubled without mark {len(self.doubled_unmarked)},"
            f" doubled with mark {self.doubled_marked}, asked again of Claude {self.asked_twice};"
            f" kills {self.kills.total()} ({kills}); {self.seconds:.0f} s"
        )


def run(plan: Plan) -> Ledger:
    """Carry out the plan, let the house come to rest, and count."""
    people = [Person(7000 + number, f"Person {number}") for number in range(plan.chats)]
    with stores() as both:
        postgres, bell, folder = both.postgres, both.redis, both.folder
        allowed = {"ALLOWED_USER_IDS": ",".join(str(person.id) for person in people)}
        url = make_database(postgres, "soak")
        stack = Stack(folder, url, bell.url, workers=plan.workers, settings=allowed)
        stack.claude.pace = 0.01
        ledger = Ledger()
        try:
            stack.start()
            began = time.monotonic()
            said = torment(plan, stack, postgres, bell, people, ledger)
            if not wait_until(lambda: at_rest(stack), DRAIN_SECONDS):
                print("the house did not come to rest", file=sys.stderr)
            ledger.seconds = time.monotonic() - began
            count(ledger, stack, said, url)
        finally:
            stack.stop()
        for script in stack.scripts:
            script.lines()  # raises for a line that is not JSON, whatever was killed
        return ledger


def torment(
    plan: Plan, stack: Stack, postgres: Postgres, bell: Redis, people: list[Person], ledger: Ledger
) -> dict[int, list[int]]:
    """Send the messages and kill meanwhile; who said which number, in order."""
    chance = random.Random(plan.seed)
    said: dict[int, list[int]] = {person.id: [] for person in people}
    events = [(chance.uniform(0, plan.seconds), "message") for _ in range(plan.messages)]
    events += [(chance.uniform(0, plan.seconds), "kill") for _ in range(plan.kills)]
    began, number = time.monotonic(), 0
    for at, event in sorted(events):
        time.sleep(max(0.0, began + at - time.monotonic()))
        if event == "message":
            person = chance.choice(people)
            stack.telegram.say(person, f"message {number}")
            said[person.id].append(number)
            number += 1
        else:
            victim = chance.choice(["bot", "worker", "worker", "redis", "postgres", "flush"])
            ledger.kills[victim] += 1
            strike(victim, stack, postgres, bell, chance)
    ledger.sent = number
    return said


def strike(victim: str, stack: Stack, postgres: Postgres, bell: Redis, chance: random.Random) -> None:
    """kill -9 one of them and start it again, as Docker would."""
    match victim:
        case "bot":
            stack.bot.kill()
            stack.bot.start()
        case "worker":
            worker = chance.choice(stack.workers)
            # Telegram is slow for a moment: so that some die with a message on its way.
            stack.telegram.faults.add(Fault("hang", "sendMessage", seconds=0.6))
            time.sleep(0.3)
            worker.kill()
            worker.start()
        case "redis":
            bell.kill()
            bell.start()
        case "postgres":
            postgres.kill()
            postgres.start()
        case "flush":
            redis.Redis.from_url(bell.url).flushall()


def at_rest(stack: Stack) -> bool:
    try:
        return stack.idle()
    except psycopg2.OperationalError:
        return False


def count(ledger: Ledger, stack: Stack, said: dict[int, list[int]], database_url: str) -> None:
    """Compare what everyone was sent with what they said."""
    for chat_id, numbers in said.items():
        copies: dict[int, list[bool]] = {}  # of each answer in the order they came: had it the mark?
        for message in stack.telegram.messages(chat_id):
            ledger.set_aside += english.SET_ASIDE in message.text
            for turn in QUOTED.findall(message.text):
                for number in re.findall(r"message (\d+)", turn):
                    copies.setdefault(int(number), []).append(message.text.startswith(MARK))
        ledger.answered += len(copies)
        if list(copies) != sorted(copies):
            ledger.out_of_order.append(f"chat {chat_id}: {list(copies)}")
        ledger.lost += [f"chat {chat_id}: {number}" for number in sorted(set(numbers) - set(copies))]
        # The one without the mark may come last: Telegram had it in hand while the repeat overtook it.
        ledger.doubled_marked += sum(len(marks) > 1 and marks.count(False) < 2 for marks in copies.values())
        twice = [number for number, marks in copies.items() if marks.count(False) > 1]
        ledger.doubled_unmarked += [f"chat {chat_id}: {number}" for number in twice]
    asked = Counter(request.body["messages"][-1]["content"] for request in stack.claude.requests if request.body)
    ledger.asked_twice = sum(times - 1 for times in asked.values())
    if ledger.set_aside:  # said honestly to the person, so not lost; which ones, the database knows
        connection = psycopg2.connect(database_url)
        with connection, connection.cursor() as cur:
            cur.execute("SELECT body FROM inbox WHERE state = 'set_aside'")
            aside = {int(body.split()[1]) for (body,) in cur.fetchall()}
        connection.close()
        ledger.lost = [line for line in ledger.lost if int(line.split(": ")[1]) not in aside]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    for name in ("messages", "chats", "kills", "workers"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Plan, name))
    parser.add_argument("--seconds", type=float, default=Plan.seconds)
    plan = Plan(**vars(parser.parse_args()))
    print(f"seed {plan.seed}: {plan}", flush=True)
    ledger = run(plan)
    print(ledger)
    for problem in [*ledger.lost, *ledger.out_of_order, *ledger.doubled_unmarked]:
        print(" ", problem)
    return 0 if ledger.clean else 1


if __name__ == "__main__":
    sys.exit(main())
