"""What the properties are tried with: texts and JSON that nobody would write."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

GRIN = "\U0001f600"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
# Signs of one and of several characters: emoji with joiners, skin tones, flags, keycaps; accents, vowel signs.
SIGNS = [GRIN, FAMILY, "\U0001f44b\U0001f3fd", "\u2764\ufe0f", "1\ufe0f\u20e3", "🇩🇪", "e\u0301", "\u0443\u0306"]
SIGNS += [
    " \u0301",
    "a",
    "Ж",
    "ß",
    "漢",
    "ש",
    "ب\u0650",
    "कि",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
]

letters = st.characters(exclude_categories=["Cs"])  # whatever UTF-8 can write
any_letters = st.characters(exclude_categories=[])  # half emoji too
texts = st.text(letters)
any_texts = st.one_of(
    st.text(any_letters), st.sampled_from(["\x00", "\ud83d", "a\x00b", "\u2028", "\ufeff", "x" * 5000])
)

numbers = st.one_of(
    st.integers(-5, 5),
    st.integers(),
    st.sampled_from([0, 2**31, 2**52, 2**53, -(2**53), 2**63 - 1, 2**63, -(2**63) - 1, 10**30]),
)
simple = st.one_of(st.none(), st.booleans(), numbers, st.floats(), any_texts)
values = st.recursive(
    simple,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_texts, inner, max_size=4),
    max_leaves=8,
)


@dataclass(frozen=True)
class Deep:
    """Stands for lists within objects within lists, which nothing could print."""

    depth: int

    def built(self) -> Any:
        value: Any = 1
        for number in range(self.depth):
            value = [value] if number % 2 else {"chat": value}
        return value


def sent(value: Any) -> Any:
    """As it comes over the network."""
    return json.loads(json.dumps(value, default=Deep.built))
