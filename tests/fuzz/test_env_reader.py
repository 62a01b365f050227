"""The reader of `.env`: any file gives settings, or one sentence that names the line and quotes no value."""

from __future__ import annotations

import io
import logging
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lib import config
from lib.config import LINES, ConfigError
from lib.secret import Secret
from tests.fuzz import EXAMPLES
from tests.fuzz.material import any_texts
from tests.hunt import exception_texts
from tests.test_env_file import BASE, PASSED_ON, by_compose, by_python, is_let_through

SECRET = "hunter" + "2hunter2"
GOOD = {
    "MASTER_KEY": "0a" * 32,
    "DATABASE_URL": f"postgresql://steward_app:{SECRET}@127.0.0.1:5432/steward",
    "REDIS_URL": f"redis://:{SECRET}@127.0.0.1:6379/0",
    "TELEGRAM_BOT_TOKEN": f"{123456}:{SECRET}{'A' * 30}",
}
# What stands around a secret in a line that is wrong: nearly right shapes of all kinds.
SHAPES = ["{}", "{}:{}", "xoxb-{}", "sk-ant-oat{}", "postgresql://u:{}@h:1/d", "postgres://{}@[/x", "redis://:{}@h:x/0"]
SHAPES += ["rediss://h,{}/0", "https://{}", "postgresql://u:p@h/d?sslpassword={}", "http://[::1]:{}", "٣{}", "-5,{}"]
SHAPES += ["9" * 5000 + ":{}", "/{}", "Europe/{}", "../{}", "{}\x00", "{}\ud800", "\u2028{}", "'{}", '"{}', "{}\\"]
written = st.one_of(
    st.builds(lambda shape, more: shape.replace("{}", SECRET) + more, st.sampled_from(SHAPES), st.just("") | any_texts),
    st.sampled_from(["", "1", "0", "'x'", "Europe/Berlin", "-1", "٣", "²", "1,2", "9" * 17, "9" * 5000, "/", "UTC"]),
    any_texts,
)
lines = st.one_of(
    st.builds("{}={}".format, st.sampled_from(sorted(LINES)), written),
    st.builds("{}='{}'".format, st.sampled_from(sorted(LINES)), written),
    st.builds('export {} = "{}"'.format, st.sampled_from(sorted(LINES)), written),
    any_texts,
)
HIDDEN = [name for name in LINES if name.endswith(("KEY", "TOKEN", "SECRET"))] + ["DATABASE_URL", "REDIS_URL"]


def loaded(content: bytes) -> config.Settings:
    """The settings from such a file, in an empty environment."""
    with tempfile.NamedTemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        file.write(content)
        file.flush()
        patch.setattr(os, "environ", {"STEWARD_ENV_FILE": file.name})
        return config.load()


def outcome(content: bytes) -> config.Settings | str:
    """The settings, or what is said instead. What python-dotenv has to say of the file quotes nothing of it."""
    said = io.StringIO()
    listener = logging.StreamHandler(said)
    logging.getLogger("dotenv").addHandler(listener)
    try:
        return loaded(content)
    except ConfigError as exc:
        return "\n".join(exception_texts(exc))
    finally:
        logging.getLogger("dotenv").removeHandler(listener)
        assert SECRET not in said.getvalue()


def names_a_line(text: str) -> None:
    """A sentence that helps, and quotes no value."""
    assert " start again." in text
    assert any(name in text for name in LINES) or "not UTF-8" in text
    assert SECRET not in text


def is_usable(found: config.Settings) -> None:
    """What the scripts do with the settings first raises nothing."""
    assert all(type(secret) is str for secret in found.secrets)
    assert 0 <= found.owner_id < 2**63
    assert all(0 <= one < 2**63 for one in found.allowed_user_ids)
    assert all(-(2**63) <= one < 0 for one in found.allowed_chat_ids)
    for entry in found.entries:
        assert isinstance(entry.token, Secret)
        if entry.service == "telegram":
            assert 0 < int(entry.token.reveal().partition(":")[0]) < 2**63
    for url in (found.database_url, found.redis_url):
        assert all(host for host, _ in config.hosts(url.reveal()))


