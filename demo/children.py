"""Child processes that never outlive us: how they are started, found, signalled and waited for (Linux)."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

LIBC = ctypes.CDLL(None)
SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)

Argument = str | Path


def child(
    command: Sequence[Argument],
    *,
    env: Mapping[str, str],
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
    death_signal: signal.Signals = signal.SIGTERM,
    user: int | None = None,
    group: int | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command without input, in its own session; the kernel sends it `death_signal` when we die, even by -9.

    `user` and `group` (ids) step down from root and need each other. Raises OSError when it cannot be started.
    """
    if threading.current_thread() is not threading.main_thread():
        # The kernel's idea of a parent is the thread that forked: its end alone would kill the child.
        raise RuntimeError("start child processes from the main thread")
    parent = os.getpid()

    def die_with_parent() -> None:
        # Runs after the change of user, which would have cleared the setting.
        LIBC.prctl(SET_PARENT_DEATH_SIGNAL, int(death_signal))
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)

    return subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        user=user,
        group=group,
        extra_groups=None if user is None else [],
        start_new_session=True,
        preexec_fn=die_with_parent,
    )


def run(
    command: Sequence[Argument],
    *,
    env: Mapping[str, str],
    seconds: float,
    user: int | None = None,
    group: int | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a short command to its end, without input; raises OSError or TimeoutExpired, but not for its exit code."""
    return subprocess.run(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=seconds,
        cwd="/",  # ours may be closed to `user`
        user=user,
        group=group,
        extra_groups=None if user is None else [],
        check=False,
    )


def state(pid: int) -> tuple[str, int]:
    """A process's state letter as in ps, and its parent's id; ("X", 0) when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return "X", 0
    return fields[0].decode(), int(fields[1])


def alive(pid: int) -> bool:
    """Whether the process can still do anything; a zombie cannot."""
    return state(pid)[0] not in "ZX"


def family(pid: int) -> list[int]:
    """The living among a process and its descendants, parents first."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            children.setdefault(state(int(entry))[1], []).append(int(entry))
    found = [pid]
    for member in found:  # grows while we walk
        found += children.get(member, [])
    return [member for member in found if alive(member)]


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    """Signal each process; those already gone are none of our business."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again, 50 times a second; False when it has not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port of 127.0.0.1 that nobody holds now.

    Not the one port 0 would give: that lies where the kernel takes the client's end of connections from, and a client
    that retries while our server is down would sooner or later sit on the port, or even be connected to itself.
    """
    return next(port for port in random.sample(range(10_000, 32_768), 1_000) if is_free(port))
