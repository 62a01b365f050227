"""What Claude is shown of a conversation: within a budget, cut in steps, and quick however long it has become."""

from __future__ import annotations

import itertools

from lib import history
from lib.db import Database
from lib.history import Turn


def test_the_beginning_moves_in_steps_and_stays_in_between(database: Database) -> None:
    budget, text = 1000, "x" * 90  # 34 tokens each by our estimate
    beginnings: list[str] = []
    for number in range(1, 101):
        with database.transaction() as cur:
            turns = [Turn("user", f"{number:03} {text}"), Turn("assistant", f"{number:03} {text}")]
            history.add(cur, 5, 0, number, turns)
        with database.statement() as cur:
            shown = history.load(cur, 5, 0, budget, except_inbox_id=0)
        tokens = sum(history.tokens(turn.body) for turn in shown)
        assert tokens <= budget
        assert number < 20 or tokens >= budget / 2 - 2 * history.tokens(shown[0].body)
        assert shown[0].role == "user"
        assert shown[-1].body.startswith(f"{number:03}")
        beginnings.append(shown[0].body[:3])
    changes = sum(1 for a, b in itertools.pairwise(beginnings) if a != b)
    assert 5 < changes < 20, "a change of the beginning breaks the prompt cache: rarely, and then by half the budget"


def test_turns_of_other_chats_conversations_and_of_the_message_itself_are_left_out(database: Database) -> None:
    with database.transaction() as cur:
        history.add(cur, 5, 0, 1, [Turn("user", "old conversation")])
        history.add(cur, 5, 1, 2, [Turn("user", "kept")])
        history.add(cur, 6, 1, 3, [Turn("user", "another chat")])
        history.add(cur, 5, 1, 4, [Turn("user", "the message itself, failed before")])
    with database.statement() as cur:
        assert history.load(cur, 5, 1, 1000, except_inbox_id=4) == [Turn("user", "kept")]


def test_turns_asked_again_take_the_place_of_the_failed_ones(database: Database) -> None:
    with database.transaction() as cur:
        history.add(cur, 5, 0, 1, [Turn("user", "first"), Turn("assistant", "half an ans")])
        history.add(cur, 5, 0, 2, [Turn("user", "second"), Turn("assistant", "two")])
        history.add(cur, 5, 0, 1, [Turn("user", "first"), Turn("assistant", "one")])
    with database.statement() as cur:
        shown = [turn.body for turn in history.load(cur, 5, 0, 1000, except_inbox_id=0)]
    assert shown == ["second", "two", "first", "one"]


def test_a_long_history_is_read_by_index_and_only_at_its_end(database: Database) -> None:
    with database.statement() as cur:
        cur.execute(
            "INSERT INTO history (chat_id, conversation, inbox_id, role, body, total)"
            " SELECT 5, 0, n / 2, CASE n % 2 WHEN 0 THEN 'user' ELSE 'assistant' END, 'some words', n * 10"
            " FROM generate_series(2, 100001) n"
        )
        shown = history.load(cur, 5, 0, 1000, except_inbox_id=0)
        cur.execute("EXPLAIN (ANALYZE, TIMING OFF) " + (cur.query or b"").decode())
        plan = "\n".join(str(row[0]) for row in cur.fetchall())
    assert 50 <= len(shown) <= 100
    assert "Seq Scan" not in plan
    assert "Index Cond: ((chat_id = 5) AND (conversation = 0) AND (total >" in plan
