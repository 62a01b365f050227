"""The terminal of the demo: how the conversation is shown, and how lines come in, typed or piped."""

from __future__ import annotations

import codecs
import itertools
import os
import re
import select
import shutil
import sys
import termios
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from lib.text import units

STDIN, STDOUT = 0, 1
PROMPT = "you> "
LONG = 3_000  # UTF-16 units; a longer draft may have moved on to the end of its text
STYLES = {
    "bold": "1",
    "italic": "3",
    "underline": "4",
    "text_link": "4",
    "strikethrough": "9",
    "code": "36",
    "pre": "36",
    "blockquote": "2",
    "expandable_blockquote": "2",
    "spoiler": "2",
}  # what a terminal makes of the entities of a message: parameters of SGR
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


@dataclass(frozen=True)
class Shown:
    """Something that Steward shows. `kind` is draft, message, edit or answer (to a pressed button)."""

    kind: str
    text: str
    to: str = ""  # "" for Alice, or "to Bob", "in Friends"
    entities: list[dict[str, Any]] = field(default_factory=list)
    buttons: list[list[tuple[str, str]]] = field(default_factory=list)  # rows of (label, data)
    file: str = ""  # where a document was saved

    @property
    def name(self) -> str:
        changed = " (changed)" if self.kind == "edit" else ""
        return f"Steward{' ' if self.to else ''}{self.to}{changed}: "

    @property
    def below(self) -> str:
        """What stands under the text: a file, and buttons with the numbers to press them by."""
        labels = [harmless(label) for row in self.buttons for label, _ in row]
        buttons = " ".join(f"[{number} {label}]" for number, label in enumerate(labels, 1))
        file = f"[a file: {self.file}]" if self.file else ""
        return "\n".join(filter(None, (file, buttons)))


def styled(text: str, entities: list[dict[str, Any]]) -> str:
    """The text, harmless, with its formatting for a terminal."""
    units_in = harmless(text).encode("utf-16-le", "surrogatepass")
    marked = [one for one in entities if one["type"] in STYLES]
    edges = sorted({0, len(units_in) // 2, *(one["offset"] for one in marked)} | {end_of(one) for one in marked})
    pieces = []
    for begin, end in itertools.pairwise(edges):
        piece = units_in[2 * begin : 2 * end].decode("utf-16-le", "replace")
        codes = sorted({STYLES[one["type"]] for one in marked if one["offset"] <= begin and end <= end_of(one)})
        pieces.append(f"\x1b[{';'.join(codes)}m{piece}\x1b[0m" if codes else piece)
    return "".join(pieces)


def end_of(entity: dict[str, Any]) -> int:
    return int(entity["offset"]) + int(entity["length"])


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

    def said(self, name: str, text: str) -> None:
        out(f"{name}: {harmless(text)}")

    def show(self, shown: Shown) -> None:
        if shown.kind != "draft":
            out("\n".join(filter(None, (shown.name + harmless(shown.text), shown.below))))

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
        self._stretch = ""  # of this what was written since its line began
        self._held: list[Shown] = []
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

    def said(self, name: str, text: str) -> None:
        """Nothing to do: the person typed it here."""

    def show(self, shown: Shown) -> None:
        if self._typed:
            self._held.append(shown)
        elif shown.kind == "draft":
            if not shown.to:
                self._draft(harmless(shown.text))
        elif shown.kind == "message" and not shown.to and not shown.entities and not shown.below:
            self._message(harmless(shown.text))
        else:
            self._whole(shown)

    def _whole(self, shown: Shown) -> None:
        """A finished entry of its own; the message takes the place of the draft that led to it."""
        if shown.kind == "message" and not shown.to:
            self._erase()
            self._shown = ""
        self._make_room()
        out("\n".join(filter(None, (shown.name + styled(shown.text, shown.entities), shown.below))))

    def _draft(self, text: str) -> None:
        if self._shown.startswith(text):
            return  # another worker began anew, and is not yet further than what can be seen
        if not text.startswith(self._shown):
            if units(self._shown) > LONG:
                return  # Telegram now shows the end of a long answer; the rest will come in whole messages
            self._erase()
            self._make_room()
            self._shown = ""
        self._grow(text)

    def _message(self, text: str) -> None:
        """The final text of an answer, or of one part of a long one; what can be seen may reach into the next part."""
        if self._shown.startswith(text):
            self._shown = self._shown[len(text) :].lstrip()
        else:
            if not text.startswith(self._shown):
                self._erase()
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
            self._stretch = ""
        out(new, end="")
        self._stretch += new
        self._shown, self._open = text, True

    def _erase(self) -> None:
        """Take back what is open, as far as it still is on the screen: something better comes in its place."""
        columns, rows = shutil.get_terminal_size()
        used = sum(max(-(-sum(map(width, line)) // columns), 1) for line in self._stretch.split("\n"))
        if self._open and used < rows:
            out(f"\x1b[{used - 1}A\r\x1b[J" if used > 1 else "\r\x1b[J", end="")
            self._open = False

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
        for shown in held:
            self.show(shown)


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
