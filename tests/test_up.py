"""`make up` on a fresh machine, and what it says when something is missing.

Docker is played by a script that takes notes; `make compose-test` does the same with a real one.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GENERATED = ["MASTER_KEY", "POSTGRES_PASSWORD", "STEWARD_APP_PASSWORD", "REDIS_PASSWORD", "QDRANT_API_KEY"]
TOOLS = [
    "sh",
    "cat",
    "dirname",
    "find",
    "grep",
    "ln",
    "mktemp",
    "od",
    "printenv",
    "rm",
    "sed",
    "sleep",
    "tail",
    "tr",
    "uniq",
]
DOCKER = """#!/bin/sh
echo "$*" >> docker.calls
case "$*" in
    "volume inspect"*) [ -e database ] ;;
    "compose up"*) [ ! -e broken ] ;;
    "compose ps"*)
        printf '%s\\n' 'postgres running healthy 0' 'schema exited  0' 'bot restarting  2' \\
            'worker running unhealthy 0' ;;
    "compose logs --no-log-prefix bot" | "compose logs --no-log-prefix --since"*) cat bot.log ;;
    "compose logs"*) printf '{"level": "ERROR", "message": "The MASTER_KEY is wrong.", "event": "locked"}\\n' ;;
    "info"*) [ ! -e stopped ] ;;
