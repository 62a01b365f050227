"""`.env` has two readers, Docker Compose and python-dotenv, and they differ: here is where, and which lines are safe.

`make up` refuses what the two read differently. Safe are: unquoted, printable ASCII without any of $ " ' \\ # `; and in
'single quotes' everything but single quotes and backslashes.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from dotenv import dotenv_values

from demo.stack import MARKS, made_up
from lib import config
from tests.test_compose import ENV, FIXED, MAIN, NEEDED, ROOT, parsed, read

NAME = "SLACK_TOKEN"  # handed through as it stands, like every credential
PASSED_ON = [name for name in config.LINES if name in ENV and name not in NEEDED]  # these too
BASE = "".join(f"{name}={'0a' * 32}\n" for name in NEEDED).encode()
REFUSED = "the file is refused"


def by_compose(content: bytes) -> dict[str, str | None]:
    """What Compose reads, wherever it hands it to a container; raises ValueError for a file it refuses."""
    done = read(content, MAIN)
    if done.returncode:
        raise ValueError(done.stderr)
    services = parsed(done.stdout)["services"]
    found: dict[str, str | None] = dict(services["worker"]["environment"])
    found["POSTGRES_PASSWORD"] = services["postgres"]["environment"]["POSTGRES_PASSWORD"]
    found["STEWARD_APP_PASSWORD"] = services["schema"]["environment"]["STEWARD_APP_PASSWORD"]
    found["REDIS_PASSWORD"] = services["redis"]["environment"]["REDISCLI_AUTH"]
    return found


def by_python(content: bytes, folder: Path, patch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the settings read, with an empty environment around."""
    (folder / "env").write_bytes(content)
    with patch.context() as within:
        within.setattr(os, "environ", {"STEWARD_ENV_FILE": str(folder / "env")})
        return config._environment()


def both(line: str | bytes, folder: Path, patch: pytest.MonkeyPatch) -> tuple[str | None, str | None]:
    """What the two make of SLACK_TOKEN in a file that begins with this line."""
    content = (line.encode() if isinstance(line, str) else line) + b"\n" + BASE
    try:
        first = by_compose(content)[NAME]
    except ValueError:
        first = REFUSED
    try:
        return first, by_python(content, folder, patch).get(NAME)
    except config.ConfigError:
        return first, REFUSED


def is_let_through(content: bytes, folder: Path) -> bool:
    """Whether `make up` finds nothing ambiguous in this .env: the real script, stopped after that step."""
    script, last = (ROOT / "docker" / "up").read_text(), "\nmain\n"
    assert script.endswith(last)
    assert "refuse_ambiguous_lines() {" in script
    (folder / "docker").mkdir(exist_ok=True)
    (folder / "docker" / "common").write_text((ROOT / "docker" / "common").read_text())
    (folder / "docker" / "check").write_text(script.removesuffix(last) + "\nrefuse_ambiguous_lines\n")
    (folder / ".env").write_bytes(content)
    return subprocess.run(["sh", "docker/check"], cwd=folder, capture_output=True, timeout=30).returncode == 0


SAFE = [  # both read the same, and `make up` takes it
    *((f"'{value}'", value) for value in ("$", "$x", "${x}", "$$", "$(x)", "#", "a #b", '"', '"a"', "`x`", " a ")),
    *((f"'{value}'", value) for value in ("=", "a=b==", "%", "%41", "&", "*", "!", "ä你😀", "~", "{}", "<|>", ";")),
    *((value, value) for value in ("=", "a=b==", "%41", "&a", "*", "!a", "~", "{}", "<|>", ";", "a b", "null", "0123")),
    *((value, value) for value in ("0a" * 32, "xoxb-1-a", "1:a_b-c", "https://a.example/b?c=d&e=%20", "1,2, 3")),
    *((value, "a") for value in (" a", "a  ", "a\t", "'a'  ", "a\r", "'a'\r")),  # \r: saved on Windows
    *((value, "") for value in ("", " ", "''", "\r")),
]
OTHERS_SAFE = [
    *(
        (f"{before}=a", "a")
        for before in (f"export {NAME}", f"  {NAME}", f"{NAME} ", f"# it's\n{NAME}", f"{NAME}=b\n{NAME}")
    ),
    (f"{NAME}=a\n{NAME}=", ""),
]
# Both read the same today. `make up` refuses it all the same: simple rules are better than exact ones.
SAME = [
    (f"\ufeff{NAME}=a", "a"),
    (f"{NAME}=a #b", "a"),
    (f"{NAME}=a#b", "a#b"),
    (f"{NAME}='a' # b", "a"),
    (f'{NAME}="a"', "a"),
    (f'{NAME}="a\\nb"', "a\nb"),
    (f"{NAME}=a\\nb", "a\\nb"),
    (f"{NAME}='a\\nb'", "a\\nb"),
    (f"{NAME}='a\\'b'", "a'b"),
    (f"{NAME}='a\nb'", "a\nb"),
    (f"{NAME}=a'b", "a'b"),
    (f"{NAME}=a`b`", "a`b`"),
    (f"{NAME}=a$", "a$"),
]
# Read differently today. When one of these fails, a reader has changed, and the rule may too.
DIFFERENT = [
    *(f"{NAME}={value}" for value in ("$a", "a$b", "a${b}", "a$$b", "a\\$b", "a${", "${a:-b}", "$MASTER_KEY")),
    *(f'{NAME}="{value}"' for value in ("a$b", "a${b}", "a$$b", "a\\$b", "a\\'b", 'a"b')),
    *(f"{NAME}={value}" for value in ('"a', "'a", "'a'b", '"a"b', "'a''b'", "a\t#b", " # a")),
    f"{NAME}='a'b'",
    f"{NAME}='a\\\\b'",  # two backslashes, which Python makes one
    f"{NAME}='a\\'",  # for both the quotes stay open, and Compose refuses the file
    f"{NAME}: a",  # a line of YAML, which Compose takes
    f"{NAME}=a\rX=b",
    f"{NAME}='a\rb'",
    f"{NAME}=\u2028a",
    f"{NAME}=a\\\\$b",
]


