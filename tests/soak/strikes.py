"""The torment of a soak: carries out a plan, message by message and strike by strike."""

from __future__ import annotations

import heapq
import itertools
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

import redis

from demo.children import send
from demo.loopback import Fault
from demo.servers import Postgres, Redis, Server
from demo.stack import Script, Stack
from demo.telegram import Person
from tests.soak.plan import Plan, Strike, Words

MOMENT_SECONDS = 1.5  # so long a strike waits for its moment
HANG_SECONDS = 0.8  # Telegram holds an answer back, so that who sends is struck in the middle of it


@dataclass
class Scene:
    """Everything there is to talk to and to break."""

    stack: Stack
    postgres: Postgres
    redis: Redis
    people: list[Person]
    ends: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)  # of what does not last
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    struck: list[str] = field(default_factory=list)  # when, and what
    ended: list[str] = field(default_factory=list)  # scripts that ended by themselves

    def say(self, words: Words) -> None:
        self.stack.telegram.say(self.people[words.person], words.text)

    def until(self, at: float) -> None:
        """Wait until then, and end meanwhile what is to end."""
        while self.ends and self.ends[0][0] <= at:
            ends_at, _, end = heapq.heappop(self.ends)
            time.sleep(max(0.0, ends_at - time.monotonic()))
            end()
        time.sleep(max(0.0, at - time.monotonic()))

    def later(self, seconds: float, end: Callable[[], None]) -> None:
        heapq.heappush(self.ends, (time.monotonic() + seconds, next(self.numbers), end))


def torment(plan: Plan, scene: Scene) -> None:
    """Say and break what is planned; then nothing breaks any more, and everybody says a last word."""
    events: list[Words | Strike] = sorted([*plan.words, *plan.strikes], key=lambda event: event.at)
    began = time.monotonic()
    for event in events:
        scene.until(began + event.at)
        if isinstance(event, Words):
            scene.say(event)
        else:
            await_moment(scene, event.moment)
            scene.struck.append(f"{datetime.now(UTC):%H:%M:%S.%f} {event}")
            strike(scene, event)
    scene.until(max([began + plan.options.seconds, *(at for at, _, _ in scene.ends)]))
    scene.stack.telegram.faults.clear()
    scene.stack.claude.faults.clear()
    for words in plan.last_words:
        scene.say(words)


def await_moment(scene: Scene, moment: str) -> None:
    """Until somebody is in the middle of it, or for MOMENT_SECONDS."""
    telegram, claude = scene.stack.telegram, scene.stack.claude
    match moment:
        case "fetching":
            telegram.wait_for(lambda sim: sim.pending(), MOMENT_SECONDS)
        case "asking":
            before = len(claude.requests)
            claude.wait_for(lambda: len(claude.requests) > before, MOMENT_SECONDS)
        case "sending":
            telegram.faults.add(Fault("hang", "sendMessage", seconds=HANG_SECONDS))
            telegram.wait_for(
                lambda sim: any(call.method == "sendMessage" and not call.status for call in sim.calls[-20:]),
                MOMENT_SECONDS,
            )


def strike(scene: Scene, planned: Strike) -> None:
    what, whom = planned.kind.split()
    if planned.fault is not None:  # a copy: it is used up
        simulator = scene.stack.telegram if what == "telegram" else scene.stack.claude
        simulator.faults.add(replace(planned.fault))
    elif whom == "away":
        scene.stack.telegram.stop()
        scene.later(planned.seconds, scene.stack.telegram.start)
    elif what == "flush":
        flush(scene)
    elif whom in ("redis", "postgres"):
        strike_server(scene, what, scene.redis if whom == "redis" else scene.postgres, planned.seconds)
    else:
        strike_scripts(scene, what, scripts_of(scene, whom, planned.worker), planned.seconds)


def scripts_of(scene: Scene, whom: str, worker: int) -> list[Script]:
    stack = scene.stack
    named = {"bot": [stack.bot], "healthwatch": [stack.healthwatch], "worker": [stack.workers[worker]]}
    return named.get(whom, stack.workers)


def strike_scripts(scene: Scene, what: str, scripts: list[Script], seconds: float) -> None:
    """kill -9 and start it again, as Docker would; or stop it where it stands, and let it go on later."""
    scene.ended += [f"{script.log.stem} had ended by itself" for script in scripts if not script.running]
    for script in scripts:
        if what == "kill":
            script.kill()
        else:
            send(signal.SIGSTOP, [script.pid])
            scene.later(seconds, partial(send, signal.SIGCONT, [script.pid]))
    for script in scripts if what == "kill" else []:
        script.start()


def strike_server(scene: Scene, what: str, server: Server, seconds: float) -> None:
    match what:
        case "kill":
            server.kill()
            server.start()
        case "restart":
            server.restart()
        case "freeze":
            server.freeze()
            scene.later(seconds, server.thaw)


def flush(scene: Scene) -> None:
    """Redis forgets everything; one that is frozen does so later."""
    client = redis.Redis.from_url(scene.redis.url, socket_timeout=0.5)
    try:
        client.flushall()
    except redis.RedisError:
        pass
    finally:
        client.close()
