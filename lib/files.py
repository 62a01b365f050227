"""Files that people send and Claude can read: what is kept of them, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class File:
    """A file on Telegram's servers. `kind` is image, pdf or text."""

    file_id: str
    kind: str
    media_type: str  # as Claude wants it, such as image/jpeg
    name: str = ""
    size: int = 0  # bytes, as Telegram says
    data: bytes | None = None  # its contents, once fetched; never kept


def described(files: Sequence[File]) -> str:
    """What stands for the words of a message that came without any, such as "[picture] [document: report.pdf]"."""
    return " ".join(
        f"[{'picture' if one.kind == 'image' else 'document'}{': ' if one.name else ''}{one.name}]" for one in files
    )


def dump(files: Sequence[File]) -> list[dict[str, Any]] | None:
    """As JSON can hold them, for the tables inbox and history; None when there are none."""
    return [
        {"file_id": one.file_id, "kind": one.kind, "media_type": one.media_type, "name": one.name, "size": one.size}
        for one in files
    ] or None


def load(kept: list[dict[str, Any]] | None) -> tuple[File, ...]:
    return tuple(File(**one) for one in kept or ())
