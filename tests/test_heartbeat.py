"""The heartbeat: a promise that outlives every outage of a store, and that a script which hangs does not outlive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.children import child, state, wait_until
from demo.loopback import Fault
from demo.servers import Stores
from demo.stack import ROOT, Script, environment
from demo.telegram import ALICE
from lib import heartbeat
from tests.house import House
from tests.test_compose import main_house
from worker import ASK_SECONDS

MakeHouse = Callable[..., House]


def beating(house: House) -> House:
    """Give each script of the house a file of its own, as each container has."""
    for script in house.scripts:
        script._env = {**house.env, "HEARTBEAT_FILE": str(file_of(script))}
    return house


def file_of(script: Script) -> Path:
    return script.log.with_suffix(".beat")


def promise(path: Path) -> float:
    """How many seconds are left of the promise; below zero it is broken."""
    return path.stat().st_mtime - time.time() if path.exists() else -1.0


def forget(script: Script) -> None:
    """Put the promise back to 1970, so that the next one is seen at once and not ninety seconds later."""
    os.utime(file_of(script), (0, 0))


def await_promise(house: House, script: Script, seconds: float = 20.0) -> float:
    assert wait_until(lambda: promise(file_of(script)) > 0, seconds), house.story()
    return promise(file_of(script))


def renews(house: House, *scripts: Script) -> None:
    """Fails unless each script renews its promise soon; the bot's long poll is ended by a message."""
    for script in scripts:
        forget(script)
    house.telegram.say(ALICE, "the poll is over")
    for script in scripts:
        assert await_promise(house, script) > heartbeat.ROUND_SECONDS - 20
        assert script.running


def test_a_bot_and_a_worker_renew_their_promise(make_house: MakeHouse) -> None:
    house = beating(make_house())
    house.start()
    house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    house.await_idle()
    for script in house.scripts:
        assert promise(file_of(script)) > 0
    renews(house, *house.scripts)
    forget(house.worker)
    await_promise(house, house.worker, 10)  # an idle worker by itself, each time the bell was silent


def test_without_a_file_none_is_kept(house: House) -> None:
    house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    assert not [path for script in house.scripts for path in script.log.parent.glob("*.beat")]


def test_the_promise_is_renewed_while_there_is_no_database_from_the_start(
    make_house: MakeHouse, own_stores: Stores
) -> None:
    house = beating(make_house(own_stores=own_stores))
    own_stores.postgres.stop()
    house.start()
    for script in house.scripts:
        house.await_event(script, "database_away")
    renews(house, *house.scripts)
    assert "started" not in house.bot.events() + house.worker.events()


def test_the_promise_is_renewed_while_a_store_is_dead(make_house: MakeHouse, own_stores: Stores) -> None:
    house = beating(make_house(own_stores=own_stores))
    house.start()
    house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    own_stores.redis.kill()
    renews(house, *house.scripts)
    house.await_event(house.worker, "redis_away")
    renews(house, house.worker)
    own_stores.postgres.kill()
    renews(house, *house.scripts)
    for script in house.scripts:
        house.await_event(script, "database_away")
    renews(house, *house.scripts)


def test_the_promise_covers_an_answer_that_takes_long(make_house: MakeHouse) -> None:
    house = beating(make_house())
    house.claude.faults.add(Fault("hang", "/messages", seconds=3))
    house.start()
    house.telegram.say(ALICE, "hello")
    house.await_requests(1)
    assert promise(file_of(house.worker)) > ASK_SECONDS
    house.await_replies(1)
    house.await_idle()
    # Once the answer is there the long promise is taken back: it would hide that the worker hangs afterwards.
    assert wait_until(lambda: 0 < promise(file_of(house.worker)) <= heartbeat.ROUND_SECONDS, 10)


# The real worker with other constants and, in the second place, with what is to go wrong.
WORKER = """
import itertools, sys
import worker
from lib import heartbeat
heartbeat.ROUND_SECONDS, heartbeat.LATE_SECONDS = {}
{}
sys.exit(worker.main())
"""


