"""The plaintext hunt is proven by planting: a secret hidden anywhere, in any encoding, is found and named."""

from __future__ import annotations

import json
import os
import random
import re
import secrets
import string
from base64 import b64encode, encodebytes, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import psycopg2
import pytest
import redis

import tests.hunt
from demo.children import wait_until
from demo.servers import Stores
from demo.stack import APP_PASSWORD
from tests.hunt import Find, Hunt, exception_texts, needles

ROOT = Path(__file__).parent.parent
WORDS = string.ascii_letters + string.digits
# What looks the same in several encodings is called by the first of their names.
ALSO = {"URL-safe base64": ["base64"], "URL": ["plain"], "JSON": ["plain"], "repr": ["plain", "JSON"]}
ALSO |= {"hex of both cases": ["hex"], "JSON in JSON": ["plain", "JSON"]}
TEXT_COLUMNS = ["text", "jsonb"]

Canaries = list[tuple[str, str]]
Planted = tuple[str, str, bytes]  # kind, encoding, what stands there


def canaries() -> Canaries:
    """One secret of every kind, never seen before: made of parts, so that none stands in the source."""

    def some(length: int, alphabet: str = WORDS) -> str:
        return "".join(secrets.choice(alphabet) for _ in range(length))

    return [
        ("Telegram token", f"{some(10, '123456789')}:{some(35, WORDS + '_-')}"),
        ("Slack token", "-".join(["xox" + "b", some(12, string.digits), some(12, string.digits), some(24)])),
        ("ClickUp token", "_".join(["pk", some(8, string.digits), some(32, string.ascii_uppercase + string.digits)])),
        ("Claude API key", "sk-" + "ant-" + "api03-" + some(95, WORDS + "_-")),
        ("Claude plan token", "sk-" + "ant-" + "oat01-" + some(95, WORDS + "_-")),
        ("Claude access token", "sk-" + "ant-" + "oat01-" + some(95, WORDS + "_-")),
        ("Claude refresh token", "sk-" + "ant-" + "ort01-" + some(95, WORDS + "_-")),
        ("Google access token", "ya29" + "." + some(200, WORDS + "_-")),
        ("Google refresh token", "1//" + some(100, WORDS + "_-")),
        ("Google client secret", "GOC" + "SPX-" + some(28, WORDS + "_-")),
        ("master key", secrets.token_hex(32)),
        ("database password", "p\"ä\\s's/ö:r d&%+🔑" + some(12)),
        ("Redis password", secrets.token_hex(24)),
    ]


def writings(secret: str, before: str = "", after: str = "") -> Iterator[tuple[str, bytes]]:
    """A text with the secret in it, as the standard library encodes the whole, and the name of the encoding."""
    whole = before + secret + after
    raw = whole.encode()
    for shift in range(3):
        yield "base64", b64encode(b"x" * shift + raw)
        yield "URL-safe base64", urlsafe_b64encode(b"x" * shift + raw)
    mixed_case = "".join(map(random.choice, zip(raw.hex(), raw.hex().upper(), strict=True)))
    units = re.findall("....", whole.encode("utf-16-be").hex())
    texts = {
        "plain": [whole],
        "hex": [raw.hex(), raw.hex().upper()],
        "hex of both cases": [mixed_case],
        "URL": [
            quote(whole, safe=""),
            quote(whole),
            quote_plus(whole),
            re.sub("%..", lambda f: f[0].lower(), quote(raw)),
        ],
        "JSON": [json.dumps(whole), json.dumps(whole, ensure_ascii=False)],
        "JSON in JSON": [json.dumps(json.dumps(json.dumps(whole)))],
        "repr": [repr(whole), ascii(whole), repr(raw), repr([whole]), repr({"key": raw})],
    }
    texts["URL"] += ["".join(f"%{byte:02X}" for byte in raw), "".join(f"%{byte:02x}" for byte in raw)]
    texts["JSON"] += ["".join(f"\\u{unit}" for unit in units), "".join(f"\\u{unit.upper()}" for unit in units)]
    for name, of in texts.items():
        yield from ((name, text.encode()) for text in of)
    yield "UTF-16", whole.encode("utf-16-le")
    yield "UTF-16", whole.encode("utf-16-be")


