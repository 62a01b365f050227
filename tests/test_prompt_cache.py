"""What the prompt cache serves of a long conversation: all of the last prompt, but for a few cuts of the history."""

from __future__ import annotations

import itertools
import json
from typing import Any

from demo.telegram import ALICE

TURNS = 20
WORDS = " and some words that make it longer" * 10


def said(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in body["messages"]]


def served(house: Any) -> list[tuple[int, int]]:
    """For each answer the tokens that the cache served, and all that were sent."""
    found: list[tuple[int, int]] = house.query(
        "SELECT tokens_cached, tokens_in FROM audit WHERE action = 'claude.asked' ORDER BY id"
    )
    return found


def test_between_two_cuts_each_prompt_is_the_last_one_its_answer_and_the_new_message(make_house, note):
    house = make_house(HISTORY_TOKENS="2000")
    house.start()
    for number in range(1, TURNS + 1):
        house.telegram.say(ALICE, f"question {number:02}{WORDS}")
        house.await_replies(number)
    house.await_idle()
    bodies, usage = [request.body for request in house.claude.requests], served(house)
    assert len(bodies) == len(usage) == TURNS
    assert len({json.dumps({**body, "messages": []}) for body in bodies}) == 1  # system, model, tools: to the byte
    cuts, answers = 0, house.replies()
    for number, (earlier, later) in enumerate(itertools.pairwise(bodies)):
        (_, before), (cached, sent) = usage[number : number + 2]
        new = ("user", f"question {number + 2:02}{WORDS}")
        whole = [*said(earlier), ("assistant", answers[number]), new]
        if said(later)[0] == said(earlier)[0]:
            assert said(later) == whole
            assert json.dumps(later["messages"]).startswith(json.dumps(earlier["messages"])[:-1])
            assert cached == (before if before >= 512 else 0)  # a shorter prompt is never cached
        else:
            cuts += 1
            assert said(later) == whole[-len(said(later)) :]
            assert later["messages"][0]["role"] == "user"
            assert len(said(later)) < len(whole) * 0.7  # as it costs the cache, much goes at once
            assert cached == 0
        assert cached < sent
    assert 2 <= cuts <= 5
    note(f"API door, {cuts} cuts in {TURNS} turns, (cached, all) input tokens: {usage}")