@given(st.binary() | st.lists(lines, max_size=6).map(lambda found: "\n".join(found).encode("utf-8", "surrogatepass")))
@example(f"TELEGRAM_BOT_TOKEN={'9' * 5000}:{'A' * 35}".encode())
def test_any_file_gives_settings_or_a_sentence(content: bytes):
    base = "".join(f"{name}='{value}'\n" for name, value in GOOD.items()).encode()
    for one in (content, base + content, content + b"\n" + base):
        found = outcome(one)
        if isinstance(found, str):
            names_a_line(found)
        else:
            is_usable(found)


@given(st.dictionaries(st.sampled_from(sorted(LINES)), written, max_size=4))
def test_any_environment_gives_settings_or_a_sentence(given_lines: dict[str, str]):
    try:
        found = config.load({**GOOD, **given_lines})
    except ConfigError as exc:
        names_a_line(str(exc))
        return
    is_usable(found)
    shown = repr(found)
    assert not any(given_lines.get(name, "") in shown for name in HIDDEN if SECRET in given_lines.get(name, ""))


quoted = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="'\\"))
plain = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="$\"'\\#`"))


@given(st.sampled_from(HIDDEN), quoted, plain)
def test_what_is_written_by_the_rules_of_the_example_is_read_as_it_is(name: str, in_quotes: str, bare: str):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        assert by_python(f"{name}='{in_quotes}'\n".encode(), Path(folder), patch)[name] == in_quotes
        assert by_python(f"{name}={bare}\n".encode(), Path(folder), patch)[name] == bare.strip()


# As it is meant, and as it is written.
safe = quoted.map(lambda value: (value, f"'{value}'")) | plain.map(lambda value: (value.strip(), value))


@settings(max_examples=max(EXAMPLES // 20, 12))  # Compose takes its time
@given(some=st.lists(safe, max_size=len(PASSED_ON)))
@example(some=[("äß你😀\u2028\xa0", "'äß你😀\u2028\xa0'"), ('$"#`', "'$\"#`'"), ("a=b==", "a=b== "), ("", " ")])
def test_make_up_takes_it_and_docker_compose_reads_it_like_this_too(some: list[tuple[str, str]], tmp_path: Path):
    lines = dict(zip(PASSED_ON, some, strict=False))
    content = "".join(f"{name}={as_written}\n" for name, (_, as_written) in lines.items()).encode() + BASE
    assert is_let_through(content, tmp_path)
    found = by_compose(content)
    assert {name: found[name] for name in lines} == {name: value for name, (value, _) in lines.items()}


values = st.text("aZ0 .,:;/=%&*!~{}<|>()-_@+?^[]\"'$#\\`\tä😀\u2028\xa0\x7f", max_size=12) | st.text(max_size=5)
shapes = st.sampled_from(["{}", "{}", "'{}'", '"{}"', " {}", "'{}' ", "{} # x", "'{}'#"])
assignments = st.builds(
    lambda before, name, sign, shape, value: f"{before}{name}{sign}{shape.format(value)}",
    st.sampled_from(["", "", "export ", "  ", "\t", "#", "# ", "export\t"]),
    st.sampled_from(PASSED_ON),
    st.sampled_from(["=", "=", " =", "= ", " = ", "\t=", ":", ""]),
    shapes,
    values,
)


@settings(max_examples=max(EXAMPLES // 20, 12))  # Compose takes its time
@given(content=st.lists(assignments, max_size=8).map(lambda found: "".join(f"{line}\n" for line in found)))
@example(content="SLACK_TOKEN='a\u2028b'\nexport CLICKUP_TOKEN = a=b \n")
def test_what_make_up_lets_through_docker_compose_and_the_settings_read_the_same(content: str, tmp_path: Path):
    found = [line for line in content.split("\n") if is_let_through(f"{line}\n".encode(), tmp_path)]
    kept = "".join(f"{line}\n" for line in found).encode() + BASE
    first = by_compose(kept)
    with pytest.MonkeyPatch.context() as patch:
        second = by_python(kept, tmp_path, patch)
    for name in PASSED_ON:
        assert first.get(name) == second.get(name)
