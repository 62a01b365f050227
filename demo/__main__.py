"""The demo: starts the whole house on this machine, lets a person talk to it as Alice, and leaves nothing behind."""

# ruff: noqa: E402
from __future__ import annotations

import signal

# Reading the files below takes a moment, in which Ctrl-C should not print a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Self

import psycopg2

from demo import terminal
from demo.children import LIBC, family, send, wait_until
from demo.claude import simulated_answer
from demo.servers import Postgres, Redis, Server, ServerError, temporary_folder
from demo.stack import Script, Stack, make_database
from demo.telegram import ALICE
from demo.terminal import Pipe, Terminal, out, rest
from lib.split import split

TICK = 0.1  # seconds
PATIENCE = 60.0  # seconds for one answer
START_SECONDS = 30.0
RESTART_SECONDS = 1.0
WORD_SECONDS, ANSWER_SECONDS = 0.12, 15.0  # how fast the simulated Claude writes, and the longest it takes
LONGEST_MESSAGE = 4096  # UTF-16 units that Telegram's apps send at once
BECOME_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)

REAL_PARTS = "PostgreSQL, Redis, bot.py and worker.py are real, Telegram is simulated."
REAL_CLAUDE = "Answers come from the real Claude, billed to your key (ANTHROPIC_API_KEY)."
SIMULATED_CLAUDE = "Answers are simulated: no account, no network, no cost."
HINTS = """
You are Alice. Just write; /help works. To leave: Ctrl-C, Ctrl-D or "quit".
Try: hello - what did I just say? - write 900 words - /status
Only here: "kill worker" and "kill bot" end that process with kill -9, in the middle of whatever it does. After a second
it is started again, as Docker would do, and nothing is lost.
"""

Face = Pipe | Terminal


class DemoError(Exception):
    """The demo cannot go on; the text says why, and where to look."""


class Leaving(BaseException):
    """A signal asked us to leave. Not an Exception, so that nothing on the way swallows it."""


class Signals:
    """Ctrl-C, SIGTERM and SIGHUP: the first one raises Leaving while they are armed, all others are only noted."""

    def __init__(self) -> None:
        self.asked = 0
        self._armed = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def arm(self) -> None:
        self._armed = True
        self.check()

    def disarm(self) -> None:
        self._armed = False

    def check(self) -> None:
        """Raise what came before arm(), or was lost in a place where Python can only ignore it."""
        if self.asked:
            raise Leaving

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        first, self.asked = not self.asked, self.asked or number
        if first and self._armed:
            raise Leaving


