"""What a person at the demo can do beside writing: the words for it, and how they become messages in Telegram."""

from __future__ import annotations

import mimetypes
import shlex
from collections.abc import Callable
from pathlib import Path

from demo.outside import PEOPLE
from demo.telegram import ALICE, BOB, FRIENDS, Document, Group, Person, TelegramSim, from_user
from demo.telegram_people import JPEG
from lib.text import split

HELP = f"""
send PATH [PATH ...] [-- CAPTION]  sends pictures (JPEG) and files; several at once are an album
forward TEXT     forwards something that Bob wrote
press 1          presses the button with this number under the last message that has any;
                 "press stop" presses Stop beside the answer that is being written (/stop does the same)
group TEXT       writes into the group "{FRIENDS.title}": Steward is told of commands and of @{TelegramSim.username};
                 "group /allow" lets it answer there
as bob TEXT      writes as Bob, as charlie as a stranger, as olga in Russian; TEXT may be one of these words
kill worker      kill -9, also for bot, healthwatch, redis and postgres; "fail claude" breaks an answer off
Several lines pasted at once are as many messages; a line of more than 4096 characters is cut, as Telegram's apps do.
"""

LONGEST_MESSAGE = 4096  # UTF-16 units that Telegram's apps send at once
PART_SECONDS = 0.3  # between the parts of a longer one
MOST_FILES = 10  # in an album


class WordError(Exception):
    """The word cannot be followed; the text says why."""


class Hands:
    """The people of the demo, acting in the simulated Telegram.

    said   called with who writes (and where, if it is a group) and what, before it is sent
    pause  waits so many seconds
    """

    def __init__(
        self, telegram: TelegramSim, said: Callable[[str, str], None], pause: Callable[[float], object]
    ) -> None:
        self._telegram, self._said, self._pause = telegram, said, pause
        self._in_group = False

    def do(self, line: str, person: Person = ALICE) -> None:
        """Follow the line, as this person. Raises WordError."""
        word, _, rest = line.strip().partition(" ")
        match word:
            case "as" if rest.partition(" ")[0] in PEOPLE and rest.partition(" ")[2].strip():
                name, _, rest = rest.partition(" ")
                self.do(rest, PEOPLE[name])
            case "send" if rest:
                self._send(person, rest)
            case "forward" if rest:
                self._said(person.first_name, f"(forwards from {BOB.first_name}) {rest}")
                self._telegram.say(person, rest, forward_origin=from_user(BOB))
            case "press" if rest:
                self._press(person, rest.strip())
            case "group" if rest:
                self._write(person, rest, FRIENDS)
            case _:
                self._write(person, line)

    def _write(self, person: Person, text: str, group: Group | None = None) -> None:
        """Send a text; a long one in several messages, as Telegram's apps do."""
        if group and not self._in_group:
            self._telegram.add_bot(group)
            self._in_group = True
        for number, part in enumerate(split(text, LONGEST_MESSAGE)):
            if number:
                self._pause(PART_SECONDS)
            self._said(f"{person.first_name} in {group.title}" if group else person.first_name, part)
            self._telegram.say(person, part, chat=group)

    def _send(self, person: Person, rest: str) -> None:
        names, _, caption = rest.partition(" -- ")
        try:
            files = [read(Path(name).expanduser()) for name in shlex.split(names)]
        except OSError as exc:
            raise WordError(f"That cannot be sent: {exc.filename}: {exc.strerror}.") from None
        except ValueError:  # quotation marks
            raise WordError("That cannot be sent: a quotation mark is not closed.") from None
        if not 1 <= len(files) <= MOST_FILES:
            raise WordError(f"Up to {MOST_FILES} files can be sent at once.")
        shown = ", ".join(name for _, name, _ in files)
        self._said(person.first_name, f"(sends {shown}) {caption}".rstrip())
        pictures: list[bytes | Document] = [data for data, _, _ in files if data.startswith(JPEG)]
        others: list[bytes | Document] = [file for file in files if not file[0].startswith(JPEG)]
        for album in filter(None, (pictures, others)):
            self._send_together(person, album, caption)
            caption = ""

    def _send_together(self, person: Person, items: list[bytes | Document], caption: str) -> None:
        item = items[0]
        if len(items) > 1:
            self._telegram.send_album(person, items, caption)
        elif isinstance(item, bytes):
            self._telegram.send_photo(person, item, caption)
        else:
            self._telegram.send_document(person, *item, caption)

    def _press(self, person: Person, which: str) -> None:
        if which == "stop":
            try:
                self._telegram.stop_generation(person)
            except ValueError:
                raise WordError("No answer with a Stop button is being written.") from None
            self._said(person.first_name, "(presses Stop)")
            return
        with_buttons = [sent for sent in self._telegram.messages(person.id) if sent.buttons and not sent.deleted]
        buttons = [button for sent in with_buttons[-1:] for row in sent.buttons for button in row]
        if not which.isdecimal() or not 1 <= int(which) <= len(buttons):
            raise WordError(f"There is no button {which}.")
        label, data = buttons[int(which) - 1]
        self._said(person.first_name, f"(presses {label})")
        self._telegram.press(person, with_buttons[-1].message_id, data)


def read(path: Path) -> Document:
    """Contents, name and media type of a file. Raises OSError."""
    mime = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return path.read_bytes(), path.name, mime
