"""Claude on the owner's Max plan: each answer comes from the unmodified Claude Code, run beside the worker.

The worker itself loads nothing of it: the SDK and the program live in a process group of their own
(lib/claude_program.py), which one signal ends, whatever it is doing. For some minutes after an answer the next group
stands ready, because a start takes two seconds; each serves one answer, so no conversation can reach another.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from lib.claude import SILENCE_SECONDS, Reply, Unavailable, blocks, moment
from lib.history import Turn
from lib.secret import Secret
from lib.text import storable

ROOT = Path(__file__).parent.parent
CLIENT_APP = "steward/0.1"  # how the program names us to Anthropic
THINKING_SECONDS = 240.0  # the longest silence while Claude thinks: nothing of that is shown
START_SECONDS = 60.0  # one or two, when the machine is not busy
READY_SECONDS = 600.0  # how long a program that stands ready is used; soon after, it ends by itself
LONGEST_LINE = 4_000_000  # bytes


class PlanDoor:
    """A Max plan, through Claude Code. One request per answer (lib/claude_program.py tells the two exceptions)."""

    def __init__(self, token: Secret, base_url: str, model: str, silence: float = SILENCE_SECONDS) -> None:
        self.model = model
        self._token, self._base_url, self._silence = token, base_url, silence
        # One folder for all answers: in it the program keeps the number by which Anthropic knows this installation.
        self._folder = Path(tempfile.mkdtemp(prefix="steward-claude-"))
        self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._ready: Program | None = None

    def prepare(self) -> None:
        """See Door: nothing to do, this token cannot be renewed."""

    def answer(self, turns: Sequence[Turn], on_text: Callable[[str], None]) -> Reply:
        """Ask once. `turns` ends with the message to answer; `on_text` is given the whole text so far as it grows.

        Raises Unavailable. Waits `silence` for each next piece; how long the whole may take is the caller's.
        """
        began, answer = time.monotonic(), Answer()
        ready, self._ready = self._ready, None
        try:
            if ready is None or ready.age > READY_SECONDS or not ready.ask(turns):
                if ready is not None:
                    ready.end()
                ready = self._start()
                if not ready.ask(turns):
                    raise Unavailable("broken", "the program did not start")
            for line in ready.lines(lambda: THINKING_SECONDS if answer.thinks else self._silence):
                if answer.take(line):
                    on_text(answer.text)
            reply = answer.reply(began)
        except TimeoutError as exc:
            raise Unavailable("timed_out", "silence", partial=answer.text) from exc
        except Unavailable:
            raise
        except Exception as exc:  # no memory, no room, no process to be had; or lines that make no sense
            raise Unavailable("broken", type(exc).__name__, partial=answer.text) from exc
        finally:
            if ready is not None:
                ready.end()
            self._tidy()
        with suppress(OSError):  # then the next answer starts one, or says why not
            self._ready = self._start()
        return reply

    def close(self) -> None:
        """End the program that stands ready, and leave no folder behind."""
        if self._ready is not None:
            self._ready.end()
            self._ready = None
        self._remove()

    def _start(self) -> Program:
        for name in ("config", "empty"):
            (self._folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        return Program(
            self._folder,
            {
                "token": self._token.reveal(),
                "base_url": self._base_url,
                "model": self.model,
                "client_app": CLIENT_APP,
                "folder": str(self._folder),
            },
        )

    def _tidy(self) -> None:
        """Leave nothing of an answer but that number."""
        kept = self._folder / "config" / ".claude.json"
        for path in [*self._folder.glob("*"), *self._folder.glob("config/*"), *self._folder.glob("config/.*")]:
            if path == kept or path == kept.parent:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


class Program:
    """One process group: lib/claude_program.py and Claude Code. It ends itself when its stdin ends."""

    def __init__(self, folder: Path, connection: dict[str, str]) -> None:
        self._started = time.monotonic()
        # Nothing of our environment goes there: neither secrets nor what would change the program's ways.
        process = subprocess.Popen(
            [sys.executable, "-m", "lib.claude_program"],
            cwd=ROOT,
            env={"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )
        self._process, self._rest = process, b""
        self._stdin, self._stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        with suppress(BrokenPipeError):  # then it is dead, and the first question finds that out
            self._write(connection)

    @property
    def age(self) -> float:
        return time.monotonic() - self._started

    def ask(self, turns: Sequence[Turn]) -> bool:
        """Put the question. False: the program is gone, and nobody was asked. Raises Unavailable and TimeoutError."""
        try:
            self._write({"turns": [[turn.role, turn.body, blocks(turn.files)] for turn in turns]})
        except BrokenPipeError:
            pass  # it may have said why
        for line in self.lines(lambda: START_SECONDS):
            if "end" in line:
                raise failure(line["end"])
            return True
        return False

    def lines(self, patience: Callable[[], float]) -> Iterator[dict[str, Any]]:
        """What the program tells, until it ends. Raises TimeoutError when it is silent for longer than `patience`."""
        pipe = self._stdout.fileno()
        while True:
            while b"\n" in self._rest:
                line, self._rest = self._rest.split(b"\n", 1)
                yield json.loads(line)
            if not select.select([pipe], [], [], patience())[0]:
                raise TimeoutError
            piece = os.read(pipe, 65536)
            if not piece or len(self._rest) > LONGEST_LINE:
                return
            self._rest += piece

    def end(self) -> None:
        """Kill the group. The process is waited for only afterwards: until then nobody else can have its number."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._stdin.close()
        self._stdout.close()
        self._process.wait()

    def _write(self, line: dict[str, Any]) -> None:
        left = json.dumps(line).encode() + b"\n"
        while left:
            left = left[os.write(self._stdin.fileno(), left) :]


