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
from demo.claude import vivid_answer
from demo.loopback import Fault
from demo.outside import PEOPLE
from demo.servers import Postgres, Qdrant, Redis, Server, ServerError, temporary_folder
from demo.stack import Script, Stack, make_database
from demo.telegram import ALICE, FRIENDS, Upload
from demo.terminal import Pipe, Shown, Terminal, out, rest
from demo.words import HELP, Hands, WordError
from lib.config import LINES

TICK = 0.1  # seconds
PATIENCE = 60.0  # seconds for one answer
START_SECONDS = 30.0
RESTART_SECONDS = 1.0
STORE_SECONDS = 25.0  # for which a dead store stays dead: Steward is to notice
HEALTH_SECONDS = 5  # between two looks of healthwatch.py: sooner than for real, because somebody waits for it
WORD_SECONDS, ANSWER_SECONDS = 0.12, 15.0  # how fast the simulated Claude writes, and the longest it takes
BECOME_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)

REAL_PARTS = "PostgreSQL, Redis, bot.py, worker.py and healthwatch.py are real, Telegram and Qdrant are simulated."
REAL_CLAUDE = "Answers come from the real Claude, billed to your key (ANTHROPIC_API_KEY)."
SIMULATED_CLAUDE = "Answers are simulated: no account, no network, no cost."
HINTS = """
You are Alice. Just write; /help works. To leave: Ctrl-C, Ctrl-D or "quit".
Try: hello - what did I just say? - show me code - write 900 words - /status
More of Telegram: "help" says how to send pictures and files, to press buttons,
to write in a group or as somebody else.
"kill worker" and "kill bot" end that process with kill -9, in the middle of
whatever it does. A second later it is started again, as Docker would do, and
nothing is lost. "kill redis" and "kill postgres": that store is dead for half
a minute. Steward notices it, says so, and says when it is over.
"""

MORTAL = ("bot", "worker", "healthwatch", "redis", "postgres")

Face = Pipe | Terminal


class DemoError(Exception):
    """The demo cannot go on; the text says why, and where to look."""


class Leaving(BaseException):
    """A signal asked us to leave. Not an Exception, so that nothing on the way swallows it."""


