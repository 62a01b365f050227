"""The simulators as a process of their own, as Docker Compose runs them, and talking through them with demo.say."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from demo.children import child, free_port, is_free
from demo.outside import TOKENS
from demo.stack import environment
from lib.config import LINES
from tests.house import House

MADE_UP = dict(zip(TOKENS, ("1:telegram", "claude", "slack", "clickup"), strict=True))
COMPOSE = (Path(__file__).parent.parent / "demo" / "docker-compose.yml").read_text()


@dataclass
class Outside:
    """One run of demo.outside; its control server is at `port`, the simulators behind it."""

    port: int
    process: subprocess.Popen[bytes]
    ready: str  # the line it said

    def say(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return say(self.port, *arguments)

    def ledger(self) -> Any:
        return json.loads(self.say("--ledger").stdout)


def five_free_ports() -> int:
    return next(port for port in iter(free_port, None) if all(map(is_free, range(port, port + 5))))


def start(port: int, *arguments: str, **tokens: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "demo.outside", "--port", str(port), *arguments]
    return child(command, env=environment(**tokens), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@contextmanager
def running(port: int, *arguments: str, **tokens: str) -> Iterator[Outside]:
    with start(port, *arguments, **(tokens or MADE_UP)) as process:
        try:
            assert process.stdout
            yield Outside(port, process, process.stdout.readline().decode())
        finally:
            process.kill()


def say(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demo.say", "--port", str(port), *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=90, check=False)


@pytest.fixture
def lived_in(make_house: Callable[..., House]) -> Iterator[tuple[House, Outside]]:
    """A started house whose world outside is another process."""
    port = five_free_ports()
    telegram, claude, slack, clickup = (f"http://127.0.0.1:{port + place}" for place in range(1, 5))
    house = make_house(
        TELEGRAM_API_URL=telegram,
        ANTHROPIC_BASE_URL=claude,
        SLACK_API_URL=f"{slack}/api",
        CLICKUP_API_URL=f"{clickup}/api",
    )
    with running(port, **{name: house.env[name] for name in TOKENS}) as outside:
        house.start()
        yield house, outside
        house.stop()


def test_a_conversation_through_the_process(lived_in):
    house, outside = lived_in
    said = outside.say("hello", "there")
    assert "«hello there»" in said.stdout, said.stderr + house.story()
    long = outside.say("--as", "bob", "write 900 words").stdout
    assert long.endswith("word 900\n"), house.story()
    assert "1003" in outside.say("--as", "charlie", "and I?").stdout

    found = outside.ledger()
    alice, bob, charlie = (found["people"][name] for name in ("alice", "bob", "charlie"))
    assert (found["pending"], found["claude_requests"], found["telegram_refused"]) == (0, 2, [])
    assert [(written["text"], written["confirmed"]) for written in alice["written"]] == [("hello there", True)]
    assert [(sent["text"], sent["edits"]) for sent in alice["received"]] == [(said.stdout.rstrip("\n"), 0)]
    assert "\n\n".join(sent["text"] for sent in bob["received"]) == long.rstrip("\n")
    assert len(bob["received"]) == 3
    assert bob["received"][0]["message_id"] > bob["written"][0]["message_id"]
    assert len(charlie["received"]) == 1


def test_a_worker_can_be_killed_in_the_middle_of_an_answer(lived_in):
    house, outside = lived_in
    assert outside.say("--claude-slow", "60", "--no-wait", "hello").stdout == ""
    deadline = time.monotonic() + 20
    while not outside.ledger()["people"]["alice"]["drafts"]:
        assert time.monotonic() < deadline, house.story()
    house.worker.kill()
    house.worker.start()
    assert "«still there?»" in outside.say("still there?").stdout, house.story()
    found = outside.ledger()
    first, second = (sent["text"] for sent in found["people"]["alice"]["received"])
    assert "You wrote: «hello»" in first
    assert "You wrote: «still there?»" in second
    assert found["claude_requests"] == 3


def test_it_ends_at_once_at_sigterm_and_leaves_its_ports():
    with running(five_free_ports()) as outside:
        assert f"Telegram {outside.port + 1}, Claude" in outside.ready
        outside.say("--no-wait", "hello")
        began = time.monotonic()
        outside.process.send_signal(signal.SIGTERM)
        stdout, stderr = outside.process.communicate(timeout=10)
        assert time.monotonic() - began < 1
        assert (outside.process.returncode, stdout, stderr) == (0, b"", b"")
        assert all(map(is_free, range(outside.port, outside.port + 5)))


def test_only_the_simulators_leave_the_loopback_address():
    with running(five_free_ports(), "--address", "127.0.0.2") as outside:
        elsewhere = f"http://127.0.0.2:{outside.port + 1}/bot{MADE_UP['TELEGRAM_BOT_TOKEN']}/getMe"
        assert requests.get(elsewhere, timeout=5).json()["ok"]
        assert outside.ledger()["pending"] == 0
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://127.0.0.2:{outside.port}/ledger", timeout=5)


def test_update_numbers_go_on_after_a_restart():
    """PostgreSQL outlives the simulators, and would take a number seen before for a second copy."""
    port, seen = five_free_ports(), []
    for _ in range(2):
        with running(port) as outside:
            for _ in range(2):
                outside.say("--no-wait", "hello")
            updates = f"http://127.0.0.1:{port + 1}/bot{MADE_UP['TELEGRAM_BOT_TOKEN']}/getUpdates"
            seen += [update["update_id"] for update in requests.get(updates, timeout=5).json()["result"]]
    assert len(set(seen)) == 4
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hello"], "The simulators do not answer on port"),
        (["--ledger"], "The simulators do not answer on port"),
        ([], "There is nothing to say"),
        (["  "], "There is nothing to say"),
        (["--claude-slow", "-1"], "above 0"),
        (["--claude-slow", "soon"], "invalid float value"),
        (["--as", "zoe", "hello"], "invalid choice: 'zoe'"),
    ],
)
def test_what_cannot_be_done_gets_a_sentence(arguments, words):
    done = say(five_free_ports(), *arguments)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_text_no_app_sends_and_an_answer_that_does_not_come():
    with running(five_free_ports()) as outside:
        assert "no app sends more than 4096" in outside.say("x" * 4097).stderr
        assert "No answer came within 1 s." in outside.say("--seconds", "1", "hello").stderr
        assert outside.ledger()["pending"] == 1


def test_when_it_cannot_start_it_says_why():
    def words(port: int, **tokens: str) -> str:
        process = start(port, **(MADE_UP | tokens))
        stdout, stderr = process.communicate(timeout=10)
        assert (process.returncode, stdout) == (1, b"")
        assert stderr.count(b"\n") == 1
        return stderr.decode()

    with running(five_free_ports()) as outside:
        assert "cannot be opened" in words(outside.port)
    assert "environment: SLACK_TOKEN." in words(five_free_ports(), SLACK_TOKEN="")
    assert "TELEGRAM_BOT_TOKEN does not look right" in words(five_free_ports(), TELEGRAM_BOT_TOKEN="no")


def test_the_compose_file_lets_no_real_token_and_no_real_store_through():
    given = dict(re.findall(r'^ +([A-Z][A-Z_]+): "?([^"\n]*?)"?(?:  #.*)?$', COMPOSE, re.MULTILINE))
    own = {
        "MASTER_KEY",
        "OLD_MASTER_KEY",
        "QDRANT_API_KEY",
        "HISTORY_TOKENS",
        "TIMEZONE",
        "GOOGLE_SCOPES",
        "AUDIT_DAYS",
        "ALLOWED_CHAT_IDS",
        "TURNS_PER_HOUR",
        "HEARTBEAT_FILE",
        "HEALTH_FILE",
        "DISK_PATHS",
    }
    assert set(given) == set(LINES) - own, "is a new line one that the demo should not take from a real .env?"
    for name in TOKENS:
        assert re.fullmatch(LINES[name][0], given[name])
    real = r"\b\d{8,10}:[\w-]{35}|sk-ant-(oat|api|ort)\d\d-.{20}|xox[bp]-[\w-]{20}|pk_\d{7,8}_\w{32}"
    assert not re.search(real, COMPOSE)
