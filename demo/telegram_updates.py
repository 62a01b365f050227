"""The updates of the simulated Telegram: who is to get what, the long poll, and its conflicts.

The oracle is tdlib's telegram-bot-api 10.0: process_get_updates_query, do_get_updates and the TQueue under them.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, NoReturn

from demo.telegram_checks import (
    NEW_WEBHOOK,
    OTHER_POLL,
    WEBHOOK_ACTIVE,
    Params,
    Refusal,
    integer,
    parsed,
    true,
    words,
)

Json = dict[str, Any]

KEPT = 20_000  # updates that can still be redelivered
DAY = 86_400

UPDATE_KINDS = words(
    "message edited_message channel_post edited_channel_post inline_query chosen_inline_result callback_query "
    "custom_event custom_query shipping_query pre_checkout_query poll poll_answer my_chat_member chat_member "
    "chat_join_request chat_boost removed_chat_boost message_reaction message_reaction_count business_connection "
    "business_message edited_business_message deleted_business_messages purchased_paid_media managed_bot guest_message "
    "stopped_message_generation"
)
ONLY_ON_REQUEST = frozenset({"chat_member", "message_reaction", "message_reaction_count"})


@dataclass
class _Queued:
    update: Json
    expires: float  # by TelegramSim.clock

    @property
    def id(self) -> int:
        return int(self.update["update_id"])


@dataclass
class _Poll:
    """A getUpdates that waits. `ended` says why another request ended it and how many seconds that is held back."""

    until: float  # time.monotonic()
    ended: tuple[str, float] | None = None


class Gone(Exception):
    """The simulator was stopped while the request waited."""


class Updates:
    """What was not yet confirmed, and a lock for it and for whatever a subclass adds.

    webhook  a URL set here makes getUpdates answer 409
    clock    seconds since 1970, for message dates, the 24 hours of an update and the budgets
    """

    def __init__(self, first_update: int) -> None:
        self.clock: Callable[[], float] = time.time
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)  # for requests that wait
        self._changed = threading.Condition(self._lock)  # for wait_for()
        self._epoch = 0  # grows with every stop()

        self._webhook = ""
        self._queue: deque[_Queued] = deque()
        self._again: list[Json] = []
        self._history: OrderedDict[int, Json] = OrderedDict()
        self._next_update = first_update
        self._allowed: frozenset[str] | None = None  # None is the default set
        self._poll: _Poll | None = None
        self._last_poll = (-1, -100.0)  # offset and time.monotonic() of the last getUpdates
        self._next_conflict = -100.0

    def push(self, update: Json) -> int:
        """Queue an update as it is; its id is filled in if missing. 0 if the bot asked not to get that kind.

        An id may jump ahead but not back: a ValueError, use redeliver().
        """
        with self._lock:
            number = int(update.get("update_id", self._next_update))
            if number < self._next_update:
                raise ValueError(f"update {number} is not new")
            update = {"update_id": number, **update}
            kind = next((key for key in update if key != "update_id"), "")
            self._learn(kind, update.get(kind))
            if not self._takes(kind):
                return 0
            self._next_update = number + 1
            self._queue.append(_Queued(update, self._born(update.get(kind)) + DAY))
            self._history[number] = update
            if len(self._history) > KEPT:
                self._history.popitem(last=False)
            self._news.notify_all()
            self._changed.notify_all()
            return number

    def redeliver(self, update_id: int) -> None:
        """Send a confirmed update once more, with the next answer, whatever its offset. ValueError if it is pending."""
        with self._lock:
            if update_id in self.pending():
                raise ValueError(f"update {update_id} was not confirmed yet")
            self._again.append(self._history[update_id])
            self._news.notify_all()
            self._changed.notify_all()

    @property
    def webhook(self) -> str:
        return self._webhook

    @webhook.setter
    def webhook(self, url: str) -> None:
        with self._lock:
            self._webhook = url
            if url:
                self._end_poll(NEW_WEBHOOK)

    def update(self, update_id: int) -> Json:
        """An update as it was queued; KeyError for one that never was (or is long gone)."""
        with self._lock:
            return self._history[update_id]

    def pending(self) -> list[int]:
        """Ids of the updates not yet confirmed."""
        with self._lock:
            return [int(update["update_id"]) for update in self._again] + [queued.id for queued in self._queue]

    def _learn(self, kind: str, payload: Any) -> None:
        """Know what an update speaks of, before it is queued."""
        raise NotImplementedError

    def _sleep(self, seconds: float) -> None:
        epoch, until = self._epoch, time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._news.wait(left)
            if self._epoch != epoch:
                raise Gone

    def _on_getUpdates(self, params: Params) -> list[Json]:
        if self._webhook:
            self._conflict(WEBHOOK_ACTIVE, self._conflict_delay())
        offset = integer(params, "offset")
        limit = min(max(integer(params, "limit", 100), 1), 100)
        timeout = min(max(integer(params, "timeout"), 0), 50)
        self._choose_kinds(params.get("allowed_updates", ""))

        now = time.monotonic()
        last_offset, last_time = self._last_poll
        if offset == last_offset and now < last_time + 3:
            timeout = max(timeout, 3)  # a client that asks the same again is slowed down
        if offset == last_offset and now < last_time + 0.5:
            limit = 1
        self._last_poll = (offset, now)

        if offset < 0:
            while len(self._queue) > -offset:
                self._queue.popleft()
        if offset <= 0:
            offset = self._head()
        found = self._take(offset, limit)
        if found or not timeout:
            return found
        return self._wait_for_updates(offset, limit, now + timeout)

    def _wait_for_updates(self, offset: int, limit: int, until: float) -> list[Json]:
        """The long poll. There is one at most: a new one ends the older one, whose client may be dead anyway.

        The real server waits 1 to 2 ms more for further updates; here they leave at once.
        """
        self._end_poll(OTHER_POLL)
        poll = self._poll = _Poll(until)
        epoch = self._epoch
        while True:
            self._news.wait(max(poll.until - time.monotonic(), 0))
            if self._epoch != epoch:
                raise Gone
            if poll.ended:
                self._conflict(*poll.ended)
            found = self._take(offset, limit)
            if found or time.monotonic() >= poll.until:
                self._poll = None
                return found

    def _take(self, offset: int, limit: int) -> list[Json]:
        """Forget what is below the offset, return up to `limit` of the rest. A senseless offset means the head."""
        head = self._head()
        if not head - 100_000 <= offset <= self._next_update + 10:
            offset = head
        while self._queue and self._queue[0].id < offset:
            self._queue.popleft()
        now = self.clock()
        if any(queued.expires < now for queued in islice(self._queue, limit)):
            self._queue = deque(queued for queued in self._queue if queued.expires >= now)
        again, self._again = self._again[:limit], self._again[limit:]
        return again + [queued.update for queued in islice(self._queue, limit - len(again))]

    def _head(self) -> int:
        return self._queue[0].id if self._queue else self._next_update

    def _end_poll(self, reason: str) -> None:
        if self._poll:
            self._poll.ended = (reason, self._conflict_delay())
            self._poll = None
            self._news.notify_all()

    def _conflict_delay(self) -> float:
        """fail_query_conflict: one conflict is told at once, those in the 3 seconds after it 3 seconds late."""
        if time.monotonic() < self._next_conflict:
            return 3.0
        self._next_conflict = time.monotonic() + 3.0
        return 0.0

    def _conflict(self, reason: str, delay: float) -> NoReturn:
        self._sleep(delay)
        raise Refusal(409, reason)

    def _choose_kinds(self, wanted: str) -> None:
        """get_allowed_update_types: what cannot be read changes nothing, a list without known names is the default."""
        kinds = parsed(wanted)
        if isinstance(kinds, list) and all(isinstance(kind, str) for kind in kinds):
            self._allowed = UPDATE_KINDS.intersection(kind.lower() for kind in kinds) or None

    def _takes(self, kind: str) -> bool:
        return kind not in ONLY_ON_REQUEST if self._allowed is None else kind in self._allowed

    def _born(self, payload: Any) -> float:
        """An update lives a day from the date of its message, any other kind from now (add_message_update)."""
        if isinstance(payload, dict) and "message_id" in payload:
            date = payload.get("edit_date") or payload.get("date")
            return float(date) if isinstance(date, int) else self.clock()
        return self.clock()

    def _on_deleteWebhook(self, params: Params) -> bool:
        self._webhook = ""
        if true(params.get("drop_pending_updates", "")):
            self._queue.clear()
            self._again.clear()
        return True

    def _on_getWebhookInfo(self, _: Params) -> Json:
        info: Json = {"url": self._webhook, "has_custom_certificate": False, "pending_update_count": len(self._queue)}
        return info if self._allowed is None else {**info, "allowed_updates": sorted(self._allowed)}
