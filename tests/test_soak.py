"""The short form of `make soak`: kills at random, and a ledger without loss, disorder or an unmarked double."""

from __future__ import annotations

from tests.soak import Plan, run


def test_nothing_is_lost_while_everything_is_killed_at_random() -> None:
    ledger = run(Plan(seed=20261122, messages=50, chats=5, kills=12, workers=2, seconds=25))
    assert ledger.clean, f"{ledger}\n{ledger.lost} {ledger.out_of_order} {ledger.doubled_unmarked}"
    assert ledger.sent == 50
    assert ledger.answered + ledger.set_aside == 50
    assert ledger.kills.total() == 12
