"""The redactor: no secret is left in however it is written, nothing that looks like a token, and all else stays."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

from hypothesis import assume, example, given
from hypothesis import strategies as st

from lib.log import HIDDEN, redactor
from tests.fuzz.material import any_texts, texts
from tests.hunt import SHORTEST, SPREAD, Hunt

WORDS = st.sampled_from(["", " ", "=", "'", '"', "\\", "&", "?", "hunter", "%", "\n", "u00e4", "0", "é", "ü😀", "/"])
secrets = st.one_of(st.text("aB1-_/+=%'\"\\ äß😀\n", min_size=6, max_size=30), texts).filter(
    lambda text: len(text) >= 6
)
around = st.lists(WORDS, max_size=4).map("".join) | texts


def hidden(known: list[str], text: str) -> str:
    return redactor(known).sub(HIDDEN, text)


def is_like_what_hides(secret: str) -> bool:
    """Whether it may stand where something was hidden: a secret such as "hidden" is none."""
    begins = any(secret.startswith(HIDDEN[at:]) or secret.endswith(HIDDEN[: at + 1]) for at in range(len(HIDDEN)))
    return begins or secret in HIDDEN or HIDDEN in secret


def written(secret: str) -> Iterator[str]:
    """As Python, JSON and URLs write it."""
    yield from (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    for url in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield url
        yield re.sub("%..", lambda found: found[0].lower(), url)
    yield ascii(secret)[1:-1]
    yield repr(secret.encode())[2:-1]


@given(st.lists(secrets, min_size=1, max_size=4), around, around, st.integers(min_value=0))
@example(["p'ss\"wörd"], "", "", 1)
def test_no_secret_is_left_however_it_is_written(known: list[str], before: str, after: str, number: int):
    assume(not any(map(is_like_what_hides, known)))
    secret = known[number % len(known)]
    for one in written(secret):
        assert one not in hidden(known, f"{before}{one}{after}")


@given(st.lists(secrets, min_size=1, max_size=3), around, around)
def test_no_secret_is_left_in_a_text_that_python_json_or_a_url_has_written(known: list[str], before: str, after: str):
    assume(not any(map(is_like_what_hides, known)))
    text = f"{before}{known[0]}{after}"
    texts = [text, repr(text), repr([text]), json.dumps(text), json.dumps([text], ensure_ascii=False), ascii(text)]
    texts += [quote(text), quote(text, safe=""), quote_plus(text), repr(text.encode())]
    hunt = Hunt([("secret", known[0])]) if len(known[0].encode().translate(None, SPREAD)) >= SHORTEST else None
    for one in texts:
        left = hidden(known, one)
        assert known[0] not in left
        if hunt and "%" not in known[0] and "\\" not in known[0]:
            assert not [find for find in hunt.search("x", left.encode()) if "spread" not in find.encoding]


TOKENS = st.one_of(
    st.from_regex(r"\A[0-9]{6,12}:[A-Za-z0-9_-]{35}\Z"),
    st.from_regex(r"\A[0-9]{6,12}%3[Aa][A-Za-z0-9_-]{35}\Z"),
    st.from_regex(r"\Ask-ant-(api|oat)0[0-9]-[A-Za-z0-9_-]{20,95}\Z"),
    st.from_regex(r"\Axox[bpae]-[A-Za-z0-9-]{10,70}\Z"),
    st.from_regex(r"\Apk_[0-9]{4,10}_[A-Za-z0-9]{32}\Z"),
    st.from_regex(r"\Aya29\.[A-Za-z0-9_-]{40,200}\Z"),
    st.from_regex(r"\A1//0[A-Za-z0-9_-]{40,100}\Z"),
    st.from_regex(r"\A4/0[A-Za-z0-9_-]{40,80}\Z"),
    st.from_regex(r"\AGOCSPX-[A-Za-z0-9_-]{28}\Z"),
)


@given(st.lists(secrets, max_size=2), around, TOKENS, around)
def test_what_looks_like_a_token_is_hidden_though_nobody_told_its_value(
    known: list[str], before: str, token: str, after: str
):
    left = hidden(known, f"{before}{token}{after}")
    assert token not in left
    assert HIDDEN in left


@given(st.lists(secrets, max_size=3), any_texts)
def test_a_text_without_secrets_stays_as_it_is(known: list[str], text: str):
    assume(not any(one.casefold() in text.casefold() for secret in known for one in written(secret)))
    assume(not re.search(r"\d{6}(:|%3)|sk-ant|xox|xapp|pk_|ya29|1//|4/0|GOCSPX", text))
    assert hidden(known, text) == text


@given(st.lists(any_texts, max_size=5), any_texts)
def test_whatever_is_told_as_a_secret_makes_a_pattern(known: list[str], text: str):
    left = hidden(known, text)
    for secret in known:
        if len(secret) >= 6 and not is_like_what_hides(secret):
            assert secret not in left