@pytest.mark.parametrize(("line", "value"), [*((f"{NAME}={text}", value) for text, value in SAFE), *OTHERS_SAFE])
def test_a_safe_line_is_the_same_to_both_and_taken(line, value, tmp_path, monkeypatch):
    assert both(line, tmp_path, monkeypatch) == (value, value)
    assert is_let_through(line.encode() + b"\n" + BASE, tmp_path)


@pytest.mark.parametrize(("line", "value"), SAME)
def test_a_line_that_is_the_same_to_both_by_good_luck_stays_so(line, value, tmp_path, monkeypatch):
    assert both(line, tmp_path, monkeypatch) == (value, value)


@pytest.mark.parametrize("line", DIFFERENT)
def test_a_line_that_is_not_the_same_to_both_is_refused(line, tmp_path, monkeypatch):
    first, second = both(line, tmp_path, monkeypatch)
    assert first != second
    assert not is_let_through(line.encode() + b"\n" + BASE, tmp_path)


def test_what_is_not_utf8_is_refused_by_the_settings_in_words(tmp_path, monkeypatch):
    assert both(NAME.encode() + b"='\xff'", tmp_path, monkeypatch) == ("\ufffd", REFUSED)


def test_every_secret_made_up_by_us_may_stand_there_as_it_is(tmp_path, monkeypatch):
    kinds = [kind for kind in MARKS if kind not in ("database password", "google tokens")]
    secrets = [made_up(kind) for kind in kinds] + [os.urandom(32).hex()]
    names = PASSED_ON[: len(secrets)]
    content = "".join(f"{name}={value}\n" for name, value in zip(names, secrets, strict=True)).encode() + BASE
    first, second = by_compose(content), by_python(content, tmp_path, monkeypatch)
    assert [first[name] for name in names] == [second[name] for name in names] == secrets
    assert is_let_through(content, tmp_path)


@pytest.mark.parametrize("commented_out", [True, False])
def test_the_example_is_the_same_to_both(commented_out, tmp_path, monkeypatch):
    text = (ROOT / ".env.example").read_text()
    for name in NEEDED:
        text, count = re.subn(rf"^{name}=$", f"{name}={os.urandom(32).hex()}", text, flags=re.MULTILINE)
        assert count == 1, name
    if not commented_out:
        text = re.sub(r"^#([A-Z_]+=)", r"\1", text, flags=re.MULTILINE)
    first, second = by_compose(text.encode()), by_python(text.encode(), tmp_path, monkeypatch)
    second.pop("STEWARD_ENV_FILE")
    for name in ("WORKERS", "CLAUDE_CODE", *FIXED):  # for Compose itself, or fixed by it
        second.pop(name, None)
    assert {name: first[name] for name in second} == second
    assert is_let_through(text.encode(), tmp_path)
    if not commented_out:  # every other line there is can be found in the example
        assert set(config.LINES) - set(second) <= set(FIXED)


def test_nothing_is_put_in_place_of_a_variable_by_the_settings(tmp_path):
    (tmp_path / "env").write_text("A=x\nB=${A}\n")
    assert dotenv_values(tmp_path / "env", interpolate=False)["B"] == "${A}"
