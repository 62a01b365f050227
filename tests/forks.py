"""Starts the scripts without importing their libraries each time, which would be half of all that the tests compute.

One process for each process of pytest imports what the scripts import, and forks whatever is to be started. That is
a real process of its own, and a child of pytest as with an ordinary start: it can be killed, frozen and waited for.
The scripts themselves are run from their files. What cannot be started so is started in the ordinary way.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parent.parent)

from demo import children
from demo.children import LIBC, SET_PARENT_DEATH_SIGNAL, Argument
from demo.stack import ROOT, environment

SCRIPTS = ("bot", "worker", "healthwatch", "credentials", "setup_google")
ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
AT_START = ("PYTHON", "LC_", "LANG", "TZ", "LD_", "MALLOC_")  # what the interpreter looks at only when it starts
LONGEST_ORDER = 1 << 20  # bytes


class Process:
    """What was forked, with those parts of subprocess.Popen that the tests use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._handle = os.pidfd_open(pid)
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        with self._lock:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
                    os.close(self._handle)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            # Not for long: another thread may have seen its end, and then the handle is not ours any more.
            ended = select.poll()
            ended.register(self._handle, select.POLLIN)
            ended.poll(1000 * min(0.5, 0.5 if left is None else left))
        return self.returncode or 0

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def child(
    command: Sequence[Argument],
    *,
    env: Mapping[str, str],
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
    stdin: int = subprocess.DEVNULL,
    death_signal: signal.Signals = signal.SIGTERM,
    cwd: Path | None = None,
    **others: Any,
) -> Process | subprocess.Popen[bytes]:
    """As demo.children.child; `stdin` is a file's number."""
    arguments = [str(argument) for argument in command]
    if not others and forkable(arguments, env):
        order = [arguments[1:], dict(env), str(cwd or Path.cwd()), int(death_signal)]
        with open(os.devnull, "rb") as nothing:
            files = [nothing if stdin == subprocess.DEVNULL else stdin, stdout, stderr]
            if pid := fork(order, [file if isinstance(file, int) else file.fileno() for file in files]):
                return Process(pid)
    if stdin != subprocess.DEVNULL:
        return subprocess.Popen(arguments, env=env, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)
    return children.child(command, env=env, stdout=stdout, stderr=stderr, death_signal=death_signal, cwd=cwd, **others)


def fork(order: list[Any], files: list[int]) -> int | None:
    """The number of the new process; None when there is no server, which has then said why."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("start child processes from the main thread")
    # What is forked is a grandchild first, and becomes ours when the process between has ended.
    LIBC.prctl(ADOPT_ORPHANS, 1)
    try:
        server = fork_server()
        socket.send_fds(server, [json.dumps(order).encode()], files)
        return int(server.recv(100) or 0) or None
    except OSError:
        return None
    finally:
        LIBC.prctl(ADOPT_ORPHANS, 0)


def run(command: Sequence[Argument], *, env: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, without input; TimeoutExpired when it had to be killed."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = child(command, env=env, stdout=out, stderr=err)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        out.seek(0), err.seek(0)
        return subprocess.CompletedProcess(command, code, out.read().decode(), err.read().decode())


def forkable(arguments: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether it is a program of ours, in Python, that needs nothing else of the interpreter than the server's."""
    ours = arguments[0] == sys.executable and (
        Path(arguments[1]).is_relative_to(ROOT) or (arguments[1] == "-m" and arguments[2].startswith("demo."))
    )
    # A clock that is set must be there before the libraries are.
    return ours and at_start(env) == at_start(environment()) and not any(a.startswith("clock=") for a in arguments)


def at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(AT_START)}


@functools.cache
def fork_server() -> socket.socket:
    """Start it, without waiting for it; it ends with us."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        subprocess.Popen(
            [sys.executable, __file__], env=environment(), stdin=theirs.fileno(), stdout=subprocess.DEVNULL
        )
    return ours


def serve() -> list[str]:
    """Import everything, and fork at each order; returns, in the new process only, what it is to run."""
    for name in SCRIPTS:
        __import__(name)
    for name in SCRIPTS:
        del sys.modules[name]
    assert len(os.listdir("/proc/self/task")) == 1, "a thread would not be there after a fork"
    gc.collect()
    gc.freeze()
    link, parent = socket.socket(fileno=os.dup(0)), os.getppid()
    while True:
        order, files, _, _ = socket.recv_fds(link, LONGEST_ORDER, 3)
        if not order:
            os._exit(0)  # pytest has ended
        between = os.fork()
        if between:
            os.waitpid(between, 0)
            for file in files:
                os.close(file)
            continue
        between = os.getpid()
        if os.fork():
            os._exit(0)
        while os.getppid() == between:
            time.sleep(0.0002)
        return settle(link, parent, files, *json.loads(order))


def settle(
    link: socket.socket, parent: int, files: list[int], arguments: list[str], env: dict[str, str], cwd: str, number: int
) -> list[str]:
    """Make of the fork what a start would have made of it."""
    LIBC.prctl(SET_PARENT_DEATH_SIGNAL, number)
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    os.chdir(cwd)
    for place, file in enumerate(files):
        os.dup2(file, place)
    link.send(str(os.getpid()).encode())
    link.detach()
    os.closerange(3, 1000)
    os.environ.clear()
    os.environ.update(env)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    return arguments


class Leave:
    """Ends the process after all else that is to be done at its end, without taking the libraries apart."""

    code: int | None = None

    def __call__(self) -> None:
        if self.code is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.code)


def main() -> None:
    leave = Leave()
    atexit.register(leave)  # before any other: the first comes last
    arguments = serve()
    leave.code = 1
    try:
        if arguments[0] == "-m":
            sys.argv, sys.path[0] = arguments[1:], os.getcwd()
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).parent)
            runpy.run_path(arguments[0], run_name="__main__")
        leave.code = 0
    except SystemExit as end:
        leave.code = 0 if end.code is None else end.code if isinstance(end.code, int) else 1
        raise
    except KeyboardInterrupt:
        leave.code = None
        raise


if __name__ == "__main__":
    main()
