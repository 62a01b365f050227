"""Markdown in Telegram: every piece fits, nothing is lost, and the entities are such as Telegram takes."""

from __future__ import annotations

import time
from typing import Any

import pytest
from telegramify_markdown import MessageEntity

from lib import markdown
from lib.markdown import pieces, render
from lib.text import LONGEST, split, units

GRIN = "\U0001f600"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


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


def test_half_an_emoji_is_sent_as_it_is():
    assert render("\ud83d **x**") == ("\ud83d **x**", [])
    assert pieces("\ud83d **x** " * 600, 4000) == split("\ud83d **x** " * 600)


@pytest.mark.parametrize("error", [ValueError("no"), type("PanicException", (BaseException,), {})()])
def test_whatever_goes_wrong_inside_the_library_the_text_itself_is_shown(error, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(markdown, "convert", fail)
    assert render("**x**") == ("**x**", [])
    assert pieces("**x**") == ["**x**"]


def test_entities_out_of_range_or_crossing_are_left_out(monkeypatch):
    wrong = [(0, 3), (2, 3), (1, 1), (4, 50), (99, 1), (3, 0)]
    entities = [MessageEntity("bold", offset, length) for offset, length in wrong]
    monkeypatch.setattr(markdown, "convert", lambda *_, **__: (f"a{GRIN}b cd", entities))
    text, kept = render("x")
    check_entities(text, kept)
    assert [(one["offset"], one["length"]) for one in kept] == [(0, 3), (4, 3)]


def test_formatting_is_shown_and_its_marks_are_not():
    assert kinds("**bold** _it_ ~~gone~~ `x<y` [l](https://e.org/a_(b))") == [
        *[("bold", "bold"), ("italic", "it"), ("strikethrough", "gone"), ("code", "x<y"), ("text_link", "l")],
    ]


@pytest.mark.parametrize("word", ["", "python", "c++", "objective-c"])
def test_a_code_block_keeps_its_language(word):
    _, [entity] = render(f"~~~ {word} linenos\nx = 1\n~~~" if word else "```\nx = 1\n```")
    assert (entity["type"], entity.get("language", "")) == ("pre", word)


def test_a_fence_inside_a_longer_fence_is_text():
    assert kinds("````md\n```py\nx\n```\n````") == [("pre", "```py\nx\n```")]


def test_code_in_a_list_stands_on_lines_of_its_own():
    assert shown("1. Install:\n   ```bash\n   pip\n   ```\n2. Run\n\n   ```\n   go\n   ```\n\n   Then") == (
        "1. Install:\npip\n2. Run\n\ngo\nThen"
    )


def test_lists_and_tasks_read_well():
    assert shown("- a\n  - b\n    1. c\n- [ ] to do\n- [x] done") == "• a\n  • b\n    1. c\n☐ to do\n☑ done"


def test_headings_carry_no_emoji():
    assert shown("# One\n\n### Three\n\ntext") == "One\n\nThree\n\ntext"


@pytest.mark.parametrize("html", ["<b>5</b>", "<script>", "a <!-- c --> b", "<div>\n<p>x</p>\n</div>", "<tg-spoiler>x"])
def test_html_is_shown_as_it_was_written(html):
    assert shown(html) == html
    assert kinds(f"`{html}`")[0][0] == "code"


def test_a_line_break_of_html_is_one():
    assert shown("one<br>two<br/>\nthree") == "one\ntwo\nthree"


@pytest.mark.parametrize(
    "text",
    [
        "a || b || c",
        "$5 and $6, $5/$10",
        "$HOME/bin and $PATH:",
        "5 < 6 > 4",
        "[x] \\[x\\]",
        "**half",
        "`half",
        "[half](htt",
    ],
)
def test_what_is_no_markdown_stays(text):
    assert render(text) == (text.replace("\\", ""), [])


def test_formulas_are_code_but_code_is_no_formula():
    assert kinds(r"\(E = mc^2\) and `\(foo\|bar\)`") == [("code", "E = mc²"), ("code", r"\(foo\|bar\)")]


def test_a_half_written_block_of_code_is_code():
    assert kinds("```python\nx = 1") == [("pre", "x = 1")]


def test_links_that_telegram_would_not_open_stand_behind_their_words():
    assert (
        shown("[a](/b) and [c](javascript:d) and [e](mailto:e) and [f]()") == "a (/b) and c (javascript:d) and e and f"
    )
    assert kinds("[a](/b) [c](tg://user?id=1)") == [("text_link", "c")]


def test_notes_that_no_link_uses_are_shown():
    assert shown("text[^1]\n\n[^1]: note\n[b]: http://b.org") == "text[^1]\n\n[^1]: note\n[b]: http://b.org"
    assert kinds("[text][a]\n\n[a]: http://a.org") == [("text_link", "text")]


def test_a_narrow_table_stands_in_columns():
    assert kinds("| Name | Qty |\n|---|--:|\n| **Kiwi** | 3 |\n| 名前 | 12 |\n\nafter") == [
        ("pre", "Name  Qty\n─────────\nKiwi    3\n名前   12")
    ]


def test_a_wide_table_is_a_paragraph_for_each_row():
    table = "| Plan | For | Price |\n|---|---|---|\n| Basic | *small* teams, at the beginning | $5 |\n| Pro | all | |"
    assert shown(table) == "Plan: Basic\nFor: small teams, at the beginning\nPrice: $5\n\nPlan: Pro\nFor: all"
    assert kinds(table) == [("bold", "Plan: Basic"), ("italic", "small"), ("bold", "Plan: Pro")]


def test_a_column_in_which_nothing_stands_yet_keeps_its_head():
    table = "| What is to be done | Who does it | Signed |\n|---|---|---|\n| The washing-up | Bob | |\n| Shopping | | |"
    assert shown(table) == (
        "What is to be done: The washing-up\nWho does it: Bob\nSigned:\n\nWhat is to be done: Shopping\nSigned:"
    )


def test_a_table_in_a_quote_stays_in_it():
    quoted = "a  b\n────\n1  2"
    assert kinds("> | a | b |\n> |--|--|\n> | 1 | 2 |\n>\n> text") == [
        ("blockquote", f"{quoted}\n\ntext"),
        ("pre", quoted),
    ]


def test_text_from_right_to_left_and_emoji_are_counted_in_utf_16():
    assert kinds(f"שלום **עולם** {FAMILY * 5} **{GRIN}** `{GRIN}x`") == [
        ("bold", "עולם"),
        ("bold", GRIN),
        ("code", f"{GRIN}x"),
    ]


def test_a_short_text_is_one_piece_and_a_blank_one_none():
    assert pieces("Hello **you**\n") == ["Hello **you**"]
    assert pieces(" \n\n\t") == []


def test_a_cut_falls_between_paragraphs_and_outside_of_code():
    code = "```py\n" + "x = 1\n" * 300 + "```"
    text = "\n\n".join(["First. " * 200, "Second. " * 200, code, "Third. " * 100])
    first, second = check(text)
    assert first.endswith("Second.")
    assert second.startswith("```py\n")


@pytest.mark.parametrize(
    ("fence", "margin"), [("```", ""), ("````", ""), ("~~~", ""), ("```", "   "), ("```", "      ")]
)
def test_code_that_must_be_cut_is_closed_and_goes_on_in_its_language(fence, margin):
    before = "- a\n\n" if margin else ""
    before = "- a\n  - b\n    - c\n\n" if len(margin) == 6 else before
    lines = "".join(f"{margin}call({number})\n" for number in range(900))
    found = check(f"{before}{margin}{fence}python\n{lines}{margin}{fence}\n\nThe end.")
    assert len(found) >= 3
    blocks = [entity for piece in found for entity in render(piece)[1] if entity["type"] == "pre"]
    assert len(blocks) == len(found)
    assert {block["language"] for block in blocks} == {"python"}
    code = "\n".join(covered for piece in found for kind, covered in kinds(piece) if kind == "pre")
    assert code.split() == [f"call({number})" for number in range(900)]


def test_the_end_of_a_code_block_alone_is_no_piece():
    for lines in range(660, 670):
        for piece in check("```\n" + "12345\n" * lines + "```"):
            assert "12345" in piece


def test_a_table_that_is_cut_gets_its_head_again():
    found = check("| Name | Number |\n|---|---|\n" + "".join(f"| row | {number} |\n" for number in range(500)))
    assert len(found) > 1
    assert all(shown(piece).startswith("Name") for piece in found)


def test_a_list_that_is_cut_stays_a_list():
    found = check("- a\n  - b\n" + "    - deep, and some words more\n" * 300)
    assert len(found) > 1
    assert not [entity for piece in found for entity in render(piece)[1]]


@pytest.mark.parametrize(
    "text", ["x" * 100_000, GRIN * 50_000, "*a* " * 3_000, "> " * 6_000, "- a\n" * 5_000, "<a>" * 4_000]
)
def test_long_and_monotonous_texts_take_no_minutes(text):
    began = time.monotonic()
    assert check(text)
    assert time.monotonic() - began < 20


def test_a_hundred_kilobytes_of_an_answer_are_cut_in_a_second():
    text = "# Head\n\nSome **bold** text with `code`.\n\n- one\n- two\n\n```py\nx = 1\n```\n\n" * 1400
    began = time.monotonic()
    assert len(pieces(text)) < 40
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        ("| 1 | 2 | 3 | 4 |", "1  2 | 3 | 4"),
        ("| `a || b` | or |", "a || b  or"),
        ("| `a \\| b` | `c|d` |", "a | b  c|d"),
        ("| 1 | 2 |  |", "1  2"),
    ],
)
def test_no_cell_of_a_table_is_lost(row: str, shown: str) -> None:
    text, _ = render(f"| x | y |\n|---|---|\n{row}\n")
    assert text.split("\n")[-1] == shown


def test_a_narrow_table_with_links_keeps_them() -> None:
    text, entities = render("| x | y |\n|---|---|\n| 1 | [manual](https://e.org/m) |\n| 2 | <https://e.org> |\n")
    assert "manual" in text
    assert next(entity["url"] for entity in entities if entity["type"] == "text_link") == "https://e.org/m"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("1. B\n2. C\n5. A\n", "1. B\n2. C\n5. A"),
        ("3) three\n7) seven\n", "3) three\n7) seven"),
        ("- x\n  1. a\n  4. b\n- y\n", "• x\n1. a\n4. b\n• y"),
        ("1. a\n1. b\n1. c\n", "1. a\n2. b\n3. c"),
        ("7. a\n8. b\n", "7. a\n8. b"),
    ],
)
def test_a_list_keeps_the_numbers_it_was_given(written: str, shown: str) -> None:
    assert render(written)[0] == shown


def test_of_too_many_entities_the_links_are_kept() -> None:
    _, entities = render("**b** " * 120 + "[manual](https://e.org)")
    assert len(entities) == markdown.MOST_ENTITIES
    assert entities[-1]["url"] == "https://e.org"
