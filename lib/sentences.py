"""Steward's own sentences in Telegram, in the language of whoever reads them: one file for each language."""

from __future__ import annotations

from lib.english import English
from lib.russian import Russian

CODES = ("", "ru")  # whoever speaks neither of these is spoken to as ""
Sentences = English  # every language says all that English says


def of(language: str) -> Sentences:
    """The sentences for a Telegram language code, such as "ru" or "pt-BR"; English where there are none, or for ""."""
    return Russian() if language.lower().split("-")[0] == "ru" else English()