def plants(hidden: Canaries) -> list[Planted]:
    """Every secret in every encoding; of the master key also its 32 bytes."""
    found = [(kind, name, written) for kind, secret in hidden for name, written in writings(secret, "a ", " b")]
    for kind, secret in hidden:
        if kind == "master key":
            key = bytes.fromhex(secret)
            found += [(kind, "plain, of the key's bytes", key), (kind, "repr, of the key's bytes", repr(key).encode())]
            found += [(kind, "base64, of the key's bytes", b64encode(b"x" * shift + key)) for shift in range(3)]
    return found


def is_named(finds: list[Find], kind: str, encoding: str, hexed: bool = False) -> bool:
    names = [encoding, *ALSO.get(encoding, [])]
    names += [f"{name} (spread)" for name in names]
    if hexed:
        names = [f"hex of {name}".replace("hex of plain", "hex") for name in names]
        names += ["plain"] if encoding == "plain, of the key's bytes" else []  # their hex is the key
    return any(find.kind == kind and find.encoding in names for find in finds)


def missed(planted: list[Planted], finds: list[Find]) -> list[tuple[str, str]]:
    return [(kind, encoding) for kind, encoding, _ in planted if not is_named(finds, kind, encoding)]


def is_text(written: bytes) -> bool:
    """Whether a text column takes it."""
    try:
        return "\0" not in written.decode()
    except UnicodeDecodeError:
        return False


def as_value(column: str, written: bytes) -> str | bytes:
    if column == "bytea":
        return written
    return written.decode() if column == "text" else json.dumps({"a": [written.decode()]})


@pytest.fixture
def hidden() -> Canaries:
    return canaries()


@pytest.fixture
def hunt(hidden: Canaries) -> Hunt:
    return Hunt(hidden)


@contextmanager
def cursor_of(stores: Stores, database: str) -> Iterator[Any]:
    connection = psycopg2.connect(stores.postgres.url(database))
    connection.autocommit = True
    try:
        with connection.cursor() as cur:
            yield cur
    finally:
        connection.close()


@pytest.fixture
def database(stores: Stores) -> Iterator[str]:
    name = f"hunt_{secrets.token_hex(4)}"
    stores.postgres.create_database(name)
    yield name
    stores.postgres.drop_database(name)


# The needles.


def test_every_kind_is_found_in_every_encoding_and_by_its_name(hidden, hunt):
    for kind, encoding, written in plants(hidden):
        finds = hunt.search("here", b"before " + written + b" after")
        assert is_named(finds, kind, encoding), (kind, encoding)
        assert {(find.kind, find.where) for find in finds} == {(kind, "here")}


def test_where_encodings_differ_each_has_its_own_name():
    secret = 'ä?>~~~\x01"\\ 🔑 abcdefgh'
    hunt = Hunt([("it", secret)])
    for encoding, written in writings(secret):
        named = {find.encoding for find in hunt.search("here", written)}
        if encoding in ("JSON", "repr"):
            assert named & {"JSON", "repr"}  # a doubled backslash is the same in both
        elif encoding in ("base64", "URL-safe base64"):
            assert named <= {"base64", "URL-safe base64"}
        elif encoding == "JSON in JSON":
            assert named == {"JSON (spread)"}
        else:
            assert named == {encoding.removesuffix(" of both cases")}


@pytest.mark.parametrize("length", range(6))
def test_whatever_stands_before_and_after_random_secrets_are_found(length):
    rng = random.Random(length)
    alphabets = [
        WORDS,
        WORDS + "_-",
        string.printable,
        "0123456789abcdef",
        "äöüß€🔑жщ" + string.printable,
        "'\"\\/%+& abc",
    ]
    for _ in range(60):
        secret = "".join(rng.choices(rng.choice(alphabets), k=rng.randrange(16, 120)))
        before, after = ("".join(rng.choices(rng.choice(alphabets), k=length)) for _ in range(2))
        hunt = Hunt([("it", secret)])
        for encoding, written in writings(secret, before, after):
            assert hunt.search("here", written), (encoding, before, secret, after)


def test_base64_of_a_user_and_a_password_as_http_sends_them_is_covered_by_the_three_offsets(hidden, hunt):
    for kind, secret in hidden:
        for user in ("", "x", "me", "bot", "steward_app"):
            header = b"Authorization: Basic " + b64encode(f"{user}:{secret}".encode())
            assert [(find.kind, find.encoding) for find in hunt.search("header", header)] == [(kind, "base64")]


