"""The short form of `make soak`: everything breaks at random, and a ledger without a broken promise."""

from __future__ import annotations

from tests.soak import run
from tests.soak.plan import Options, make_plan

SHORT = Options(seed=20261122, messages=40, chats=5, kills=16, workers=2, seconds=16)


def test_a_seed_makes_the_same_plan_again_and_another_one_another() -> None:
    assert make_plan(Options(seed=1)) == make_plan(Options(seed=1))
    assert make_plan(Options(seed=1)) != make_plan(Options(seed=2))


def test_nothing_is_lost_while_everything_breaks_at_random() -> None:
    plan = make_plan(SHORT)
    ledger = run(plan)
    assert not ledger.broken, "\n".join([str(ledger), *ledger.broken])
    assert ledger.sent == SHORT.messages + SHORT.chats
    assert ledger.answered + ledger.failed.total() + ledger.set_aside == ledger.sent
    assert ledger.strikes.total() == SHORT.kills
