"""What was said is found again in other words, in every language of the set: a floor under `make recall`."""

from __future__ import annotations

from collections.abc import Callable

from tests.recall import measure


def test_at_least_nine_of_ten_are_among_the_first_five_in_every_language(note: Callable[[str], None]) -> None:
    languages = measure()
    assert {"english", "german", "japanese", "russian", "spanish"} == {one.name for one in languages}
    for one in languages:
        assert one.turns >= 60
        assert one.asked >= 15
        assert one.hits >= 0.9 * one.asked, one.missed
        assert one.disturbed <= one.unrelated / 2
    note("recall, hit rate at 5: " + ", ".join(f"{one.name} {one.hits}/{one.asked}" for one in languages))
