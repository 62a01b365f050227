"""Markdown in Telegram: every piece fits, nothing is lost, and the entities are such as Telegram takes."""

from __future__ import annotations

import random
import time
from typing import Any

from lib.markdown import pieces, render
from lib.text import LONGEST, units

GRIN = "\U0001f600"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
FRAGMENTS = [
    *(
        "# Head\n",
        "## ",
        "###### six\n",
        "\n",
        "\n\n",
        "  ",
        "    ",
        "\t",
        "\\",
        "---\n",
        "***\n",
        "word ",
        "and more. ",
    ),
    *("**", "*", "_", "__", "~~", "~", "||", "`", "``", "```\n", "```python\n", "~~~ sh\n", "````\n", "~~~\n", "$"),
    *(
        "$$",
        "- ",
        "  - ",
        "      - ",
        "1. ",
        "12) ",
        "- [ ] ",
        "- [x] ",
        "> ",
        ">> ",
        "   > ",
        "|",
        "|---|\n",
        "x = 1\n",
    ),
    *("| a | b |\n|---|--:|\n| 1 | 2 |\n", "[text](https://e.org/a_(b)?q=1&r=*)", "[t](u)", "![alt](i.png)", "[r][x]"),
    *("[x]: /y\n", "[^1]: n\n", "<b>", "</b>", "<br>", "<div>\n", "<!-- c -->", "<https://e.org>", "&lt;", "&#0;", "<"),
    *(">", "<tg-spoiler>", "\\(x^2\\)", "\\[a=b\\]", GRIN, FAMILY, "🇩🇪", "е́", "\u200b", "\u200f", "שלום ", "مرحبا "),
    *("漢字", "ﷺ", "\x01", "\r\n", "\u2028", "0"),
]


def letters(text: str) -> str:
    return "".join(sign for sign in text if sign.isalnum())


def is_within(needle: str, hay: str) -> bool:
    signs = iter(hay)
    return all(sign in signs for sign in needle)


def check_entities(text: str, entities: list[dict[str, Any]]) -> None:
    """What Telegram asks of entities, counted in UTF-16."""
    edges, at = {0}, 0
    for sign in text:
        at += len(sign.encode("utf-16-le", "surrogatepass")) // 2
        edges.add(at)
    spans = [(entity["offset"], entity["offset"] + entity["length"]) for entity in entities]
    for first, last in spans:
        assert 0 <= first < last <= at
        assert {first, last} <= edges
    assert spans == sorted(spans, key=lambda span: (span[0], -span[1]))
    for number, (first, last) in enumerate(spans):
        assert not any(first < start < last < end for start, end in spans[number + 1 :])


def check(text: str, longest: int = LONGEST) -> list[str]:
    """The pieces, after everything that holds for every Markdown has been checked."""
    found = pieces(text, longest)
    for piece in found:
        assert piece.strip()
        assert units(piece) <= longest
        shown, entities = render(piece)
        assert shown.strip()
        assert units(shown) <= LONGEST
        check_entities(shown, entities)
    assert is_within(letters(text), letters("".join(found)))
    return found


def shown(text: str) -> str:
    return render(text)[0]


def kinds(text: str) -> list[tuple[str, str]]:
    """What each entity is, and what it covers."""
    told, entities = render(text)
    data = told.encode("utf-16-le")
    return [
        (one["type"], data[2 * one["offset"] : 2 * (one["offset"] + one["length"])].decode("utf-16-le"))
        for one in entities
    ]


def test_whatever_is_written_can_be_shown_and_is_whole():
    """Seeded, so that a failure comes again."""
    chance = random.Random(7)
    for number in range(2500):
        text = "".join(chance.choices(FRAGMENTS, k=chance.randint(1, 40)))
        if number % 25 == 0:
            text *= chance.randint(2, 40)
        check(text, LONGEST if number % 3 else chance.randint(20, 300))


if __name__ == "__main__":
    t = time.time()
    test_whatever_is_written_can_be_shown_and_is_whole()
    print(time.time() - t)
