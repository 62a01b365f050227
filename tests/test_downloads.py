"""Fetching a file from Telegram: capped, within a deadline, and without the token in anything that is said of it."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, cast

import pytest

from demo.loopback import Handler, LoopbackServer
from demo.stack import made_up
from demo.telegram import ALICE, TelegramSim
from lib.files import File
from lib.secret import Secret
from lib.stop import Stop, TookTooLong
from lib.telegram import (
    BadToken,
    FateUnknown,
    Refused,
    Telegram,
    TelegramError,
    TooFast,
    TooLarge,
    Unreachable,
    read,
)
from tests.samples import LARGER_JPEG, PDF

TOKEN = made_up("telegram")
FILE = File("AgACAgIAAxkBAAI", "image", "image/jpeg")


class Source:
    """What a server of files does: its answer to getFile, and to the download."""

    def __init__(self) -> None:
        self.told: tuple[int, dict[str, Any]] = (200, {"ok": True, "result": {"file_path": "photos/a file.jpg"}})
        self.status, self.headers, self.body = 200, dict[str, str](), b"contents"
        self.pause, self.repeat = 0.0, 1  # after each piece; how many pieces
        self.paths: list[str] = []
        self.url = ""
        self.halt = threading.Event()


class _Exchange(Handler):
    def do_POST(self) -> None:
        source = cast(Source, cast(LoopbackServer, self.server).simulator)
        self.read_body()
        source.paths.append(self.path)
        self.answer(*source.told)

    def do_GET(self) -> None:
        source = cast(Source, cast(LoopbackServer, self.server).simulator)
        source.paths.append(self.path)
        self.send_response(source.status)
        for name, value in source.headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        for _ in range(source.repeat):
            self.wfile.write(source.body)
            self.wfile.flush()
            if source.pause and source.halt.wait(source.pause):
                break
        self.close_connection = True


@pytest.fixture
def source() -> Iterator[Source]:
    made = Source()
    server = LoopbackServer(_Exchange, made)
    made.url = server.url
    server.start()
    yield made
    made.halt.set()
    server.stop()


@pytest.fixture
def telegram(source: Source) -> Telegram:
    return Telegram(Secret(TOKEN), source.url)


def failure(telegram: Telegram, most: int = 1000, seconds: float = 5.0) -> TelegramError:
    """Why the file does not come; nothing that is told of it holds the token."""
    with pytest.raises(TelegramError) as caught:
        telegram.fetch(FILE, most, seconds)
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert TOKEN not in told
    assert TOKEN.split(":")[1] not in told
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


def test_a_file_comes_whole_and_its_path_is_quoted(source: Source, telegram: Telegram) -> None:
    source.repeat = 3
    assert telegram.fetch(FILE, 24) == b"contents" * 3
    assert source.paths == [f"/bot{TOKEN}/getFile", f"/file/bot{TOKEN}/photos/a%20file.jpg"]


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "8"}])
def test_what_is_larger_than_the_cap_is_not_read_to_its_end_whatever_is_stated(
    source: Source, telegram: Telegram, headers: dict[str, str]
) -> None:
    source.headers = headers
    source.repeat = 10 if headers else 10_000_000
    if headers:  # the rest is not even looked at
        assert telegram.fetch(FILE, 8) == b"contents"
        assert isinstance(failure(telegram, most=7), TooLarge)
    else:
        assert isinstance(failure(telegram, most=100_000), TooLarge)


def test_a_file_that_trickles_is_given_up_at_the_deadline(source: Source, telegram: Telegram) -> None:
    source.pause, source.repeat = 0.05, 1000
    began = time.monotonic()
    assert isinstance(failure(telegram, most=1_000_000, seconds=0.5), FateUnknown)
    assert time.monotonic() - began < 2


def test_a_file_that_stands_still_is_given_up_at_the_deadline(source: Source, telegram: Telegram) -> None:
    source.pause, source.headers = 30.0, {"Content-Length": "1000"}
    began = time.monotonic()
    assert isinstance(failure(telegram, seconds=0.5), FateUnknown)
    assert time.monotonic() - began < 2


def test_an_alarm_interrupts_it(source: Source, telegram: Telegram, stop: Stop) -> None:
    source.pause, source.headers = 30.0, {"Content-Length": "1000"}
    began = time.monotonic()
    with pytest.raises(TookTooLong), stop.interruptible(at_most=0.3):
        telegram.fetch(FILE, 1000)
    assert time.monotonic() - began < 2


def test_a_file_cut_short_is_no_file(source: Source, telegram: Telegram) -> None:
    source.headers = {"Content-Length": "9"}
    assert isinstance(failure(telegram), FateUnknown)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, Refused), (401, BadToken), (403, Refused), (429, TooFast), (500, FateUnknown), (302, FateUnknown)],
)
def test_any_other_status_is_no_file_and_a_redirect_is_not_followed(
    source: Source, telegram: Telegram, status: int, kind: type[TelegramError]
) -> None:
    source.status, source.headers = status, {"Location": f"{source.url}/elsewhere"}
    source.repeat = 10_000_000  # nor is its body read
    assert isinstance(failure(telegram), kind)
    assert len(source.paths) == 2


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ((400, {"ok": False, "error_code": 400, "description": "Bad Request: file is too big"}), TooLarge),
        ((400, {"ok": False, "error_code": 400, "description": "Bad Request: wrong file_id or ..."}), Refused),
        ((401, {"ok": False, "error_code": 401, "description": "Unauthorized"}), BadToken),
        ((200, {"ok": True, "result": {"file_id": "x"}}), Refused),
        ((200, {"ok": True, "result": {"file_path": 5}}), Refused),
        ((200, {"ok": True, "result": []}), Refused),
        ((200, {}), FateUnknown),
    ],
)
def test_without_a_path_nothing_is_downloaded(
    source: Source, telegram: Telegram, told: tuple[int, dict[str, Any]], kind: type[TelegramError]
) -> None:
    source.told = told
    assert type(failure(telegram)) is kind
    assert len(source.paths) == 1


def test_nobody_there_is_told_as_such(source: Source, telegram: Telegram) -> None:
    gone = Telegram(Secret(TOKEN), "http://127.0.0.1:9")
    assert isinstance(failure(gone), Unreachable)


def test_it_knows_its_own_name(source: Source, telegram: Telegram) -> None:
    source.told = (200, {"ok": True, "result": {"id": 5, "is_bot": True, "first_name": "S", "username": "Steward_Bot"}})
    assert telegram.username() == "Steward_Bot"


def test_what_people_send_arrives_as_they_sent_it():
    with TelegramSim(made_up("telegram")) as sim:
        telegram = Telegram(Secret(sim.token), sim.url)
        sim.send_photo(ALICE, LARGER_JPEG, "look")
        sim.send_document(ALICE, PDF, "отчёт 1.pdf", "application/pdf")
        sim.send_document(ALICE, b"words", "notes.txt", "text/plain", size=300_000)
        updates = [read(raw, telegram.bot_id, telegram.username()) for raw in telegram.get_updates(None, 1)]
        photo, paper, notes = updates
        assert telegram.fetch(photo.files[0], 1000) == LARGER_JPEG
        assert telegram.fetch(paper.files[0], 1000) == PDF
        assert (photo.text, paper.files[0].name, notes.unfit) == ("look", "отчёт 1.pdf", "too_large")
