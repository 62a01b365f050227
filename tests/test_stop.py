"""Asked to stop: every wait is cut short, and Stopped comes only where it costs nothing. With real processes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lib.stop import Pauses, Stopped

ROOT = Path(__file__).parent.parent
BEGIN = """
import os, signal, sys, time
from lib.stop import Stop, Stopped

def me(number=signal.SIGTERM):
    os.kill(os.getpid(), number)

stop = Stop()
"""


class Run:
    """A script that has said `ready`, the seconds since then, and what else it said."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.began = time.monotonic()
        self.signal: Callable[[signal.Signals], None] = process.send_signal

    def end(self) -> tuple[list[str], float]:
        """Its lines and how long it ran; a traceback or a wrong exit code fails the test."""
        out, err = self._process.communicate(timeout=20)
        took = time.monotonic() - self.began
        assert err == b""
        assert self._process.returncode == 0
        return out.decode().splitlines(), took


@contextmanager
def running(body: str) -> Iterator[Run]:
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", BEGIN + body],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 20)[0], "it never began"
        assert process.stdout.readline() == b"ready\n"
        yield Run(process)
    finally:
        process.kill()
        process.communicate()


WAIT = """
print("ready")
print(stop.wait(15), bool(stop))
print(stop.wait(15))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_wait_at_once_and_every_later_one_before_it_begins(number):
    with running(WAIT) as run:
        time.sleep(0.1)  # it is in the wait by now; were it not, the answer would be the same
        run.signal(number)
        lines, took = run.end()
    assert lines == ["True True", "True"]
    assert took < 5


def test_a_wait_that_nobody_cuts_short_lasts_its_time():
    with running(
        'began = time.monotonic()\nprint("ready")\nprint(stop.wait(0.3), time.monotonic() - began >= 0.3)'
    ) as run:
        assert run.end()[0] == ["False True"]


def test_a_wait_of_no_time_or_less_returns():
    with running('print("ready")\nprint(stop.wait(0), stop.wait(-5))') as run:
        assert run.end()[0] == ["False False"]


INTERRUPTED = """
print("ready")
try:
    with stop.interruptible():
        time.sleep(15)
        print("slept to the end")
except Stopped:
    print("stopped", bool(stop))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_blocking_call_in_an_interruptible_block(number):
    with running(INTERRUPTED) as run:
        time.sleep(0.1)
        run.signal(number)
        lines, took = run.end()
    assert lines == ["stopped True"]
    assert took < 5


def test_a_signal_ends_a_blocking_read_of_a_socket():
    body = INTERRUPTED.replace("time.sleep(15)", "import socket; socket.socketpair()[0].recv(1)").replace(
        "socket.socketpair()[0]", "(pair := socket.socketpair())[0]"
    )
    with running(body) as run:
        time.sleep(0.1)
        run.signal(signal.SIGTERM)
        lines, took = run.end()
    assert lines == ["stopped True"]
    assert took < 5


def test_no_library_can_swallow_a_stop_with_except_exception():
    body = """
print("ready")
try:
    with stop.interruptible():
        while True:
            try:
                me()
                time.sleep(15)
            except Exception:
                print("swallowed")
except Stopped:
    print("stopped")
"""
    with running(body) as run:
        assert run.end()[0] == ["stopped"]


def test_a_signal_that_came_before_the_block_ends_it_too():
    body = """
me()
print("ready")
try:
    with stop.interruptible():
        time.sleep(15)
        print("slept to the end")
except Stopped:
    print("stopped")
"""
    with running(body) as run:
        lines, took = run.end()
    assert lines == ["stopped"]
    assert took < 5


WITHIN = """
print("ready")
began = time.monotonic()
try:
    with stop.interruptible(within=1.0):
        me()
        time.sleep({seconds})
        print("done")
except Stopped:
    print("stopped", 0.9 < time.monotonic() - began < 5)
time.sleep(1.2)
print("end")
"""


def test_within_one_second_the_block_is_stopped_after_that_second():
    with running(WITHIN.format(seconds=15)) as run:
        assert run.end()[0] == ["stopped True", "end"]


def test_within_one_second_a_block_that_ends_by_itself_is_left_alone_then_and_later():
    with running(WITHIN.format(seconds=0.2)) as run:
        assert run.end()[0] == ["done", "end"]


