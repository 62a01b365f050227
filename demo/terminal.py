"""The terminal of the demo: how the conversation is shown, and how lines come in, typed or piped."""

from __future__ import annotations

import codecs
import os
import re
import select
import shutil
import sys
import termios
import unicodedata
from contextlib import suppress

from lib.text import units

STDIN, STDOUT = 0, 1
PROMPT = "you> "
LONG = 3_000  # UTF-16 units; a longer draft may have moved on to the end of its text
KEY = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O.|.)?")  # arrows and the like, of no use here


def prepare() -> None:
    """Call it first. Gives to /dev/null what was closed of stdin, stdout and stderr: else our next socket would take
    its place. And no character shall end the demo because the terminal cannot write it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]


def give_up_output() -> None:
    """Nobody reads it: let what is still buffered go nowhere, or Python would complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)


def is_terminal() -> bool:
    """Whether there is a person on both ends, at a terminal that can erase a line."""
    return os.isatty(STDIN) and os.isatty(STDOUT) and os.environ.get("TERM", "dumb") != "dumb"


def out(text: str, end: str = "\n") -> None:
    print(text, end=end, flush=True)


def rest(seconds: float, for_input: bool = False) -> bool:
    """Wait so long, or until there is input if that is wanted; whether there is.

    Raises BrokenPipeError as soon as nobody reads our output any more.
    """
    poller = select.poll()
    poller.register(STDOUT, 0)
    if for_input:
        poller.register(STDIN, select.POLLIN)
    ready = dict(poller.poll(seconds * 1000))
    if ready.get(STDOUT, 0) & (select.POLLERR | select.POLLHUP):
        raise BrokenPipeError
    return STDIN in ready


def harmless(text: str) -> str:
    """The text without control characters: an answer may quote any, and terminals obey them."""
    return "".join(c if c == "\n" or unicodedata.category(c) != "Cc" else "\N{REPLACEMENT CHARACTER}" for c in text)


class Pipe:
    """Lines in, lines out: a finished message is one entry, and nothing is seen growing."""

    def __init__(self) -> None:
        self.ended = False
        self._unread = b""

    def read(self, seconds: float) -> list[str]:
        """The lines that arrived within so many seconds; the last one needs no newline."""
        if not rest(seconds, for_input=True):
            return []
        data = os.read(STDIN, 65_536)
        self.ended = not data
        *lines, self._unread = (self._unread + (data or b"\n")).split(b"\n")
        return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]

    def note(self, text: str) -> None:
        out(f"[{text}]")

    def said(self, text: str) -> None:
        out(f"Alice: {harmless(text)}")

    def show(self, kind: str, text: str) -> None:
        if kind == "message":
            out(f"Steward: {harmless(text)}")

    def close(self) -> None:
        """Nothing to put back."""


class Terminal:
    """A person at a terminal, who sees answers grow.

    What is typed stands in a line of its own, and while something stands there answers are held back: so neither gets
    into the other. The kernel's own line editing could not do this, and would cut a line at 4095 bytes.
    """

    def __init__(self) -> None:
        self.ended = False
        self._typed = ""
        self._prompting = False  # the line being typed is on the screen
        self._shown = ""  # what is on the screen of an answer that is not finished
        self._open = False  # and the cursor stands right behind it
        self._held: list[tuple[str, str]] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._modes = termios.tcgetattr(STDIN)
        quiet = termios.tcgetattr(STDIN)
        quiet[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(STDIN, termios.TCSANOW, quiet)

    def close(self) -> None:
        with suppress(OSError):
            self._make_room()
        with suppress(termios.error):  # the terminal may be gone
            termios.tcsetattr(STDIN, termios.TCSANOW, self._modes)

    def read(self, seconds: float) -> list[str]:
        """The lines typed within so many seconds, now on the screen. Ctrl-D in an empty line sets `ended`."""
        if not rest(seconds, for_input=True):
            return []
        try:
            data = os.read(STDIN, 65_536)
        except OSError:  # the other side of a pseudo-terminal has gone
            data = b""
        self.ended = not data
        lines = []
        for key in KEY.sub("", self._decoder.decode(data)):
            if key in "\r\n":
                lines.append(self._enter())
            elif key == "\x04":
                self.ended |= not self._typed
            else:
                self._typed = edited(self._typed, key)
        if self._typed:
            self._draw()
        else:
            self._release()
        return lines

    def prompt(self, wanted: bool) -> None:
        """Ask for the next line, or do not; what was typed already stays on the screen either way."""
        wanted = wanted or bool(self._typed)
        if wanted and not self._prompting:
            self._draw()
        elif not wanted and self._prompting:
            self._make_room()

    def note(self, text: str) -> None:
        self._make_room()
        out(f"[{text}]")

    def said(self, text: str) -> None:
        """Nothing to do: the person typed it here."""

    def show(self, kind: str, text: str) -> None:
        if self._typed:
            self._held.append((kind, text))
        elif kind == "draft":
            self._draft(harmless(text))
        elif kind == "message":
            self._message(harmless(text))

    def _draft(self, text: str) -> None:
        if self._shown.startswith(text):
            return  # another worker began anew, and is not yet further than what can be seen
        if not text.startswith(self._shown):
            if units(self._shown) > LONG:
                return  # Telegram now shows the end of a long answer; the rest will come in whole messages
            self._make_room()
            self._shown = ""
        self._grow(text)

    def _message(self, text: str) -> None:
        """The final text of an answer, or of one part of a long one; what can be seen may reach into the next part."""
        if self._shown.startswith(text):
            self._shown = self._shown[len(text) :].lstrip()
        else:
            if not text.startswith(self._shown):
                self._make_room()
                self._shown = ""
            self._grow(text)
            self._shown = ""
        if not self._shown:
            self._make_room()

    def _grow(self, text: str) -> None:
        """Add what is new in a text that begins with what can be seen."""
        new = text[len(self._shown) :]
        if not self._open:
            self._make_room()
            new = "Steward: " + ("... " + new.lstrip() if self._shown else new)
        out(new, end="")
        self._shown, self._open = text, True

    def _make_room(self) -> None:
        """Put the cursor at the beginning of an empty line."""
        if self._prompting:
            out("\r\x1b[K", end="")
        elif self._open:
            out("")
        self._prompting = self._open = False

    def _draw(self) -> None:
        """The line being typed; of a long one the end, so that it never fills more than one row."""
        self._make_room()
        room = shutil.get_terminal_size().columns - len(PROMPT) - 1
        begin = len(self._typed)
        while begin > 0 and (room := room - width(self._typed[begin - 1])) >= 0:
            begin -= 1
        out(PROMPT + self._typed[begin:], end="")
        self._prompting = True

    def _enter(self) -> str:
        line, self._typed = self._typed, ""
        if line.strip():
            self._make_room()
            out(PROMPT + line)
        return line

    def _release(self) -> None:
        held, self._held = self._held, []
        for kind, text in held:
            self.show(kind, text)


def edited(line: str, key: str) -> str:
    """The line after one more key: backspace, Ctrl-U (all), Ctrl-W (a word), or a character."""
    match key:
        case "\x7f" | "\b":
            return line[:-1]
        case "\x15":
            return ""
        case "\x17":
            return re.sub(r"\S*\s*$", "", line)
    return line + " " * (key == "\t") + key * (unicodedata.category(key) != "Cc")


def width(character: str) -> int:
    """How many columns it takes, at most."""
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