class Minder:
    """Minds one script: starts it again a second after it ended, as Docker would, and sees what it logs as an ERROR."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._killed = False
        self._due = 0.0  # time.monotonic() of the next start, 0 while it runs
        self._read = 0  # bytes of its log

    def kill(self) -> str:
        """kill -9; what to tell the person."""
        if not self.script.running:
            return f"The {self.script.name} does not run just now."
        self._killed = True
        self.script.kill()
        return f"kill -9: the {self.script.name} is gone."

    def look(self) -> list[str]:
        """Do what is to be done now; what to tell the person."""
        news = [f"{self.script.name} logged: {readable(line)}" for line in self._new_lines() if is_error(line)]
        if news:
            news.append(f"More in {self.script.log}")
        if self.script.running:
            return news
        if not self._due:
            self._due = time.monotonic() + RESTART_SECONDS
            if not self._killed:
                news.append(last_words(self.script))
        elif time.monotonic() >= self._due:
            self.script.start()
            self._due, self._killed = 0.0, False
            news.append(f"The {self.script.name} is started again.")
        return news

    def _new_lines(self) -> list[str]:
        if not self.script.log.exists() or self.script.log.stat().st_size == self._read:
            return []
        with self.script.log.open("rb") as log:
            log.seek(self._read)
            data = log.read()
        whole = data[: data.rfind(b"\n") + 1]  # it may be writing the last line just now
        self._read += len(whole)
        return whole.decode(errors="replace").splitlines()


class House:
    """Everything that runs, in a temporary folder. Leaving the `with` block ends all of it and removes the folder."""

    stack: Stack  # from start() on

    def __init__(self, signals: Signals) -> None:
        self.folder = temporary_folder()
        self._signals = signals
        self._servers: list[Server] = []
        self._minders: list[Minder] = []
        self._events: SimpleQueue[tuple[str, str]] = SimpleQueue()
        LIBC.prctl(BECOME_SUBREAPER, 1)  # whoever loses its parent becomes our child, so that family() finds it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nobody must be able to interrupt this: disarm the signals before."""
        for minder in self._minders:
            minder.script.kill()  # its data goes with the folder, and a worker would finish its answer first
        for server in self._servers:
            server.stop()
        # An interrupted start may have left somebody whom we never got to know.
        wait_until(self._alone, 2)
        for number in (signal.SIGTERM, signal.SIGKILL):
            send(number, family(os.getpid())[1:])
            wait_until(self._alone, 2)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _alone(self) -> bool:
        return len(family(os.getpid())) == 1

    def start(self, anthropic_api_key: str) -> None:
        if os.geteuid() == 0:
            self.folder.chmod(0o711)  # PostgreSQL runs as another user then, and has to get to its own folder
        with step("Starting PostgreSQL"):
            postgres = Postgres(self.folder / "postgres")
            self._servers.append(postgres)
            postgres.start()
        with step("Making the tables"):
            database_url = make_database(postgres, "steward")
        with step("Starting Redis"):
            redis = Redis(self.folder / "redis")
            self._servers.append(redis)
            redis.start()
        with step("Starting bot and worker"):
            self.stack = Stack(self.folder, database_url, redis.url, anthropic_api_key=anthropic_api_key)
            self.stack.telegram.on_event = self._on_event
            self._minders = [Minder(script) for script in self.stack.scripts]
            self.stack.start()
            self._await_scripts(self.stack.scripts)

    def _await_scripts(self, scripts: list[Script]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not all(has_started(script) for script in scripts):
            self._signals.check()
            for script in scripts:
                if not script.running:
                    raise DemoError(last_words(script))
            if time.monotonic() > deadline:
                raise DemoError("\n".join([f"No start within {START_SECONDS:.0f} s.", *map(last_words, scripts)]))
            rest(TICK)

    def _on_event(self, kind: str, chat_id: int, text: str) -> None:
        """Comes from the simulator's threads; a terminal has one pen."""
        if chat_id == ALICE.id:
            self._events.put((kind, text))

    def say(self, text: str, face: Face) -> None:
        """Send it as Alice; a long text in several messages, as Telegram's apps do."""
        for part in split(text, LONGEST_MESSAGE):
            face.said(part)
            self.stack.telegram.say(ALICE, part)

    def kill(self, name: str, face: Face) -> None:
        for minder in self._minders:
            if minder.script.name == name:
                face.note(minder.kill())

    def look_after(self, face: Face) -> bool:
        """Start again what has ended, and show what has come; whether anything has."""
        self._signals.check()
        for server in self._servers:
            if not server.running:
                raise DemoError(f"{server.name} ended by itself. Its log is {server.log}")
        for news in [news for minder in self._minders for news in minder.look()]:
            face.note(news)
        came = False
        with suppress(Empty):
            while True:
                face.show(*self._events.get_nowait())
                came = True
        return came

    def wait_until(self, condition: Callable[[], bool], face: Face) -> None:
        """Show what comes until the condition is true; raises DemoError when that takes longer than PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        while True:
            done = condition()  # asked first: what came before it was true is still to be shown
            self.look_after(face)
            if done:
                return
            if time.monotonic() > deadline:
                logs = ", ".join(str(minder.script.log) for minder in self._minders)
                raise DemoError(f"No answer came within {PATIENCE:.0f} s. The logs may tell why: {logs}")
            rest(TICK)

    def await_answer(self, face: Face, since: int) -> None:
        """Wait until all is answered that was said when there were `since` messages. Some lines get no answer."""
        idle = Patient(2.0)
        self.wait_until(lambda: idle(self.stack.idle()) or (idle.now and self.messages() > since), face)

    def messages(self) -> int:
        """How many Alice has received."""
        return len(self.stack.telegram.messages(ALICE.id))
