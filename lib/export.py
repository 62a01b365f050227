"""A person's own history as files to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from zoneinfo import ZoneInfo

from lib.history import Line
from lib.sentences import Sentences

LONGEST_FILE = 20_000_000  # bytes


def files(
    lines: Sequence[Line],
    user_id: int,
    groups: Mapping[int, str],
    say: Sentences,
    zone: ZoneInfo,
    name: str,
    longest: int = LONGEST_FILE,
) -> list[tuple[str, str]]:
    """Name and text of each file, in Markdown, none with more than `longest` bytes unless one line has.

    `groups` are names of groups by id; `name` is that of the file without its ending.
    """
    texts: list[list[str]] = [[]]
    size = 0
    for piece in _pieces(lines, user_id, groups, say, zone):
        length = len(piece.encode("utf-8", "replace"))
        if texts[-1] and size + length > longest:
            texts.append([])
            size = 0
        texts[-1].append(piece)
        size += length
    if len(texts) == 1:
        return [(f"{name}.md", "".join(texts[0]))]
    return [(f"{name}-{number}.md", "".join(text)) for number, text in enumerate(texts, 1)]


def _pieces(
    lines: Sequence[Line], user_id: int, groups: Mapping[int, str], say: Sentences, zone: ZoneInfo
) -> Iterator[str]:
    """A head, then conversation after conversation, line after line."""
    yield f"# {say.EXPORT_HEAD}\n\n{say.EXPORT_ZONE.format(zone=zone)}\n"
    before: tuple[int, int] | None = None
    for line in lines:
        if (line.chat_id, line.conversation) != before:
            before = (line.chat_id, line.conversation)
            head = say.EXPORT_CONVERSATION.format(number=line.conversation + 1)
            if line.chat_id != user_id:
                head += f" ({groups.get(line.chat_id) or line.chat_id})"
            yield f"\n## {head}\n"
        who = say.EXPORT_YOU if line.role == "user" else "Steward"
        yield f"\n**{who}, {line.at.astimezone(zone):%Y-%m-%d %H:%M}**\n\n{line.body}\n"