def test_the_second_counts_from_the_signal_and_not_from_the_block():
    body = """
print("ready")
me()
time.sleep(0.7)
began = time.monotonic()
try:
    with stop.interruptible(within=1.0):
        time.sleep(15)
except Stopped:
    print(0.2 < time.monotonic() - began < 0.9)
began = time.monotonic()
try:
    with stop.interruptible(within=1.0):
        time.sleep(15)
except Stopped:
    print(time.monotonic() - began < 0.5)
"""
    with running(body) as run:
        assert run.end()[0] == ["True", "True"]


def test_a_second_signal_changes_nothing():
    body = """
print("ready")
began = time.monotonic()
try:
    with stop.interruptible(within=1.0):
        me()
        time.sleep(0.6)
        me(signal.SIGINT)
        me()
        time.sleep(15)
except Stopped:
    print("stopped", 0.9 < time.monotonic() - began < 1.5)
me()
print(stop.wait(15))
"""
    with running(body) as run:
        assert run.end()[0] == ["stopped True", "True"]


def test_many_signals_do_not_fill_the_pipe_and_block_the_handler():
    body = 'print("ready")\nfor _ in range(70_000):\n    stop._on_signal(15, None)\nprint(stop.wait(15))'
    with running(body) as run:
        assert run.end()[0] == ["True"]


def test_outside_a_block_nothing_is_ever_raised():
    body = """
print("ready")
with stop.interruptible(within=0.2):
    pass
me()
time.sleep(0.3)
me(signal.SIGALRM)
print(bool(stop), "and on it goes")
"""
    with running(body) as run:
        assert run.end()[0] == ["True and on it goes"]


def test_an_error_inside_a_block_goes_through_and_leaves_no_alarm_behind():
    body = """
print("ready")
try:
    with stop.interruptible(within=0.2):
        me()
        raise ValueError("mine")
except ValueError as exc:
    print(exc)
print(signal.getitimer(signal.ITIMER_REAL))
time.sleep(0.4)
print("end")
"""
    with running(body) as run:
        assert run.end()[0] == ["mine", "(0.0, 0.0)", "end"]


def test_wherever_in_a_block_the_signal_falls_the_script_ends_in_order():
    body = """
print("ready")
signal.setitimer(signal.ITIMER_VIRTUAL, {after})
signal.signal(signal.SIGVTALRM, lambda number, frame: me())
rounds = 0
try:
    while not stop:
        with stop.interruptible():
            rounds += 1
except Stopped:
    pass
signal.setitimer(signal.ITIMER_REAL, 0.05)
time.sleep(0.2)
print("end", rounds > 0, stop._within)
"""
    for number in range(1, 7):
        with running(body.format(after=number * 0.0071)) as run:
            assert run.end()[0] == ["end True None"]


def test_nobody_asked_so_the_flag_is_down():
    with running('print("ready")\nprint(bool(stop))') as run:
        assert run.end()[0] == ["False"]


def test_stopped_is_no_exception_that_a_library_would_catch():
    assert issubclass(Stopped, BaseException)
    assert not issubclass(Stopped, Exception)


def test_a_stop_needs_the_main_thread_since_only_there_signals_arrive():
    body = """
import threading
def other():
    try:
        Stop()
    except ValueError:
        print("refused")
print("ready")
thread = threading.Thread(target=other)
thread.start()
thread.join()
"""
    with running(body) as run:
        assert run.end()[0] == ["refused"]


def test_pauses_double_up_to_the_longest():
    pauses = Pauses(1, 60)
    assert [pauses.next() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_pauses_begin_anew_after_a_success():
    pauses = Pauses(0.5, 4)
    assert [pauses.next(), pauses.next(), pauses.next()] == [0.5, 1, 2]
    pauses.reset()
    assert pauses.next() == 0.5


def test_pauses_without_end_stay_at_the_longest():
    pauses = Pauses(0.1, 5)
    assert max(pauses.next() for _ in range(5000)) == 5


def test_importing_the_stop_catches_no_signal_yet():
    body = "import signal, lib.stop; print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", body], env=environment, capture_output=True, text=True, timeout=20)
    assert done.stdout == "True\n"
