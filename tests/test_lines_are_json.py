"""`python bot.py 2>&1 | jq` never meets a line that is not JSON, whatever goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from demo.stack import ROOT, environment
from demo.telegram import ALICE
from tests.house import House

MakeHouse = Callable[..., House]


def run(script: str, seconds: float, **settings: str) -> tuple[int, list[dict[str, object]]]:
    """Start a script, stop it after so many seconds; its exit code, and its output as parsed lines."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / f"{script}.py")],
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=25)
    return process.returncode, [json.loads(line) for line in output.decode().splitlines()]


WORKING = {
    "MASTER_KEY": "0123456789abcdef" * 4,
    "TELEGRAM_BOT_TOKEN": f"{123456}:{'A' * 35}",
    "OWNER_ID": "1",
    "ALLOWED_USER_IDS": "1",
    "DATABASE_URL": "postgresql://u:wordpass1@127.0.0.1:1/db",
    "REDIS_URL": "redis://:wordpass2@127.0.0.1:1/0",
    "TELEGRAM_API_URL": "http://127.0.0.1:1",
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:1",
    "ANTHROPIC_API_KEY": "sk-ant-" + "k" * 20,
}


@pytest.mark.parametrize("script", ["bot", "worker"])
def test_wrong_settings_are_one_line_that_names_them_all(script: str) -> None:
    code, lines = run(script, 20)
    assert code == 2
    assert len(lines) == 1
    assert lines[0]["event"] == "settings_wrong"
    for name in ("MASTER_KEY", "DATABASE_URL", "REDIS_URL"):
        assert name in str(lines[0]["message"])


@pytest.mark.parametrize("script", ["bot", "worker"])
def test_without_a_database_the_script_waits_and_says_so(script: str) -> None:
    code, lines = run(script, 8, **WORKING)
    events = [line["event"] for line in lines]
    assert code == 0
    assert events.count("database_away") >= 2
    assert "started" not in events
    assert events[-1] == "stopped"
    assert "wordpass" not in str(lines)


def test_a_wrong_token_is_said_without_showing_it(make_house: MakeHouse) -> None:
    house = make_house()
    wrong = f"{987654}:{'B' * 35}"
    settings = house.env | {"TELEGRAM_BOT_TOKEN": wrong}
    code, lines = run("bot", 4, **settings)
    assert code == 0
    assert "token_refused" in [line["event"] for line in lines]
    assert wrong not in str(lines)
    assert "B" * 35 not in str(lines)


def test_an_unforeseen_error_is_one_line_with_its_traceback_and_the_bot_goes_on(make_house: MakeHouse) -> None:
    house = make_house()
    house.query("ALTER TABLE offsets ALTER next_offset TYPE text")
    house.query("INSERT INTO offsets (bot_id, next_offset) VALUES (%s, 'not a number')", house.telegram.bot_id)
    code, lines = run("bot", 10, **house.env)
    assert code == 0
    failed = [line for line in lines if line["event"] == "round_failed"]
    assert 2 <= len(failed) <= 6, "with growing pauses"
    assert failed[0]["level"] == "ERROR"
    assert "take_round" in str(failed[0]["error_stack"])


def test_missing_tables_are_named_with_what_to_do(make_house: MakeHouse) -> None:
    house = make_house()
    house.query("DROP TABLE outbox")
    for script in ("bot", "worker"):
        code, lines = run(script, 6, **house.env)
        assert code == 0
        assert "run schema.sql" in str(lines)


def test_no_line_holds_what_people_wrote_or_any_secret(house: House) -> None:
    house.telegram.say(ALICE, "my cat is called Wolkenschaf")
    house.await_replies(1)
    house.telegram.say(ALICE, "/nonsense Wolkenschaf")
    house.await_replies(2)
    for script in house.scripts:
        script.stop()
        text = script.log.read_text()
        assert "Wolkenschaf" not in text
        for secret in (house.telegram.token, house.env["ANTHROPIC_API_KEY"], house.env["DATABASE_URL"].split(":")[2]):
            assert secret.split("@")[0] not in text


def test_the_scripts_print_nothing_that_jq_refuses(house: House) -> None:
    house.telegram.say(ALICE, "привет \u2028 \x1b[31m \ud83d")
    house.await_replies(1)
    for script in house.scripts:
        script.stop()
        assert script.lines()
    jq = next((f"{folder}/jq" for folder in os.defpath.split(":") if os.access(f"{folder}/jq", os.X_OK)), None)
    if jq:
        for script in house.scripts:
            subprocess.run([jq, "-c", ".", script.log], check=True, capture_output=True)
