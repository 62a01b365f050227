"""Envelopes: what was sealed opens to itself, in its own place, whole and undamaged, and nothing else ever opens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lib.secret import Secret
from lib.vault import CannotOpen, Vault
from tests.fuzz.material import any_texts

keys = st.binary(min_size=32, max_size=32)
places = st.tuples(any_texts, any_texts, any_texts)


def vault(key: bytes) -> Vault:
    return Vault(Secret(key.hex()))


def is_refused(opener: Vault, envelope: bytes, place: tuple[str, str, str]) -> None:
    with pytest.raises(CannotOpen) as refusal:
        opener.open(envelope, *place)
    assert refusal.value.__cause__ is None
    assert type(refusal.value) is CannotOpen


@given(keys, any_texts, places)
def test_what_was_sealed_opens_to_itself(key: bytes, text: str, place: tuple[str, str, str]):
    envelope = vault(key).seal(Secret(text), *place)
    kinds: list[Any] = [bytes, bytearray, memoryview]  # the database's driver has its own
    for kind in kinds:
        assert vault(key).open(kind(envelope), *place).reveal() == text


@given(keys, any_texts, places, keys, places)
@example(bytes(32), "x", ("a", "b", "c"), bytes(32), ("a", "bc", ""))
@example(bytes(32), "x", ('a", "b', "c", "d"), bytes(32), ("a", 'b", "c', "d"))
def test_with_another_key_or_in_another_place_it_does_not_open(
    key: bytes, text: str, place: tuple[str, str, str], other_key: bytes, other_place: tuple[str, str, str]
):
    envelope = vault(key).seal(Secret(text), *place)
    for opener, elsewhere in ((key, other_place), (other_key, place), (other_key, other_place)):
        if (opener, elsewhere) != (key, place):
            is_refused(vault(opener), envelope, elsewhere)


@given(keys, any_texts, places, st.integers(min_value=0), st.binary(min_size=1))
def test_with_a_bit_flipped_something_cut_or_added_it_does_not_open(
    key: bytes, text: str, place: tuple[str, str, str], number: int, more: bytes
):
    envelope = vault(key).seal(Secret(text), *place)
    at = number % len(envelope)
    flipped = bytearray(envelope)
    flipped[at] ^= 1 << number % 8
    damaged = [bytes(flipped), envelope[:at], envelope[at + 1 :], envelope[:at] + envelope[at + 1 :]]
    damaged += [envelope + more, more + envelope, envelope[:at] + more + envelope[at:]]
    for one in damaged:
        if one != envelope:
            is_refused(vault(key), one, place)


@given(keys, places, st.binary())
@example(bytes(32), ("", "", ""), b"")
@example(bytes(32), ("", "", ""), b"\x01" + bytes(28))
def test_bytes_that_nobody_sealed_do_not_open(key: bytes, place: tuple[str, str, str], data: bytes):
    is_refused(vault(key), data, place)
    is_refused(vault(key), b"\x01" + data, place)


@given(any_texts | st.text("0123456789abcdefABCDEFg \n٣", min_size=62, max_size=66))
def test_a_key_is_64_hex_characters_or_refused_without_being_quoted(written: str):
    good = len(written) == 64 and not written.strip("0123456789abcdefABCDEF")
    if good:
        assert written.lower() not in repr(vars(Vault(Secret(written)))).lower()
        return
    with pytest.raises(ValueError, match="must be 64 hex") as refusal:
        Vault(Secret(written))
    assume(len(written) > 8)
    assert written not in str(refusal.value)
