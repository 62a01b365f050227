"""What people sent beside their words: fetched from Telegram, checked, and made fit for Claude.

Telegram keeps the files; here they are kept in memory for a while, because Claude is shown the same ones turn after
turn.
"""

from __future__ import annotations

import codecs
import re
import struct
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from lib.claude import Unavailable
from lib.files import File
from lib.history import Turn
from lib.telegram import FETCH_SECONDS, MOST_BYTES, Refused, Telegram, TelegramError, TooLarge
from lib.text import storable

CACHE_BYTES = 32 * 1024 * 1024
# A request may have 32 MB, in base64 and with all the words. With more than 20 pictures Claude takes none wider or
# higher than 2000 pixels, else 8000 (Anthropic's documentation, "Vision").
MOST_FILES, MOST_REQUEST_BYTES, MOST_PIXELS = 20, 22_000_000, 8000
# Of what came with earlier messages so much is shown again. More goes in steps: from turn to turn the prompt should
# begin as it did, for Claude's prompt cache.
EARLIER_FILES, EARLIER_BYTES, EARLIER_STEP = 10, 20_000_000, 5  # people ask again about the largest PDF, too
WITHIN_SECONDS = 60.0  # for all files of a request
NO_LONGER = {
    "image": "[A picture that is no longer shown]",
    "pdf": "[A PDF that is no longer shown{name}]",
    "text": "[A text file that is no longer shown{name}]",
}


class Cache:
    """Contents by file id, up to so many bytes; the longest unused go first."""

    def __init__(self, most: int = CACHE_BYTES) -> None:
        self._most, self._size = most, 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def get(self, file_id: str) -> bytes | None:
        if file_id in self._kept:
            self._kept.move_to_end(file_id)
        return self._kept.get(file_id)

    def put(self, file_id: str, data: bytes) -> None:
        self._size += len(data) - len(self._kept.pop(file_id, b""))
        self._kept[file_id] = data
        while self._size > self._most:
            self._size -= len(self._kept.popitem(last=False)[1])


def attach(telegram: Telegram, turns: Sequence[Turn], cache: Cache) -> list[Turn]:
    """The turns as Claude can be shown them: pictures and PDFs with their contents, text files as part of the words,
    and a line for each file of an earlier turn that is no longer shown. The last turn is the one to be answered.

    Takes up to about WITHIN_SECONDS; may be interrupted anywhere. Raises Unavailable when a file of the last turn is
    not to be had: file_gone, file_unreachable, file_too_large, file_damaged, too_many_files.
    """
    end = time.monotonic() + WITHIN_SECONDS
    last = turns[-1]
    if len(last.files) > MOST_FILES:
        raise Unavailable("too_many_files", f"{len(last.files)} files")
    files = fetch(telegram, last.files, cache, end)
    size = sum(len(file.data or b"") for file in files)
    if size > MOST_REQUEST_BYTES:
        raise Unavailable("file_too_large", "all files together")
    earlier = [file for turn in turns[:-1] for file in turn.files]
    most, room = min(EARLIER_FILES, MOST_FILES - len(files)), min(EARLIER_BYTES, MOST_REQUEST_BYTES - size)
    left_out = len(earlier) - len(shown_again(earlier, most, room))
    shown: list[Turn] = []
    for turn in turns[:-1]:
        out, left_out = min(left_out, len(turn.files)), left_out - min(left_out, len(turn.files))
        found: list[File] = list(turn.files[:out])  # without contents: no longer shown
        for file in turn.files[out:]:
            try:
                found += fetch(telegram, [file], cache, end)
            except Unavailable as exc:
                found.append(file)
                if exc.kind == "file_unreachable":  # nor will the next ones be had in time
                    end = 0.0
        shown.append(_composed(turn, found))
    return [*shown, _composed(last, files)]


def shown_again(earlier: Sequence[File], most: int, room: int) -> Sequence[File]:
    """The newest of these, in steps: up to `most` files of `room` bytes."""
    out = 0
    while len(earlier) - out > most or sum(file.size for file in earlier[out:]) > room:
        out += EARLIER_STEP
    return earlier[out:]