esac
"""


@dataclass
class Machine:
    """A clone of the repository, as far as docker/up looks at it, and the programs it may use."""

    folder: Path

    def up(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "docker/up"],
            cwd=self.folder,
            env={"PATH": str(self.folder / "bin"), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def env(self) -> Path:
        return self.folder / ".env"

    def value(self, name: str) -> str:
        found = re.search(rf"^{name}=(.*)$", self.env.read_text(), re.M)
        assert found, name
        return found[1]

    def fill_in(self, **values: str) -> None:
        text = self.env.read_text()
        for name, value in values.items():
            text = re.sub(rf"^{name}=.*$", f"{name}={value}", text, flags=re.M)
        self.env.write_text(text)

    def calls(self) -> list[str]:
        notes = self.folder / "docker.calls"
        return notes.read_text().splitlines() if notes.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "docker").mkdir()
    for name in ("up", "common"):
        shutil.copy(ROOT / "docker" / name, tmp_path / "docker")
    shutil.copy(ROOT / ".env.example", tmp_path)
    (tmp_path / "bot.log").write_text("")
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in TOOLS:
        (programs / tool).symlink_to(str(shutil.which(tool)))
    docker = programs / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    return Machine(tmp_path)


@pytest.fixture
def filled(machine: Machine) -> Machine:
    machine.up()
    machine.fill_in(TELEGRAM_BOT_TOKEN="1:" + "a" * 35, OWNER_ID="1001", ALLOWED_USER_IDS="1001", ANTHROPIC_API_KEY="k")
    return machine


def test_a_fresh_machine_gets_an_env_file_with_every_internal_secret(machine):
    result = machine.up()
    assert result.returncode == 0
    assert machine.env.stat().st_mode & 0o777 == 0o600
    secrets = [machine.value(name) for name in GENERATED]
    assert all(re.fullmatch("[0-9a-f]{64}", secret) for secret in secrets)
    assert len(set(secrets)) == len(GENERATED)
    rest = re.sub(rf"^({'|'.join(GENERATED)})=.*$", r"\1=", machine.env.read_text(), flags=re.M)
    assert rest == (ROOT / ".env.example").read_text()


def test_it_says_which_lines_to_fill_in_and_stops(machine):
    result = machine.up()
    for line in ("TELEGRAM_BOT_TOKEN", "@BotFather", "OWNER_ID", "ALLOWED_USER_IDS", "ANTHROPIC_API_KEY", "make up"):
        assert line in result.stdout
    assert not any("up" in call.split() for call in machine.calls())
    assert not any(machine.value(name) in result.stdout + result.stderr for name in GENERATED)
    assert [path.name for path in machine.folder.glob(".env*") if path.name != ".env.example"] == [".env"]


def test_an_existing_env_file_is_never_touched(filled):
    before = filled.env.read_bytes()
    assert filled.up().returncode == 0
    filled.fill_in(TELEGRAM_BOT_TOKEN="")
    emptied = filled.env.read_bytes()
    assert filled.up().returncode == 1
    assert filled.env.read_bytes() == emptied != before


def test_without_a_token_nothing_is_built(machine):
    machine.up()
    result = machine.up()
    assert result.returncode == 1
    assert "TELEGRAM_BOT_TOKEN is still empty" in result.stderr
    assert not any(call.startswith("compose up") for call in machine.calls())


def test_a_token_that_is_sealed_already_may_be_deleted_from_the_file(filled):
    filled.fill_in(TELEGRAM_BOT_TOKEN="")
    (filled.folder / "database").touch()
    assert filled.up().returncode == 0


def test_a_token_in_the_environment_counts(machine):
    machine.up()
    assert machine.up(TELEGRAM_BOT_TOKEN="1:" + "a" * 35).returncode == 0


def test_a_filled_file_is_all_it_takes(filled):
    result = filled.up()
    assert result.returncode == 0
    assert [call for call in filled.calls() if call.startswith("compose up")] == [
        "compose up --build --detach --wait --wait-timeout 600"
    ]
    assert "Everything runs." in result.stdout
    assert "docker logs bot | jq" in result.stdout


def test_who_does_not_know_the_own_id_is_told_how_to_learn_it(filled):
    filled.fill_in(OWNER_ID="", ALLOWED_USER_IDS="")
    assert "it answers with your id" in filled.up().stdout


def test_a_database_without_its_env_file_is_not_given_new_keys(machine):
    (machine.folder / "database").touch()
    result = machine.up()
    assert result.returncode == 1
    assert "put the file back" in result.stderr
    assert not machine.env.exists()


@pytest.mark.parametrize("line", ["SLACK_TOKEN=a$b", 'A="b"', "A=b#c", "A='b'c'", "A=`b`", "A=b\\n", "A = 'b", "odd"])
def test_a_line_that_docker_reads_differently_is_named_without_its_value(filled, line):
    with filled.env.open("a") as env:
        env.write(line + "\n")
    number = len(filled.env.read_text().splitlines())
    result = filled.up()
    assert result.returncode == 1
    assert f"line {number}" in result.stderr
    assert line not in result.stderr
    assert not any(call.startswith("compose up") for call in filled.calls())


@pytest.mark.parametrize("line", ["A='b$c\"d#`'", "A=a b", "export A=b", "A = b ", "A=b\r", "", "  # $x", "A="])
def test_lines_that_mean_the_same_everywhere_pass(filled, line):
    with filled.env.open("a", newline="") as env:
        env.write(line + "\n")
    assert filled.up().returncode == 0


def test_an_env_file_that_others_can_read_is_pointed_out(filled):
    filled.env.chmod(0o644)
    assert "chmod 600 .env" in filled.up().stdout


def test_a_machine_without_docker_is_told_so(filled):
    (filled.folder / "bin" / "docker").unlink()
    result = filled.up()
    assert result.returncode == 1
    assert "Docker is not installed" in result.stderr


def test_a_machine_without_docker_gets_its_env_file_all_the_same(machine):
    (machine.folder / "bin" / "docker").unlink()
    result = machine.up()
    assert result.returncode == 0
    assert machine.value("MASTER_KEY")
    assert "Docker is not installed" in result.stdout


@pytest.mark.parametrize("name", GENERATED)
def test_a_secret_that_went_missing_is_named_and_no_new_one_is_made_up(filled, name):
    filled.fill_in(**{name: ""})
    result = filled.up()
    assert result.returncode == 1
    assert f"{name} is empty in .env" in result.stderr
    assert filled.value(name) == ""


@pytest.mark.parametrize("name", GENERATED)
def test_an_internal_secret_is_letters_and_digits_or_a_store_could_misread_it(filled, name):
    filled.fill_in(**{name: "'pass word'"})
    result = filled.up()
    assert result.returncode == 1
    assert f"{name} in .env may have letters and digits only" in result.stderr


@pytest.mark.parametrize("kind", ["folder", "dangling link"])
def test_an_env_that_is_no_file_is_not_written_through(machine, kind):
    if kind == "folder":
        machine.env.mkdir()
    else:
        machine.env.symlink_to("nowhere")
    result = machine.up()
    assert result.returncode == 1
    assert "is no file" in result.stderr
    assert not (machine.folder / "nowhere").exists()


def test_a_house_that_does_not_reach_its_database_is_not_called_well(filled):
    line = '{"event": "database_away", "error_message": "127.0.0.1: Connection refused"}\n'
    (filled.folder / "bot.log").write_text('{"event": "started"}\n' + line)
    result = filled.up()
    assert result.returncode == 1
    assert "127.0.0.1: Connection refused" in result.stderr
    assert "DATABASE_URL" in result.stderr


def test_a_docker_that_does_not_run_is_told_so(filled):
    (filled.folder / "stopped").touch()
    result = filled.up()
    assert result.returncode == 1
    assert "Docker does not answer" in result.stderr


def test_what_did_not_come_up_is_named_with_its_last_words(filled):
    (filled.folder / "broken").touch()
    result = filled.up()
    assert result.returncode == 1
    assert "bot is not well (restarting" in result.stderr
    assert "worker is not well (running unhealthy" in result.stderr
    assert "The MASTER_KEY is wrong.\n" in result.stderr
    assert "postgres is not" not in result.stderr
    assert "schema is not" not in result.stderr


def test_a_token_that_telegram_refuses_is_not_called_success(filled):
    (filled.folder / "bot.log").write_text('{"event": "token_refused"}\n')
    result = filled.up()
    assert result.returncode == 1
    assert "does not know this TELEGRAM_BOT_TOKEN" in result.stderr
