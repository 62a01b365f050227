"""What the house takes while nothing happens, what it takes to start, and what single steps cost: memory, processor,
round trips, bytes, sealing.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from Crypto.Cipher import AES
from Crypto.Random import get_random_bytes

from bench.house import WAIT, WORDS, House, cpu_seconds, house, megabytes, settle
from demo.children import wait_until
from demo.stack import Script, made_up
from lib.secret import Secret
from lib.vault import Vault

TOKEN = "xoxb-" + "1234567890" * 5  # of a token's length
STATEMENT = re.compile(r"^BENCH (\S+)[^|]*\|LOG:  statement: ", re.MULTILINE)  # one for each message of a client
COMMANDS = (
    "cmdstat_eval",
    "cmdstat_brpop",
    "cmdstat_rpop",
)  # what a script asks; EVAL's own commands are no round trips


@dataclass(frozen=True)
class Process:
    """One script: seconds from its start to its first "started", MB once it is idle, seconds of processor an hour."""

    start_seconds: list[float]
    megabytes: float
    idle_cpu_seconds: float


def processes(starts: int, idle_seconds: float) -> dict[str, Process]:
    """Each script, started alone `starts` times, and then all together left alone for so long."""
    with house(memory=True) as built:
        times = {script.name: [to_start(script) for _ in range(starts)] for script in built.scripts}
        built.start()
        pids = {script.name: script.pid for script in built.scripts}
        settle(list(pids.values()))
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        time.sleep(idle_seconds)
        hour = {name: (cpu_seconds(pid) - before[name]) * 3600 / idle_seconds for name, pid in pids.items()}
        return {name: Process(times[name], megabytes(pid), hour[name]) for name, pid in pids.items()}


def to_start(script: Script) -> float:
    """Seconds until it says that it is ready; it is ended then."""
    seen, began = script.events().count("started"), time.perf_counter()
    script.start()
    while script.events().count("started") == seen:
        if not script.running or time.perf_counter() - began > WAIT:
            raise SystemExit(f"{script.name} does not start\n{script.log.read_text()[-1500:]}")
        time.sleep(0.005)
    took = time.perf_counter() - began
    script.stop()
    return took


def bare_python(runs: int) -> float:
    """Seconds for a Python that does nothing: the floor of a start."""

    def once() -> None:
        subprocess.run([sys.executable, "-c", "pass"], check=True)

    return median([seconds(once) for _ in range(runs)])


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def trips(messages: int, memory: bool = False) -> dict[str, float]:
    """Round trips of one message through an idle house, by who makes them, and in all to Redis. Counted by the servers:
    each statement message in PostgreSQL's log, each command in Redis's own count."""
    with house(people=messages, memory=memory) as built:
        built.start()
        through(built, messages)
        settle([script.pid for script in built.scripts])
        built.sql("ALTER SYSTEM SET log_statement = 'all'")
        built.sql("ALTER SYSTEM SET log_line_prefix = 'BENCH %a|'")
        built.sql("SELECT pg_reload_conf()")
        wait_until(lambda: built.sql("SHOW log_statement") == [("all",)], 10)
        time.sleep(0.5)  # each session looks when it is asked the next time
        before = len(postgres_log(built))
        built.redis.config_resetstat()
        through(built, messages)
        wait_until(built.idle, 10)
        time.sleep(0.5)  # what follows the answer, such as the unlock
        counts = Counter(STATEMENT.findall(postgres_log(built)[before:]))
        commands: Any = built.redis.info("commandstats")
        found = {name: counts[f"steward-{name}"] / messages for name in ("bot", "worker")}
        return found | {"redis": sum(commands[name]["calls"] for name in COMMANDS if name in commands) / messages}


def stored_bytes(turns: int) -> tuple[float, float]:
    """Bytes of the database for one turn, with every index and whatever was written in between; and of its texts."""
    with house(people=turns) as built:
        built.start()
        built.await_answers([built.say()])
        before = database_bytes(built)
        built.await_answers([built.say(person) for person in built.people])
        answers = [call.params["text"] for call in built.telegram.calls if call.method == "sendMessage"]
        texts = sum(map(len, answers)) / len(answers) + len(f"message {turns}: {WORDS}")
        return (database_bytes(built) - before) / turns, texts


def through(built: House, messages: int) -> None:
    """One message after the other."""
    for _ in range(messages):
        built.await_answers([built.say()])


def postgres_log(built: House) -> str:
    return built.stores.postgres.log.read_text(errors="replace")


def database_bytes(built: House) -> int:
    [(size,)] = built.sql(
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    return int(size)


def sealing(times: int) -> dict[str, float]:
    """Seconds to seal and to open a token, and beside them the library alone, with the same fresh nonce."""
    vault, key = Vault(Secret(made_up("master key"))), get_random_bytes(32)
    envelope = vault.seal(Secret(TOKEN), "steward", "slack", "token")
    nonce, associated, plain = get_random_bytes(12), b"x" * 60, TOKEN.encode()
    sealed, tag = cipher(key, nonce, associated).encrypt_and_digest(plain)
    steps: dict[str, Callable[[], object]] = {
        "seal": lambda: vault.seal(Secret(TOKEN), "steward", "slack", "token"),
        "open": lambda: vault.open(envelope, "steward", "slack", "token"),
        "floor seal": lambda: cipher(key, get_random_bytes(12), associated).encrypt_and_digest(plain),
        "floor open": lambda: cipher(key, nonce, associated).decrypt_and_verify(sealed, tag),
    }
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(times):
        for name, step in steps.items():
            found[name].append(seconds(step))
    return {name: median(spans) for name, spans in found.items()}


def cipher(key: bytes, nonce: bytes, associated: bytes) -> Any:
    made = AES.new(key, AES.MODE_GCM, nonce=nonce, mac_len=16)
    made.update(associated)
    return made
