"""Texts: their length as Telegram counts it, where to cut a long one, and what can be kept of them."""

from __future__ import annotations

import unicodedata

# Telegram allows 4096 UTF-16 units; the difference leaves room for the mark of a repeated part.
LONGEST = 4000

# Where a cut hurts least, best first: between paragraphs, lines, sentences, words.
SEAMS = ("\n\n", "\n", ". ", "! ", "? ", "。", " ")

FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))


def units(text: str) -> int:
    """The length as Telegram counts it: UTF-16 units, so an emoji is two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def storable(text: str) -> str:
    """The text as PostgreSQL can keep it and UTF-8 can write it: without NUL, and half an emoji as a question mark."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def split(text: str, longest: int = LONGEST) -> list[str]:
    """The text as parts of 1 to `longest` UTF-16 units. No part is blank; a blank text gives no part."""
    parts: list[str] = []
    rest = text.strip("\n")
    while units(rest) > longest:
        start = head(rest, longest)
        cut = _seam(start)
        parts.append(start[:cut].rstrip())
        rest = rest[cut:].lstrip("\n") if cut < len(start) else rest[cut:]
    parts.append(rest.rstrip())
    return [part for part in parts if part.strip()]


def head(text: str, longest: int) -> str:
    """As many whole characters as fit into `longest` units, not ending inside a joined emoji or before an accent."""
    start = text[:longest]
    while (over := units(start) - longest) > 0:
        start = start[: len(start) - max(1, over // 2)]
    for length in range(len(start), max(len(start) - 20, 1), -1):
        if not _joined(text, length):
            return start[:length]
    return start


def _joined(text: str, at: int) -> bool:
    """Whether the characters around `at` belong to one sign: zero-width joiner, skin tone, the letters of a flag,
    and all marks: accents, vowel signs, variations, keycaps."""
    if at >= len(text):
        return False
    after = ord(text[at])
    if 0x1F1E6 <= after <= 0x1F1FF:  # a flag is two letters: an odd number of them before `at` means inside one
        return (at - len(text[:at].rstrip(FLAG_LETTERS))) % 2 == 1
    return (
        text[at - 1] == "\u200d"
        or after == 0x200D
        or unicodedata.category(text[at]).startswith("M")
        or 0x1F3FB <= after <= 0x1F3FF
        or 0xE0020 <= after <= 0xE007F  # England's flag is a black one with the letters gbeng behind it
    )


def _seam(start: str) -> int:
    """Where to cut: behind the last good seam in the second half, else at the very end."""
    for seam in SEAMS:
        at = start.rfind(seam, len(start) // 2)
        if at > 0 and not _joined(start, at + len(seam)):
            return at + len(seam)
    return len(start)