class Signals:
    """Ctrl-C, SIGTERM and SIGHUP: noted, then the first raises Leaving, and after disarm() they are ignored."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.asked = 0
        self._armed = False
        for number in self.NUMBERS:
            signal.signal(number, self._on_signal)
        sys.unraisablehook = unless_leaving

    def arm(self) -> None:
        self._armed = True
        self.check()

    def disarm(self) -> None:
        self._armed = False
        for number in self.NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    def check(self) -> None:
        """Raise what came before arm(), or was lost in a place where Python can only ignore it."""
        if self.asked:
            raise Leaving

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        first, self.asked = not self.asked, self.asked or number
        if first and self._armed:
            raise Leaving


def unless_leaving(ignored: sys.UnraisableHookArgs) -> None:
    """Print what Python has to ignore (an error in a destructor, or in a hook at a fork), but not our own Leaving."""
    if ignored.exc_type is not Leaving:
        sys.__unraisablehook__(ignored)


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
        self._due: dict[str, float] = {}  # time.monotonic() at which a dead store is started again
        self._minders: list[Minder] = []
        self._hands: Hands | None = None
        self._events: SimpleQueue[Shown] = SimpleQueue()
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
        with step("Starting Qdrant (simulated)"):
            qdrant = Qdrant(self.folder / "qdrant")
            self._servers.append(qdrant)
            qdrant.start()
        with step("Starting bot, worker and health watch"):
            allowed = ",".join(str(PEOPLE[name].id) for name in ("alice", "bob", "olga"))
            settings = {"HEALTH_SECONDS": str(HEALTH_SECONDS), "ALLOWED_USER_IDS": allowed}
            settings |= {"QDRANT_URL": qdrant.url, "QDRANT_API_KEY": qdrant.password}
            self.stack = Stack(
                self.folder, database_url, redis.url, anthropic_api_key=anthropic_api_key, settings=settings, watch=True
            )
            self.stack.telegram.on_event = self._on_event
            self.stack.claude.answer = vivid_answer
            self._minders = [Minder(script) for script in self.stack.scripts]
            self.stack.start()
            self._await_scripts(self.stack.scripts)

    @property
    def settings_file(self) -> Path:
        """The settings of this house as an `.env`, for whoever wants to run the owner's scripts on it.

        Without Claude's key, which is sealed by now and may be a real one.
        """
        path = self.folder / "env"
        path.touch(mode=0o600)
        names = [name for name in LINES if name in self.stack.env and name != "ANTHROPIC_API_KEY"]
        path.write_text("".join(f"{name}='{self.stack.env[name]}'\n" for name in names))
        return path

    def _await_scripts(self, scripts: list[Script]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not all(has_started(script) for script in scripts):
            self._signals.check()
            for script in scripts:
                if not script.running:
                    raise DemoError(last_words(script))
            if time.monotonic() > deadline:
                raise DemoError("\n".join([f"No start within {START_SECONDS:.0f} s.", *self._words_of_all()]))
            rest(TICK)

    def _on_event(self, kind: str, chat_id: int, text: str) -> None:
        """Comes from the simulator's threads; a terminal has one pen."""
        if kind in ("draft", "message", "edit", "answer") and (text or kind == "message"):
            self._events.put(self._shown(kind, chat_id, text))

    def _shown(self, kind: str, chat_id: int, text: str) -> Shown:
        places = {person.id: f"to {person.first_name}" for person in PEOPLE.values()}
        place = (places | {ALICE.id: "", FRIENDS.id: f"in {FRIENDS.title}"}).get(chat_id, f"in {chat_id}")
        sent = next((one for one in reversed(self.stack.telegram.messages(chat_id)) if one.text == text), None)
        if sent is None or kind not in ("message", "edit"):
            return Shown(kind, text, place)
        file = self._save(sent.document) if sent.document else ""
        return Shown(kind, text, place, sent.entities, sent.buttons, file)

    def _save(self, document: Upload) -> str:
        """Put what the bot sent where the person can look at it; the path."""
        folder = self.folder / "received"
        folder.mkdir(exist_ok=True)
        path = folder / Path(document.name).name
        path.write_bytes(document.data)
        return str(path)

    def act(self, line: str, face: Face) -> None:
        """Write it, as Alice, or do what the line says instead."""
        try:
            self._hands = self._hands or Hands(self.stack.telegram, face.said, rest)
            self._hands.do(line)
        except WordError as exc:
            face.note(str(exc))

    def kill(self, name: str, face: Face) -> None:
        for minder in self._minders:
            if minder.script.name == name:
                face.note(minder.kill())
        for server in self._servers:
            if server.name.lower().startswith(name):
                server.kill()

    def fail_claude(self, face: Face) -> None:
        self.stack.claude.faults.add(Fault("overloaded-midway", "/v1/messages"))
        face.note("The next answer of the simulated Claude breaks off. Write something, and then /retry.")

    def look_after(self, face: Face) -> bool:
        """Start again what has ended, and show what has come; whether anything has."""
        self._signals.check()
        for server in self._servers:
            if not server.running:
                self._revive(server, face)
        for news in [news for minder in self._minders for news in minder.look()]:
            face.note(news)
        came = False
        with suppress(Empty):
            while True:
                face.show(self._events.get_nowait())
                came = True
        return came

    def _revive(self, server: Server, face: Face) -> None:
        """Start a dead store again when its time has come."""
        now = time.monotonic()
        if server.name not in self._due:
            self._due[server.name] = now + STORE_SECONDS
            face.note(f"{server.name} is dead. It is started again in {STORE_SECONDS:.0f} s.")
        elif now >= self._due[server.name]:
            del self._due[server.name]
            server.start()
            face.note(f"{server.name} is started again.")

    def idle(self) -> bool:
        """Whether everything is answered. While PostgreSQL is away nobody knows."""
        try:
            return self.stack.idle()
        except psycopg2.OperationalError:
            return False

    def wait_until(self, condition: Callable[[], bool], face: Face) -> None:
        """Show what comes until the condition is true; raises DemoError when that takes longer than PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        while True:
            done = condition()  # asked first: what came before it was true is still to be shown
            self.look_after(face)
            if done:
                return
            if time.monotonic() > deadline:
                raise DemoError("\n".join([f"No answer came within {PATIENCE:.0f} s.", *self._words_of_all()]))
            rest(TICK)

    def _words_of_all(self) -> list[str]:
        return [last_words(minder.script) for minder in self._minders]

    def await_answer(self, face: Face, before: int) -> None:
        """Wait until all is answered that was said when `before` messages had come. Some lines get no answer."""
        asked = time.monotonic()

        def answered() -> bool:
            return self.idle() and (self.received() > before or time.monotonic() - asked > 2)

        self.wait_until(answered, face)

    def received(self) -> int:
        """How many messages have come from Steward, to anybody."""
        return len(self.stack.telegram.sent)

    def messages(self) -> int:
        """How many Alice has received."""
        return len(self.stack.telegram.messages(ALICE.id))

    def drafts(self) -> list[str]:
        """What she has seen of answers while they were written."""
        return self.stack.telegram.drafts(ALICE.id)

    def write_visibly(self) -> None:
        """Let the simulated Claude write at a pace that can be followed; a long answer faster than a short one."""
        claude = self.stack.claude

        def answer(body: dict[str, Any]) -> str:
            text = vivid_answer(body)
            claude.pace = min(WORD_SECONDS, ANSWER_SECONDS / max(len(text.split()), 1))
            return text

        claude.first_delay, claude.answer = 0.5, answer


# Three conversations


def chat(house: House, face: Terminal) -> None:
    """A person types. Nothing here waits for an answer, so that "kill worker" can be typed while one is written."""
    house.write_visibly()
    out(HINTS)
    waiting, deadline = False, 0.0
    while not face.ended:
        for line in face.read(TICK):
            if line.strip() == "quit":
                return
            if obey(house, line, face):
                waiting, deadline = True, time.monotonic() + PATIENCE
        if face.ended:
            return
        idle = waiting and house.idle()  # asked first: what came before it was true is still to be shown
        if house.look_after(face):
            deadline = time.monotonic() + PATIENCE
        if waiting and not idle and time.monotonic() > deadline:
            face.note(f"Nothing came for {PATIENCE:.0f} s. Go on if you like; what still comes will be shown.")
            idle = True
        waiting = waiting and not idle
        face.prompt(wanted=not waiting)


def recite(house: House, face: Pipe) -> None:
    """Lines come from a pipe or a file: each is said once the one before is answered. No line at all: play()."""
    silent = True
    lines: list[str] = []
    while lines or not face.ended:
        if not lines:
            lines = face.read(TICK)
            house.look_after(face)
            continue
        line, before = lines.pop(0), house.received()
        if line.strip() == "quit":
            return
        silent = silent and not line.strip()
        if obey(house, line, face):
            house.await_answer(face, before)
    if silent:
        play(house, face)


def obey(house: House, line: str, face: Face) -> bool:
    """Do what the line says; whether an answer may come."""
    words = line.split()
    if len(words) == 2 and words[0] == "kill" and words[1] in MORTAL:
        house.kill(words[1], face)
    elif words == ["fail", "claude"]:
        house.fail_claude(face)
    elif words == ["help"]:
        out(HELP)
    elif words:
        house.act(line, face)
        return True
    return False


def play(house: House, face: Pipe) -> None:
    """A short conversation without anybody. Raises DemoError if it lost something."""
    face.note("Nobody types, so this plays by itself. Steward remembers what was said:")
    for line in ("hello", "what did I just say?"):
        ask(house, face, line)
    face.note("A longer answer, and kill -9 for the worker while it is being written:")
    house.write_visibly()
    before, seen = house.received(), len(house.drafts())
    house.act("write 20 words", face)
    house.wait_until(lambda: len(house.drafts()) > seen + 1 or house.received() > before, face)
    house.kill("worker", face)
    face.note(f"Alice has seen this much of the answer: {' '.join(house.drafts()[seen:][-1:])} ...")
    house.await_answer(face, before)
    face.note("The new worker has answered. And how is Steward?")
    ask(house, face, "/status")
    answers = house.messages()
    if answers != 4:
        raise DemoError(f"Four messages got {answers} answers.")
    face.note("Four messages, four answers: nothing was lost.")


def ask(house: House, face: Face, line: str) -> None:
    before = house.received()
    house.act(line, face)
    house.await_answer(face, before)


# Words


@contextmanager
def step(name: str) -> Iterator[None]:
    """One line of progress, with its seconds."""
    out(f"{name} ... ", end="")
    began = time.monotonic()
    try:
        yield
    except BaseException:
        with suppress(OSError):
            out("")
        raise
    out(f"{time.monotonic() - began:.1f} s")


def log_lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines() if log.exists() else []


def has_started(script: Script) -> bool:
    return any(fields(line).get("event") == "started" for line in log_lines(script.log))


def is_error(line: str) -> bool:
    found = fields(line)  # what part_down tells stands in the chat a moment later
    return found.get("level") in ("ERROR", "CRITICAL") and found.get("event") != "part_down"


def fields(line: str) -> dict[str, Any]:
    """A line of a log as an object; what Python itself wrote there before it died becomes its message."""
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"message": line}


def readable(line: str) -> str:
    """One line of a log for a person."""
    found = fields(line)
    begin = [str(found.get("ts", ""))[11:19], found.get("level", ""), found["message"]]
    end = [f"{found['error_type']}: {found.get('error_message')}"] if "error_type" in found else []
    return " ".join(str(word) for word in [*begin, *end] if word)


def last_words(script: Script) -> str:
    """How a script ended, if it did, and the end of its log."""
    end = "is still running" if script.running else f"ended by itself (exit code {script.wait(0)})"
    return f"The {script.name} {end}. {end_of(script.log)}"


def end_of(log: Path) -> str:
    """The last lines themselves: when the demo cannot go on, the file goes with its folder."""
    return "\n".join([f"The end of {log}:", *(f"  {readable(line)}" for line in log_lines(log)[-4:])])


# The way in and out


def main() -> int:
    signals = Signals()
    terminal.prepare()
    try:
        return visit(signals)
    except Leaving:
        pass
    except BrokenPipeError:  # `make demo | head -3`: they have seen enough
        terminal.give_up_output()
        return 0
    except (DemoError, ServerError, OSError, subprocess.SubprocessError, psycopg2.Error) as exc:
        if not signals.asked:  # or else it is only what the signal broke
            print(f"The demo had to end. {str(exc).strip()}", file=sys.stderr)
            return 1
    return 128 + signals.asked


def visit(signals: Signals) -> int:
    key = os.environ.get("ANTHROPIC_API_KEY", "").strip()
    out(f"This is Steward. {REAL_PARTS}\n{REAL_CLAUDE if key else SIMULATED_CLAUDE}\n")
    face: Face = Terminal() if terminal.is_terminal() else Pipe()
    try:
        with House(signals) as house:
            try:
                signals.arm()
                house.start(key)
                logs = shlex.quote(str(house.folder)) + "/*-1.log"
                env = f"OAUTHLIB_INSECURE_TRANSPORT=1 STEWARD_ENV_FILE={shlex.quote(str(house.settings_file))}"
                out(f"From another terminal, as long as this runs:\n  tail -qf {logs} | jq")
                out(f"  {env} {sys.executable} credentials.py list")
                out(f"  {env} {sys.executable} setup_google.py")
                if isinstance(face, Terminal):
                    chat(house, face)
                else:
                    recite(house, face)
            finally:
                signals.disarm()
    finally:
        face.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
