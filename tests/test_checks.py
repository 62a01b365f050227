"""Checks that cannot hold each other up: one that hangs, one that raises, one that answers too late."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from lib import log
from lib.checks import Checks
from lib.incidents import Finding
from lib.stop import Stopped

NO_ANSWER = [Finding("redis", "no_answer")]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a hanging check waits for. It is opened at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()


def waits_for(gate: threading.Event) -> Callable[[], list[Finding]]:
    def work() -> list[Finding]:
        gate.wait(30.0)
        return [Finding("redis")]

    return work


def await_findings(checks: Checks, seconds: float = 5.0) -> list[Finding]:
    """What is found until nothing more is to come."""
    found, end = [], time.monotonic() + seconds
    while checks.busy and time.monotonic() < end:
        found += checks.collect()
        time.sleep(0.005)
    assert not checks.busy
    return found + checks.collect()


def until_free(checks: Checks, name: str, work: Callable[[], list[Finding]]) -> None:
    """Begin this check as soon as the one before has ended."""
    end = time.monotonic() + 5.0
    ran = threading.Event()

    def marked() -> list[Finding]:
        ran.set()
        return work()

    while not ran.is_set() and time.monotonic() < end:
        checks.collect()
        checks.start(name, marked, 5.0)
        ran.wait(0.02)
    assert ran.is_set()


def test_what_a_check_found_is_collected_once():
    checks = Checks()
    assert not checks.busy
    checks.start("redis", lambda: [Finding("redis"), Finding("other", "full")], 5.0, ("redis",))
    assert await_findings(checks) == [Finding("redis"), Finding("other", "full")]
    assert checks.collect() == []


def test_a_hanging_check_holds_up_neither_the_others_nor_who_starts_it(gate):
    checks = Checks()
    began = time.monotonic()
    checks.start("redis", waits_for(gate), 20.0, ("redis",))
    checks.start("disk", lambda: [Finding("disk")], 20.0, ("disk",))
    found: list[Finding] = []
    while not found and time.monotonic() - began < 5.0:
        found = checks.collect()
    assert found == [Finding("disk")]
    assert checks.busy
    assert time.monotonic() - began < 2.0


def test_a_hanging_check_is_given_up_at_its_deadline_for_all_its_parts(gate):
    checks = Checks()
    began = time.monotonic()
    checks.start("disk", waits_for(gate), 0.3, ("disk", "disk_filling"))
    assert checks.collect() == []
    assert await_findings(checks) == [Finding("disk", "no_answer"), Finding("disk_filling", "no_answer")]
    assert 0.3 <= time.monotonic() - began < 2.0


def test_a_check_that_hangs_counts_as_failing_each_turn_and_no_thread_is_added(gate):
    checks = Checks()
    checks.start("redis", waits_for(gate), 0.05, ("redis",))
    assert await_findings(checks) == NO_ANSWER
    threads = threading.active_count()
    for _ in range(20):
        checks.start("redis", waits_for(gate), 0.05, ("redis",))
        assert checks.busy
        assert checks.collect() == NO_ANSWER
    assert threading.active_count() == threads


def test_a_check_that_is_not_yet_due_is_not_started_again(gate):
    checks = Checks()
    checks.start("redis", waits_for(gate), 5.0, ("redis",))
    threads = threading.active_count()
    for _ in range(20):
        checks.start("redis", waits_for(gate), 5.0, ("redis",))
    assert checks.collect() == []
    assert threading.active_count() == threads


def test_an_answer_that_comes_too_late_is_none_and_then_the_check_runs_again(gate):
    checks = Checks()
    checks.start("redis", waits_for(gate), 0.05, ("redis",))
    assert await_findings(checks) == NO_ANSWER
    gate.set()
    time.sleep(0.1)
    assert checks.collect() == []
    until_free(checks, "redis", lambda: [Finding("redis", "full")])
    assert await_findings(checks) == [Finding("redis", "full")]


def test_a_check_without_parts_that_hangs_says_nothing(gate):
    checks = Checks()
    checks.start("ping", waits_for(gate), 0.05)
    assert await_findings(checks) == []
    checks.start("ping", waits_for(gate), 0.05)
    assert checks.collect() == []


def test_a_check_that_raises_is_logged_and_nobody_knows_how_its_parts_are(capsys):
    log.setup("test")
    checks = Checks()

    def work() -> list[Finding]:
        raise ZeroDivisionError("a mistake of ours")

    checks.start("disk", work, 5.0, ("disk", "disk_filling"))
    assert await_findings(checks) == [Finding("disk", "check_failed"), Finding("disk_filling", "check_failed")]
    output = capsys.readouterr()
    lines = [json.loads(line) for line in (output.out + output.err).splitlines()]
    assert [(line["event"], line["check"]) for line in lines] == [("check_failed", "disk")]


def test_a_check_that_fails_halfway_leaves_nothing_of_what_it_found(capsys):
    log.setup("test")

    def work() -> Iterator[Finding]:
        yield Finding("disk")
        raise ValueError

    checks = Checks()
    checks.start("disk", work, 5.0, ("disk",))
    assert await_findings(checks) == [Finding("disk", "check_failed")]


def test_a_check_that_was_asked_to_stop_has_found_nothing():
    checks = Checks()

    def work() -> list[Finding]:
        raise Stopped

    checks.start("keys", work, 5.0, ("keys",))
    assert await_findings(checks) == []


def test_a_signal_does_not_go_to_the_thread_of_a_check():
    masks: list[set[int]] = []

    def work() -> list[Finding]:
        masks.append({int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())})
        return []

    checks = Checks()
    checks.start("redis", work, 5.0)
    await_findings(checks)
    assert masks[0] >= {int(signal.SIGTERM), int(signal.SIGINT), int(signal.SIGALRM)}


def test_at_the_end_all_are_waited_for_together_and_not_for_ever(gate):
    checks = Checks()
    for number in range(5):
        checks.start(str(number), waits_for(gate), 60.0)
    began = time.monotonic()
    checks.join(0.4)
    assert 0.35 <= time.monotonic() - began < 2.0


def test_at_the_end_nobody_waits_longer_than_needed():
    checks = Checks()
    checks.start("redis", lambda: time.sleep(0.1) or [], 60.0)  # type: ignore[func-returns-value]
    began = time.monotonic()
    checks.join(15.0)
    assert 0.05 <= time.monotonic() - began < 2.0
    assert not any(thread.name == "redis" for thread in threading.enumerate())


def test_a_check_for_which_there_is_no_thread_begins_again_the_next_time(monkeypatch):
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    checks = Checks()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError):
            checks.start("redis", lambda: [Finding("redis")], 0.05, ("redis",))
    assert not checks.busy
    checks.join(1.0)
    checks.start("redis", lambda: [Finding("redis")], 5.0, ("redis",))
    assert await_findings(checks) == [Finding("redis")]
