"""How many turns a person may still take: a bucket for each, which fills up slowly and is emptied turn by turn.

Kept in memory: after a start of the bot every bucket is full.
"""

from __future__ import annotations

import time
from collections.abc import Callable

TELL_SECONDS = 60.0  # between two words to the same person about it
MOST_KEPT = 10_000  # people of whom something is remembered


class Allowance:
    """So many turns an hour for each person, and half of them at once."""

    def __init__(self, per_hour: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._size, self._clock = per_hour / 3600, max(per_hour / 2, 1.0), clock
        self._buckets: dict[int, tuple[float, float]] = {}  # what was in it, and when
        self._told: dict[int, float] = {}

    def wait(self, user_id: int) -> float:
        """In how many seconds this person may take a turn; 0: now."""
        return max(1.0 - self._left(user_id), 0.0) / self._per_second

    def take(self, user_id: int) -> None:
        """This person has taken a turn."""
        if len(self._buckets) >= MOST_KEPT:
            self._buckets = {one: kept for one, kept in self._buckets.items() if self._left(one) < self._size}
        self._buckets[user_id] = (max(self._left(user_id) - 1.0, 0.0), self._clock())

    def tell(self, user_id: int) -> bool:
        """Whether to tell this person now that they have to wait: not again within a minute."""
        now = self._clock()
        self._told = {one: at for one, at in self._told.items() if now - at < TELL_SECONDS}
        return user_id not in self._told and self._told.setdefault(user_id, now) == now

    def _left(self, user_id: int) -> float:
        held, at = self._buckets.get(user_id, (self._size, 0.0))
        return min(held + (self._clock() - at) * self._per_second, self._size)