def without_earlier(turns: Sequence[Turn]) -> list[Turn]:
    """What attach() gave, with a line instead of each file of an earlier turn."""
    return [*(_composed(turn, [replace(file, data=None) for file in turn.files]) for turn in turns[:-1]), turns[-1]]


def fetch(telegram: Telegram, files: Sequence[File], cache: Cache, end: float) -> list[File]:
    """The files with their contents and true media types. Raises Unavailable; so too when one is not there by `end`."""
    return [_checked(replace(file, data=_data(telegram, file, cache, end))) for file in files]


def _data(telegram: Telegram, file: File, cache: Cache, end: float) -> bytes:
    kept = cache.get(file.file_id)
    if kept is not None:
        return kept
    left = end - time.monotonic()
    if left <= 0:
        raise Unavailable("file_unreachable", "no time is left")
    try:
        data = telegram.fetch(file, MOST_BYTES[file.kind], min(left, FETCH_SECONDS))
    except TooLarge as exc:
        raise Unavailable("file_too_large", str(exc)) from None
    except Refused as exc:
        raise Unavailable("file_gone", str(exc)) from None
    except TelegramError as exc:
        raise Unavailable("file_unreachable", str(exc)) from None
    cache.put(file.file_id, data)
    return data


def _checked(file: File) -> File:
    """The file with the media type that its contents have: Claude refuses a picture that is called something else."""
    data = file.data or b""
    if file.kind == "image":
        media_type, width, height = picture(data)
        if not media_type:
            raise Unavailable("file_damaged", "not a picture")
        if max(width, height) > MOST_PIXELS:
            raise Unavailable("file_too_large", f"{width} x {height} pixels")
        return replace(file, media_type=media_type)
    # Readers look for the mark anywhere in the first kilobyte, Claude at the very beginning.
    if file.kind == "pdf" and not data.startswith(b"%PDF-"):
        begin = data.find(b"%PDF-", 0, 1024)
        if begin < 0:
            raise Unavailable("file_damaged", "not a PDF")
        return replace(file, data=data[begin:])
    return file


def picture(data: bytes) -> tuple[str, int, int]:
    """The media type of a picture by its first bytes, with its width and height where they are easily told, else 0."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        return "image/png", *struct.unpack(">II", data[16:24])
    if data[:6] in (b"GIF87a", b"GIF89a") and len(data) >= 10:
        return "image/gif", *struct.unpack("<HH", data[6:10])
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp", 0, 0
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg", *_jpeg_size(data)
    return "", 0, 0


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height of a JPEG: they stand in the frame header, behind segments of any length."""
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        mark = data[at + 1]
        if 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 1 if mark == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0, 0


def _composed(turn: Turn, files: Sequence[File]) -> Turn:
    """The turn with only those files that go beside the words; the others become part of them."""
    beside = tuple(file for file in files if file.data is not None and file.kind != "text")
    said = [as_text(file) for file in files if file not in beside]
    return replace(turn, body="\n\n".join(filter(None, [*said, turn.body])), files=beside)


def as_text(file: File) -> str:
    """A text file within a frame that names it, or a line for a file that is no longer shown."""
    if file.data is None:
        return NO_LONGER[file.kind].format(name=f": {file.name}" if file.name else "")
    name = file.name.replace('"', "'") or "file"
    text = decoded(file.data).replace("[The text file", "(The text file")  # or it could end its own frame
    return f'[The text file "{name}" begins]\n{text}\n[The text file "{name}" ends]'


def decoded(data: bytes) -> str:
    """A text file as text. Which encoding it has it seldom says: UTF-8, unless much of it fails; then what is most used
    in Windows for Cyrillic, or for Latin letters."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return storable(data.decode(encoding, "replace").removeprefix("\ufeff"))
    text = data.decode("utf-8", "replace")
    if text.count("\ufffd") * 10 <= sum(sign > "\x7f" for sign in text):  # a bad byte or two, such as at a cut
        return storable(text)
    # Cyrillic letters stand side by side, accented Latin ones mostly alone.
    side_by_side = sum(map(len, re.findall(rb"[\xc0-\xff]{3,}", data)))
    cyrillic = side_by_side * 2 > sum(byte > 0xBF for byte in data)
    return storable(data.decode("cp1251" if cyrillic else "cp1252", "replace"))
