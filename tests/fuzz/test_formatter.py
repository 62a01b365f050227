"""Markdown from Claude: every piece fits, shows all of its words, and has entities such as Telegram takes."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from demo.telegram_checks import Params, read_text, settle
from lib.markdown import MOST_ENTITIES, pieces, render
from lib.text import LONGEST
from tests.fuzz.material import SIGNS, any_texts, letters
from tests.test_markdown import check

# Every construct of Markdown, whole, half and broken.
FRAGMENTS = [
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
    "and ",
]
FRAGMENTS += ["**", "*", "_", "__", "~~", "~", "||", "`", "``", "```\n", "```python\n", "~~~ sh\n", "````\n", "~~~\n"]
FRAGMENTS += ["$", "$$", "\\(x^2\\)", "\\[a=b\\]", "- ", "  - ", "      - ", "1. ", "12) ", "- [ ] ", "- [x] ", "> "]
FRAGMENTS += [">> ", "   > ", "|", "|---|\n", "| a | b |\n|---|--:|\n| 1 | 2 |\n", "x = 1\n", "0", ". ", "[^1]: n\n"]
FRAGMENTS += ["[text](https://e.org/a_(b)?q=1&r=*)", "[t](u)", "![alt](i.png)", "[r][x]", "[x]: /y\n", "[", "](", ")"]
FRAGMENTS += ["<b>", "</b>", "<br>", "<div>\n", "<!-- c -->", "<https://e.org>", "<tg-spoiler>", "&lt;", "&#0;", "<"]
FRAGMENTS += [">", "\u200b", "\u200f", "ﷺ", "\x01", "\r\n", "\u2028", *SIGNS]

fragments = st.sampled_from(FRAGMENTS) | st.text(letters, max_size=5)
markdown = (st.lists(fragments, max_size=6) | st.lists(fragments, min_size=12, max_size=40)).map("".join)
long_markdown = st.builds(lambda text, times: text * times, markdown, st.sampled_from([1, 1, 1, 2, 10, 40]))
narrow = st.integers(20, 300) | st.just(LONGEST)


def is_taken(text: str, entities: list[dict[str, Any]]) -> None:
    """What the simulated Telegram makes of a message; it raises what the real one would refuse."""
    assert len(entities) <= MOST_ENTITIES
    settled, kept = settle(*read_text(Params(text=text, entities=json.dumps(entities))))
    assert settled.strip() == text.strip()
    assert len(kept) == len(entities), "one covered nothing but space"


@given(long_markdown | st.text(letters), narrow)
def test_every_piece_fits_is_whole_and_is_taken_by_telegram(text: str, longest: int):
    for piece in check(text, longest):
        is_taken(*render(piece))


@given(st.lists(markdown, max_size=6), narrow)
def test_a_paragraph_of_plain_words_is_shown_whatever_stands_around_it(around: list[str], longest: int):
    words = [f"word{number}x" for number in range(len(around))]
    text = "".join(f"{one}\n\n{word}\n\n" for one, word in zip(around, words, strict=True))
    shown = " ".join(render(piece)[0] for piece in pieces(text, longest))
    assert [word for word in words if word not in shown] == []


# Without what can hide a word: the address of a link, the language of a code block.
OPEN = [one for one in FRAGMENTS if one not in ("[", "](", ")", "[r][x]", "[x]: /y\n", "[^1]: n\n")]
with_words = st.lists(st.sampled_from([*OPEN, "{}", " {} "]), min_size=1, max_size=30)


@given(with_words)
@example(["# Head\n", "{}", "|", "{}", "\n|---|---|\n", "**"])
def test_a_word_is_shown_wherever_it_stands(around: list[str]):
    parts = [one.replace("{}", f"word{number}x") for number, one in enumerate(around)]
    text = "".join(parts)
    assume(not re.search("(```|~~~).*word", text))
    shown = "".join("".join(render(piece)[0] for piece in pieces(text)).split())
    assert [one.strip() for one in parts if one.strip().startswith("word") and one.strip() not in shown] == []


@given(any_texts, narrow)
def test_half_emoji_and_all_else_that_is_no_text_stop_nothing(text: str, longest: int):
    check(text, longest)