class Answer:
    """An answer while it comes."""

    def __init__(self) -> None:
        self.text = ""
        self.thinks = False
        self._end: dict[str, Any] | None = None

    def take(self, line: dict[str, Any]) -> bool:
        """Whether the text grew."""
        self.thinks = line.get("thinks", False)
        self._end = line.get("end", self._end)
        self.text += line.get("text", "")
        return bool(line.get("text"))

    def reply(self, began: float) -> Reply:
        """The whole answer. Raises Unavailable when it is none."""
        if self._end is None:  # the program was killed
            raise Unavailable("broken", "the program ended", partial=self.text)
        stop_reason, usage = self._end.get("stop_reason"), self._end.get("usage", {})
        text = storable(self.text)
        if stop_reason not in ("end_turn", "stop_sequence", "max_tokens") or not text.strip():
            raise failure(self._end, self.text)
        cached = int(usage.get("cache_read_input_tokens") or 0)
        return Reply(
            text=text,
            model=storable(self._end["model"]),
            tokens_in=int(usage["input_tokens"]) + cached + int(usage.get("cache_creation_input_tokens") or 0),
            tokens_out=int(usage["output_tokens"]),
            tokens_cached=cached,
            stop_reason=stop_reason,
            request_id=self._end["id"],  # the message's: the program does not tell the request's
            duration_ms=round((time.monotonic() - began) * 1000),
        )


STOP_KINDS = {"model_context_window_exceeded": "too_long", "end_turn": "empty"}
# By the HTTP status of the answer, where there was one.
STATUS_KINDS = {
    400: "our_bug",
    401: "sign_in",
    402: "no_credit",
    403: "sign_in",
    404: "no_model",
    413: "too_long",
    429: "limit",
    504: "timed_out",
}


def failure(end: dict[str, Any], partial: str = "") -> Unavailable:
    """What the program told of an end without an answer, as one kind. Its words are kept out: they may quote."""
    status, stop_reason, error = end.get("status"), end.get("stop_reason"), end.get("error")
    if error == "no_program":
        kind = "no_program"
    elif end.get("refused"):
        kind = "refused"
    elif stop_reason in STOP_KINDS:
        kind = STOP_KINDS[stop_reason]
    elif end.get("extra_usage") or (status == 429 and end.get("nameless") and not end.get("until")):
        kind = "plan_refused"  # so Anthropic answers whoever it takes for another program than Claude Code
    elif end.get("reason") == "prompt_too_long":
        kind = "too_long"
    elif status is not None:
        kind = STATUS_KINDS.get(status, "overloaded")
    elif partial or "id" in end:
        kind = "broken"  # whether by an error event, a cut or an early end the program does not tell
    elif error == "server_error":
        kind = "no_network"
    else:
        kind = "broken"
    until = moment(end.get("until")) if kind == "limit" else None
    return Unavailable(kind, str(status or error or ""), until=until, partial=partial, request_id=end.get("id"))