def test_no_line_ends_zeros_or_escapes_between_the_characters_hide_a_secret(hidden, hunt):
    for kind, secret in hidden:
        nested = re.sub("....", r"\\u\g<0>", secret.encode("utf-16-be").hex())
        for _ in range(5):
            nested = json.dumps(nested)
        key = bytes.fromhex(secret) if kind == "master key" else secret.encode()
        in_lines = encodebytes(b"some 40 bytes before it, so that a line ends " + key)
        for written in (nested.encode(), in_lines, *([secret.encode("utf-32")] if secret.isascii() else [])):
            finds = hunt.search("here", written)
            assert {find.kind for find in finds} == {kind}
            assert all(find.encoding.endswith(" (spread)") and find.offset < len(written) for find in finds)


def test_a_secret_in_a_url_of_a_database_is_found(hidden, hunt):
    for kind, secret in hidden:
        url = f"postgresql://steward_app:{quote(secret, safe='')}@127.0.0.1:5432/steward"
        assert is_named(hunt.search("a URL", url.encode()), kind, "URL")


def test_the_master_key_is_found_in_either_case_and_as_the_bytes_it_stands_for():
    key = secrets.token_bytes(32)
    written = [
        key.hex(),
        key.hex().upper(),
        repr(key),
        repr({"key": key}),
        b64encode(key).decode(),
        str(bytearray(key)),
    ]
    for hunt in (Hunt([("master key", key.hex())]), Hunt([("master key", key.hex().upper())])):
        assert hunt.search("a file", b"..." + key + b"...")
        assert all(hunt.search("a text", text.encode()) for text in written)