def hire_changed(house: House, constants: str, change: str = "") -> subprocess.Popen[bytes]:
    """Start a worker of this kind in place of the house's own."""
    with house.worker.log.open("ab") as log, house.worker.log.with_suffix(".stderr").open("wb") as errors:
        env = {**house.env, "HEARTBEAT_FILE": str(file_of(house.worker)), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", WORKER.format(constants, change)]
        return child(command, env=env, stdout=log, stderr=errors)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_the_promise_of_a_frozen_worker_ends_and_begins_again(make_house: MakeHouse) -> None:
    house = make_house()
    process = hire_changed(house, "3.0, 60.0")
    try:
        house.await_event(house.worker, "started")
        await_promise(house, house.worker)
        os.kill(process.pid, signal.SIGSTOP)
        assert wait_until(lambda: state(process.pid)[0] == "T", 5)
        assert wait_until(lambda: promise(file_of(house.worker)) < 0, 10)
        os.kill(process.pid, signal.SIGCONT)
        await_promise(house, house.worker)
    finally:
        end(process)


def test_a_worker_that_no_signal_reaches_ends_itself_and_the_next_one_answers(make_house: MakeHouse) -> None:
    house = beating(make_house())
    house.bot.start()
    house.telegram.say(ALICE, "hello")
    house.await_event(house.bot, "update_stored")
    # This sum never ends, keeps the interpreter for itself, and lets no handler run: not even the limit on an answer.
    hang = "worker.ASK_SECONDS = 0.5; worker.ApiDoor.answer = lambda *a: sum(itertools.repeat(0))"
    process = hire_changed(house, "4.0, 0.5", hang)
    try:
        assert process.wait(30) == 1
    finally:
        end(process)
    words = house.worker.log.with_suffix(".stderr").read_text()
    assert "most recent call first" in words
    assert "in answer" in words
    house.worker.start()
    assert "«hello»" in house.await_replies(1)[0]
    house.await_idle()
    assert len(house.replies()) == 1


# A process of a second's patience; `secret` stands for all that a variable may hold.
PROGRAM = """
import ctypes, sys, time
from lib import heartbeat

def stuck(secret):
    {}

heartbeat.ROUND_SECONDS, heartbeat.LATE_SECONDS = 0.5, 0.5
heartbeat.keep(sys.argv[1])
stuck("the-secret-value")
"""


def run_program(change: str, path: Path | str) -> subprocess.CompletedProcess[str]:
    env = environment(PYTHONPATH=str(ROOT))
    command = [sys.executable, "-c", PROGRAM.format(change), str(path)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    "hang",
    [
        "while True: pass",
        "time.sleep(25)",
        "ctypes.PyDLL(None).sleep(25)",  # in C, and holding the interpreter's lock
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(25)",
        "heartbeat.beat(-0.3); time.sleep(25)",
    ],
)
def test_a_process_that_hangs_is_ended_and_says_where(hang: str, tmp_path: Path) -> None:
    done = run_program(hang, tmp_path / "beat")
    assert done.returncode == 1
    assert "most recent call first" in done.stderr
    assert "in stuck" in done.stderr
    assert "the-secret-value" not in done.stderr


@pytest.mark.parametrize(
    "life",
    [
        "for _ in range(16): time.sleep(0.1); heartbeat.beat()",
        "heartbeat.beat(20); time.sleep(1.5)",  # longer than patience, as promised
        "heartbeat.beat(); heartbeat.beat(20); time.sleep(1.5)",  # the last promise counts
    ],
)
def test_a_process_that_keeps_its_promise_lives(life: str, tmp_path: Path) -> None:
    done = run_program(life, tmp_path / "beat")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_process_without_a_file_is_never_ended(tmp_path: Path) -> None:
    done = run_program("heartbeat.beat(); time.sleep(1.5)", "")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["bot", "worker"])
def test_the_health_check_believes_a_promise_and_nothing_else(name: str, tmp_path: Path) -> None:
    service = main_house()["services"][name]
    kind, command = service["healthcheck"]["test"]
    path = tmp_path / "beat"
    assert kind == "CMD-SHELL"
    assert service["environment"]["HEARTBEAT_FILE"] in command

    def healthy() -> bool:
        words = command.replace(service["environment"]["HEARTBEAT_FILE"], str(path))
        return subprocess.run(["sh", "-c", words], capture_output=True, timeout=10).returncode == 0

    assert not healthy()
    for ahead, well in ((60, True), (-60, False), (10**6, True), (-(10**6), False)):
        path.touch()
        os.utime(path, (time.time() + ahead,) * 2)
        assert healthy() is well
