"""Long texts: nothing but whitespace is lost at a cut, every part fits, and no sign is cut in two."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from lib.text import head, split, storable, units
from tests.fuzz.material import SIGNS, any_texts, letters
from tests.test_text import check

narrow = st.integers(2, 80) | st.just(4000)
# Of every sign a few, between seams of every kind.
SEAMS = [" ", "\n", "\n\n", ". ", "! ", "? ", "。", "\t", "\u00a0", "\r\n", "      "]
some = st.sampled_from(SIGNS + SEAMS) | letters
signs = (st.lists(some, max_size=9) | st.lists(some, min_size=40, max_size=120)).map("".join)
long = st.builds(lambda text, times: text * times, signs, st.sampled_from([1, 1, 2, 30, 500]))


@given(long | any_texts, narrow)
def test_nothing_but_whitespace_is_lost_and_every_part_fits(text: str, longest: int):
    check(text, longest)


@given(st.lists(st.sampled_from(SIGNS + SEAMS), min_size=5, max_size=120), st.integers(16, 80))
def test_no_sign_of_several_characters_is_cut(pieces: list[str], longest: int):
    parts = split("".join(pieces), longest)
    for sign in SIGNS:
        assert sum(part.count(sign) for part in parts) == "".join(pieces).count(sign)


@given(any_texts, st.integers(1, 80))
def test_a_head_is_as_much_of_the_beginning_as_fits(text: str, longest: int):
    start = head(text, longest)
    assert text.startswith(start)
    assert units(start) <= longest
    assert start == text or units(start) > longest - 42  # 20 characters back, of two units each, for a joined sign


@given(any_texts, any_texts)
@example("\ud83d", "\ude00")
def test_what_can_be_stored_is_the_text_without_what_no_table_keeps(one: str, other: str):
    kept = storable(one)
    assert kept.encode().decode() == kept
    assert "\x00" not in kept
    assert storable(kept) == kept
    assert storable(one + other) == kept + storable(other)
