"""Cutting a long text: every part fits into a message, and only whitespace at the seams is lost."""

from __future__ import annotations

import time

import pytest

from lib.text import LONGEST, split, units

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
WAVE = "\U0001f44b\U0001f3fd"
GRIN = "\U0001f600"


def bare(text: str) -> str:
    return "".join(text.split())


def check(text: str, longest: int = LONGEST) -> list[str]:
    """The parts, after everything that holds for every text has been checked."""
    parts = split(text, longest)
    rest = text
    for part in parts:
        assert 1 <= units(part) <= longest
        assert part.strip()
        at = rest.index(part)
        assert not rest[:at].strip(), "something else than whitespace was lost at a seam"
        rest = rest[at + len(part) :]
    assert not rest.strip(), "the end was lost"
    return parts


def test_units_are_those_of_utf_16():
    assert [units(text) for text in ("", "a", "ж", "ß", "€", "\u2028", GRIN, FAMILY)] == [0, 1, 1, 1, 1, 1, 2, 11]


def test_half_an_emoji_counts_as_one_unit():
    assert units("\ud83d") == 1


@pytest.mark.parametrize(("length", "parts"), [(1, [1]), (3999, [3999]), (4000, [4000]), (4001, [4000, 1])])
def test_the_limit_is_4000_units_and_not_one_more(length, parts):
    assert [units(part) for part in check("x" * length)] == parts


@pytest.mark.parametrize("length", [4095, 4096, 4097])
def test_a_message_of_telegrams_own_limit_is_cut_because_the_repeat_mark_needs_room(length):
    assert [units(part) for part in check("x" * length)] == [4000, length - 4000]


def test_2000_emoji_are_one_message_and_2001_are_two():
    assert len(check(GRIN * 2000)) == 1
    assert check(GRIN * 2001) == [GRIN * 2000, GRIN]


def test_an_emoji_that_does_not_fit_any_more_moves_over_whole():
    assert check("x" * 3999 + GRIN) == ["x" * 3999, GRIN]


@pytest.mark.parametrize("text", ["", " ", "\n", "\n" * 10_000, " \n\t\r\n " * 3000, "\u2028\u00a0" * 5000])
def test_a_blank_text_gives_no_part(text):
    assert split(text) == []


def test_a_short_text_stays_as_it_is():
    assert split("Hello,\n\n  * one\n  * two") == ["Hello,\n\n  * one\n  * two"]


def test_the_indentation_of_the_first_line_stays():
    assert split("\n    code") == ["    code"]


def test_the_indentation_behind_a_cut_between_lines_stays():
    first, second = check("x" * 3000 + "\n" + "    code\n" * 300)
    assert first.endswith("code")
    assert second.startswith("    code")


@pytest.mark.parametrize(
    ("seam", "first_ends", "second_starts"),
    [
        ("\n\n", "end", "Start"),
        ("\n", "end", "Start"),
        (". ", "end.", "Start"),
        ("! ", "end!", "Start"),
        ("? ", "end?", "Start"),
        ("。", "end。", "Start"),
        (" ", "end", "Start"),
    ],
)
def test_the_cut_is_where_it_hurts_least(seam, first_ends, second_starts):
    first, second = check("x" * 3000 + "end" + seam + "Start" + "y" * 3000)
    assert first.endswith(first_ends)
    assert second.startswith(second_starts)


def test_a_paragraph_is_a_better_seam_than_a_later_sentence():
    first, *_ = check("x" * 2500 + "\n\n" + "A sentence. " * 500)
    assert first == "x" * 2500


def test_a_seam_in_the_first_half_is_not_taken_since_messages_would_become_tiny():
    first, _ = check("short\n\n" + "x" * 5000)
    assert units(first) == 4000


def test_a_word_longer_than_several_messages_is_cut_anywhere():
    assert [units(part) for part in check("x" * 10_000)] == [4000, 4000, 2000]


def test_more_whitespace_than_a_message_holds_is_no_part_of_its_own():
    parts = check("a" + " " * 20_000 + "b" + "\n" * 20_000 + "c")
    assert bare("".join(parts)) == "abc"


@pytest.mark.parametrize("sign", [FAMILY, WAVE, "\u2764\ufe0f", "1\ufe0f\u20e3", "e\u0301", "\u0443\u0306"])
@pytest.mark.parametrize("shift", range(12))
def test_a_sign_of_several_characters_is_never_cut(sign, shift):
    parts = check("x" * shift + sign * 2500)
    assert len(parts) > 1
    for part in parts:
        assert part.lstrip("x") == sign * (len(part.lstrip("x")) // len(sign))


@pytest.mark.parametrize("shift", range(4))
def test_a_flag_is_never_cut_into_two_letters_that_turn_the_next_flags_into_others(shift):
    flag = "\U0001f1e9\U0001f1ea"
    parts = check("x" * shift + flag * 2500)
    assert len(parts) > 1
    for part in parts:
        assert part.lstrip("x") == flag * (len(part.lstrip("x")) // 2)


def test_a_flag_of_letters_that_nobody_sees_is_not_cut_off_from_them():
    england = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
    assert check(f"{FAMILY[:5]} {england}", 16) == [FAMILY[:5], england]


def test_no_cut_is_behind_a_space_that_carries_an_accent():
    assert check("a" * 10 + " \u0301" + "c" * 20, 20) == ["a" * 10 + " \u0301" + "c" * 8, "c" * 12]


@pytest.mark.parametrize("text", ["\u200d" * 100_000, "e" + "\u0301" * 100_000, "\ufe0f" * 50_000])
def test_joiners_and_accents_without_end_are_cut_all_the_same(text):
    assert len(check(text)) == len(text) // 4000 + (len(text) % 4000 > 0)


def test_text_from_right_to_left_keeps_its_order():
    words = ["שלום", "مرحبا", "\u202bעברית\u202c", "ا\u0650ل"] * 2000
    parts = check(" ".join(words))
    assert len(parts) > 5
    assert " ".join(parts).split() == words


@pytest.mark.parametrize(
    "unit",
    ["x", " ", "\n", GRIN, FAMILY, "\u200d", "e\u0301", "word and more. ", "\n\nx", "a\n", "\U0001f1e9\U0001f1ea"],
)
def test_100_kilobytes_of_anything_take_well_under_a_second(unit):
    text = unit * (100_000 // len(unit.encode()))
    began = time.perf_counter()
    split(text)
    assert time.perf_counter() - began < 0.5


def test_a_megabyte_takes_no_more_than_linear_patience():
    began = time.perf_counter()
    check("Sentence with words. " * 50_000)
    assert time.perf_counter() - began < 2


def test_half_emoji_from_a_broken_source_do_not_stop_the_cut():
    assert [units(part) for part in split("\ud83d" * 5000)] == [4000, 1000]


@pytest.mark.parametrize("text", [GRIN, GRIN * 3, f"a{GRIN}b", FAMILY, "e\u0301" * 3, f" {GRIN} "])
def test_the_narrowest_message_is_two_units_which_every_character_fits_into(text):
    assert bare("".join(check(text, 2))) == bare(text)