def test_what_is_not_the_secret_is_no_find(hidden, hunt):
    half = [(kind, secret[: len(secret) // 4 * 2]) for kind, secret in hidden]
    backwards = [(kind, secret[::-1]) for kind, secret in hidden]
    for _, encoding, written in plants(half + backwards + canaries()):
        assert not hunt.search(encoding, written)


def test_no_needle_is_so_short_that_chance_makes_one(hidden):
    shortest = [("short", "".join(["a", "B", "4-"] * 2)), ("short", "3f" * 4)]
    for _, secret in [*hidden, *shortest]:
        assert min(map(len, needles(secret))) >= tests.hunt.SHORTEST
    hunt = Hunt([*hidden, *shortest])
    rng = random.Random(1)
    assert hunt.search("chance", rng.randbytes(40 << 20)) == []
    assert hunt.search("chance", rng.randbytes(5 << 20).hex().encode()) == []
    assert hunt.search("chance", b64encode(rng.randbytes(5 << 20))) == []
    for folder in ("lib", "demo", "tests", "bench"):
        assert hunt.search_folder(ROOT / folder) == []


@pytest.mark.parametrize("wrong", [[], [("empty", "")], [("short", "hunter2")]])
def test_a_hunt_that_could_not_find_anything_is_refused(wrong):
    with pytest.raises(ValueError, match=r"nothing|less than 8 bytes") as caught:
        Hunt(wrong)
    assert "hunter2" not in str(caught.value)


def test_a_find_says_kind_encoding_place_and_offset_but_never_the_secret(hidden, hunt, tmp_path):
    assert repr(Hunt([("it", "correct horse")]).search("here", b"0123 correct horse")) == (
        "[Find(kind='it', encoding='plain', where='here', offset=5)]"
    )
    for kind, encoding, written in plants(hidden):
        for name in (written.decode("latin-1"), f"in {written.decode(errors='replace')}/{encoding}"):
            for find in hunt.search(name, written):
                said = f"{find!r} {find} {vars(find)}".encode()
                assert not hunt.search("what a find says", said), (kind, encoding)
    with pytest.raises(AttributeError):
        find.secret  # noqa: B018
    assert not hunt.search("what a hunt says", f"{hunt!r} {hunt}".encode())


# The stores.


@pytest.mark.parametrize("column", [*TEXT_COLUMNS, "bytea"])
def test_a_secret_in_any_column_is_found_in_the_dump(stores, database, hidden, hunt, column):
    planted = [plant for plant in plants(hidden) if column == "bytea" or is_text(plant[2])]
    if column == "bytea":  # hex of these two is one encoding too many
        planted = [plant for plant in planted if plant[1] not in ("hex of both cases", "JSON in JSON")]
    with cursor_of(stores, database) as cur:
        cur.execute(f"CREATE TABLE planted (id integer, value {column})")
        assert hunt.search("dump", stores.postgres.dump(database)) == []
        for number, (_, _, written) in enumerate(planted):
            cur.execute("INSERT INTO planted VALUES (%s, %s)", (number, as_value(column, written)))
    dump = stores.postgres.dump(database)
    lines = dict(re.findall(rb"^(\d+)\t(.*)$", dump, re.MULTILINE))
    assert len(lines) == len(planted)
    for number, (kind, encoding, _) in enumerate(planted):
        finds = hunt.search(f"row {number}", lines[b"%d" % number])
        assert {(find.kind, find.where) for find in finds} == {(kind, f"row {number}")}, (kind, encoding)
        assert is_named(finds, kind, encoding, hexed=column == "bytea"), (kind, encoding)
    assert {find.kind for find in hunt.search("dump", dump)} == {kind for kind, _ in hidden}


def test_a_secret_is_found_in_the_files_of_the_database_and_in_its_journal(stores, database, hidden, hunt):
    planted = plants(hidden)
    data = stores.postgres.data
    with cursor_of(stores, database) as cur:
        cur.execute("SELECT oid FROM pg_database WHERE datname = %s", (database,))
        files = data / "base" / str(cur.fetchone()[0])
        journal = set()

        def checkpoint() -> None:
            cur.execute("CHECKPOINT")
            cur.execute("SELECT pg_walfile_name(pg_current_wal_lsn())")
            journal.add(data / "pg_wal" / cur.fetchone()[0])

        cur.execute("CREATE TABLE planted (a text, b bytea, c jsonb) WITH (autovacuum_enabled = false)")
        checkpoint()
        assert hunt.search_folder(files) == []
        assert [find for file in journal for find in hunt.search_file(file)] == []
        for _, _, written in planted:
            text = written.decode() if is_text(written) else None
            cur.execute("INSERT INTO planted VALUES (%s, NULL, %s)", (text, text and json.dumps(text)))
            cur.execute("INSERT INTO planted VALUES (NULL, %s)", (written,))
        cur.execute("DELETE FROM planted")
        checkpoint()
    finds = hunt.search_folder(files)
    assert missed(planted, finds) == []
    assert all(find.where.startswith(f"{files}/") for find in finds)
    assert {find.kind for file in journal for find in hunt.search_file(file)} == {kind for kind, _ in hidden}


def test_a_long_value_is_compressed_in_the_files_but_plain_in_the_dump(stores, database, hidden, hunt):
    """Which is why both are searched: PostgreSQL compresses rows above 2 kB, and the hunt does not unpack."""
    with cursor_of(stores, database) as cur:
        cur.execute("CREATE TABLE planted (value text)")
        for _, secret in hidden:
            cur.execute("INSERT INTO planted VALUES (%s)", (f"the quick brown fox {secret} " * 500,))
    assert {find.kind for find in hunt.search("dump", stores.postgres.dump(database))} == {kind for kind, _ in hidden}


def test_a_secret_in_the_log_of_the_database_is_found(stores, database, hidden, hunt):
    log = stores.postgres.log
    assert hunt.search_file(log) == []
    with cursor_of(stores, database) as cur:
        for kind, secret in hidden:
            with pytest.raises(psycopg2.DataError) as caught:
                cur.execute("SELECT %s::integer", (secret,))
            assert is_named(hunt.search("exception", "\n".join(exception_texts(caught.value)).encode()), kind, "plain")
    assert {(find.kind, find.where) for find in hunt.search_file(log)} == {(kind, str(log)) for kind, _ in hidden}


@pytest.mark.parametrize("command", ["SET planted", "RPUSH planted first", "HSET planted field"])
def test_a_secret_in_redis_is_found_in_its_file_even_when_it_has_been_deleted(stores, hidden, hunt, command):
    folder, planted = stores.redis.folder, plants(hidden)
    assert hunt.search_folder(folder) == []
    client = redis.Redis.from_url(stores.redis.url)
    for _, _, written in planted:
        client.execute_command(*command.split(), written)
    client.delete("planted")
    client.close()
    assert wait_until(lambda: not missed(planted, hunt.search_folder(folder)), 5.0), missed(
        planted, hunt.search_folder(folder)
    )
    assert all("append" in Path(find.where).name for find in hunt.search_folder(folder))


def test_the_servers_keep_their_own_passwords_in_the_files_for_them_and_nowhere_else(stores, database):
    passwords = [("of PostgreSQL", stores.postgres.password), ("of Redis", stores.redis.password)]
    hunt = Hunt([*passwords, ("of the application", APP_PASSWORD)])
    redis.Redis.from_url(stores.redis.url).ping()
    assert hunt.search("dump", stores.postgres.dump(database)) == []
    places = [stores.postgres.data / "global", stores.redis.folder]
    finds = [find for place in places for find in hunt.search_folder(place)]
    finds += [find for path in stores.postgres.folder.iterdir() if path.is_file() for find in hunt.search_file(path)]
    assert {(find.kind, str(Path(find.where).relative_to(stores.folder))) for find in finds} == {
        ("of PostgreSQL", "postgres/password"),
        ("of Redis", "redis/password"),
        ("of Redis", "redis/redis.conf"),
    }


# Log lines and exceptions.


def test_a_secret_in_a_log_line_is_found(hidden, hunt, tmp_path):
    log = tmp_path / "bot-1.log"
    log.write_text('{"event": "started"}\n')
    assert hunt.search_file(log) == []
    for kind, encoding, written in plants(hidden):
        for ascii_only in (True, False):
            line = {"event": "said", "message": f"It was {written.decode('latin-1')}."}
            if is_text(written):
                line["message"] = f"It was {written.decode()}."
            elif encoding == "plain, of the key's bytes":
                line["message"] = f"It was {written!r}."  # JSON knows no bytes
            elif encoding == "UTF-16":
                continue  # nor half a character
            log.write_text('{"event": "started"}\n' + json.dumps(line, ensure_ascii=ascii_only) + "\n")
            finds = hunt.search_file(log)
            assert {(find.kind, find.where) for find in finds} == {(kind, str(log))}, (kind, encoding)


def raised(fail: Callable[[], object]) -> BaseException:
    try:
        fail()
    except BaseException as exc:
        return exc
    raise AssertionError


class Silent(Exception):
    def __str__(self) -> str:
        raise ValueError("not even this works")

    __repr__ = __str__


def failures(secret: str) -> dict[str, Callable[[], object]]:
    """Ways for an exception to hold a secret."""

    class Showy(Exception):
        def __repr__(self) -> str:
            return f"Showy({secret})"

    def with_cause() -> None:
        try:
            raise KeyError(secret)
        except KeyError as exc:
            raise RuntimeError("it failed") from exc

    def with_silent_cause() -> None:
        raise RuntimeError("it failed") from Silent(secret)

    def with_silent_context() -> None:
        try:
            raise Silent({"key": secret})
        except Silent:
            int("no number")

    def while_failing() -> None:
        try:
            with_cause()
        finally:
            int("no number")

    def in_a_group() -> None:
        inner = BaseExceptionGroup("some", [Silent(secret)])
        raise BaseExceptionGroup("some failed", [ValueError("not this one"), inner])

    def with_a_note() -> None:
        exc = RuntimeError("it failed")
        exc.add_note(f"with {secret}")
        raise exc

    def throw(exc: BaseException) -> Callable[[], object]:
        def throwing() -> None:
            raise exc

        return throwing

    return {
        "its text": throw(RuntimeError(f"it failed with {secret}")),
        "its arguments": throw(RuntimeError("it failed", {"key": [secret]})),
        "an argument that is no text": throw(RuntimeError(7, secret.encode())),
        "the arguments of one that cannot speak": throw(Silent(secret)),
        "the text of one that ends the program": throw(SystemExit(secret)),
        "how it shows itself": throw(Showy()),
        "its cause": with_cause,
        "a cause that cannot speak": with_silent_cause,
        "a context that cannot speak": with_silent_context,
        "the cause of what came before": while_failing,
        "a member of a group": in_a_group,
        "a note": with_a_note,
    }


def hunted(hunt: Hunt, exc: BaseException, strict: bool = False) -> list[Find]:
    return hunt.search("exception", "\n".join(exception_texts(exc, strict)).encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("place", failures(""))
def test_a_secret_in_an_exception_is_found(hidden, hunt, place):
    assert hunted(hunt, raised(failures("nothing to hide")[place]), strict=True) == []
    for kind, encoding, written in plants(hidden):
        if is_text(written):
            finds = hunted(hunt, raised(failures(written.decode())[place]))
            assert {find.kind for find in finds} == {kind}, (kind, encoding)


def test_what_from_none_holds_back_and_local_variables_are_told_only_to_the_strict(hidden, hunt):
    def held_back() -> None:
        try:
            raise KeyError(hidden[0][1])
        except KeyError:
            raise RuntimeError("it failed") from None

    def local() -> None:
        held = hidden[0][1].encode()
        raise RuntimeError("it failed" if held else "")

    for fail in (held_back, local):
        assert hunted(hunt, raised(fail)) == []
        assert is_named(hunted(hunt, raised(fail), strict=True), hidden[0][0], "plain")


def test_exceptions_that_cause_each_other_come_to_an_end():
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__context__ = other, one
    assert "other" in "".join(exception_texts(one))


# Files and folders.


@pytest.mark.parametrize(("chunk", "border"), [(1, 90), (7, 90), (4096, 4096), (4096, 8192)])
def test_a_secret_is_found_across_every_border_between_two_chunks(monkeypatch, chunk, border):
    monkeypatch.setattr(tests.hunt, "CHUNK", chunk)
    secret = "correct horse battery"
    hunt = Hunt([("it", secret)])
    escaped = "".join(f"{16 * chr(92)}u{ord(character):04x}" for character in secret)
    forms = {"plain": secret, "UTF-16": "\0".join(secret), "JSON (spread)": escaped}
    for name, form in forms.items():
        for length in range(border - len(form) - 5, border + 5, 1 if chunk > 7 else 11):
            filling = bytes(max(length, 0) // 2).ljust(length, b".")
            (find,) = hunt.search("here", filling + form.encode() + b"." * 50)
            assert (find.encoding, find.where) == (name, "here")
            assert len(filling) <= find.offset <= len(filling) + 16
        assert hunt.search("here", filling + form.encode()[:-1]) == []


def test_a_secret_is_found_across_the_border_of_real_chunks_in_a_file(hidden, hunt, tmp_path):
    path = tmp_path / "big"
    for kind, encoding, written in plants(hidden)[::7]:
        with path.open("wb") as file:
            file.truncate(3 * tests.hunt.CHUNK)  # all but the border are zeros
            file.seek(2 * tests.hunt.CHUNK - len(written) // 2)
            file.write(written)
        finds = hunt.search_file(path)
        assert is_named(finds, kind, encoding)
        for find in finds:
            assert find.where == str(path)
            assert 0 <= find.offset - (2 * tests.hunt.CHUNK - len(written) // 2) < len(written)
    path.write_bytes(bytes(3 * tests.hunt.CHUNK))
    assert hunt.search_file(path) == []


def test_in_a_folder_every_file_and_every_name_is_searched(hidden, hunt, tmp_path):
    (_, first), (_, second), (_, third), *_ = hidden
    (tmp_path / "a" / ".hidden" / "empty").mkdir(parents=True)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / ".hidden" / "file")
    (tmp_path / "a" / ".hidden" / "file").write_text("nothing")
    assert hunt.search_folder(tmp_path) == []
    (tmp_path / "a" / ".hidden" / "file").write_text(first)
    (tmp_path / "a" / second).mkdir()
    (tmp_path / "a" / second / third).touch()
    finds = hunt.search_folder(tmp_path)
    assert sorted((find.kind, find.where) for find in finds) == sorted(
        [
            (hidden[0][0], str(tmp_path / "a" / "link")),
            (hidden[0][0], str(tmp_path / "a" / ".hidden" / "file")),
            (hidden[1][0], f"a name in {tmp_path}/a"),
            (hidden[2][0], "(the name itself holds a secret)"),
        ]
    )


def test_what_cannot_be_read_is_an_error(hunt, tmp_path, monkeypatch):
    with pytest.raises(OSError, match="Input/output error"):
        hunt.search_file(Path("/proc/self/mem"))  # nothing is at its beginning
    for missing in (tmp_path / "missing", tmp_path / "missing" / "file"):
        with pytest.raises(OSError, match="missing"):
            hunt.search_file(missing)
        with pytest.raises(OSError, match="missing"):
            hunt.search_folder(missing)
    for number, make in enumerate(
        (
            lambda path: path.symlink_to(tmp_path / "nowhere"),
            lambda path: path.symlink_to(path),
            lambda path: path.symlink_to(tmp_path),
            os.mkfifo,
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder / "strange")
        with pytest.raises(OSError, match="strange"):
            hunt.search_folder(folder)
    (tmp_path / "good" / "closed").mkdir(parents=True)
    scandir = os.scandir

    def refusing(path: str) -> Any:
        if "closed" in str(path):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(PermissionError):
        hunt.search_folder(tmp_path / "good")


def test_a_file_that_goes_while_the_hunt_comes_is_no_error(hidden, tmp_path):
    class Slow(Hunt):
        def search(self, name: str, data: bytes) -> list[Find]:
            (tmp_path / "going").unlink(missing_ok=True)
            return super().search(name, data)

    (tmp_path / "going").touch()
    (tmp_path / "staying").write_text(hidden[0][1])
    assert [find.where for find in Slow(hidden).search_folder(tmp_path)] == [str(tmp_path / "staying")]
