"""The address that is pasted at the sign-in to Google: it is read however it was copied, and nothing else is."""

from __future__ import annotations

from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lib import console
from lib.google import Attempt, Google, NotForUs, NotSignedIn, WrongState
from lib.secret import Secret
from tests.fuzz.material import any_texts

ATTEMPT = Attempt(Google(""), "client", Secret("secret"), ("a", "b"), "http://127.0.0.1:8085/")
STATE = parse_qs(urlsplit(ATTEMPT.url).query)["state"][0]
codes = st.from_regex(r"\A4/0[A-Za-z0-9_-]{10,80}\Z")
BLANKS = [" ", "\n", "\r\n", "\t", "\u00a0", "\u2028"]
# What stands around an address in a chat, a mail or a sentence.
BEFORE = ["", "'", '"', "<", "`", "(", "“", "«", "\ufeff", "\u200b", "* "]
AFTER = ["", "'", '"', ">", "`", ")", "”", "»", ".", ",", ";", ").", "\u200b", '".']
HEADS = ["http://127.0.0.1:8085/?", "127.0.0.1:8085/?", "https://localhost/?", "/?", "?", ""]


@st.composite
def copied(draw: st.DrawFn) -> tuple[str, str]:
    """A code, and an address that holds it, as somebody has copied it."""
    code = draw(codes)
    parts = [f"state={STATE}", f"code={draw(st.sampled_from([code, quote(code, safe='')]))}"]
    parts += draw(st.lists(st.sampled_from(["scope=a%20b+c", "authuser=0", "prompt=consent", "iss=https://x.y"])))
    address = draw(st.sampled_from(HEADS)) + "&".join(draw(st.permutations(parts)))
    address += draw(st.sampled_from(["", "#", "#_=_"]))
    for at in draw(st.lists(st.integers(0, len(address)), max_size=4)):
        address = address[:at] + draw(st.sampled_from(BLANKS)) + address[at:]
    return code, draw(st.sampled_from(BEFORE)) + address + draw(st.sampled_from(AFTER))


@given(copied())
def test_a_right_address_gives_its_code_however_it_was_copied(given_address: tuple[str, str]):
    code, address = given_address
    assert ATTEMPT.read(address).reveal() == code


def outcome(text: str) -> str:
    """What is said to whoever pastes this: a sentence, or nothing when the code was found."""
    try:
        assert ATTEMPT.read(text).reveal()
    except NotForUs:
        return console.GOOGLE_NOT_ADDRESS
    except WrongState:
        return console.GOOGLE_WRONG_STATE
    except NotSignedIn as exc:
        return console.google(str(exc))
    return ""


@given(
    any_texts
    | st.builds(
        "{}state={}&{}={}{}".format, any_texts, any_texts, st.sampled_from(["code", "error"]), any_texts, any_texts
    )
)
@example("?code=x&state=\ud800")
@example("http://[/?code=x&state=y")
def test_any_text_gives_one_clear_sentence_and_a_code_only_with_the_state(text: str):
    assume(STATE not in text)
    said = outcome(text)
    assert said.strip()
    assert "{" not in said


@given(any_texts, any_texts)
@example("", "<script>")
def test_a_refusal_with_the_state_is_told_in_words_of_ours(before: str, error: str):
    assume("state=" not in before and "code=" not in before and "error=" not in before and "#" not in before)
    said = outcome(f"{before}?state={STATE}&error={quote(error, errors='replace')}")
    assert said.strip()
    assert "<" not in said


@given(copied(), st.integers(min_value=0), st.characters())
def test_an_address_with_another_state_gives_no_code(given_address: tuple[str, str], number: int, sign: str):
    at = number % len(STATE)
    other = STATE[:at] + sign + STATE[at + 1 :]
    assume(sign.isalnum() and other != STATE)
    _, address = given_address
    assume(STATE in address)
    with pytest.raises(WrongState):
        ATTEMPT.read(address.replace(STATE, other))
