"""The table of everything that was measured: a row a figure, a column a system, and the machine in a line above."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from bench.drain import FLOOR, OURS, QUEUES
from demo.servers import find_postgres, find_redis

COLUMNS = (OURS, "floor", *(name for name in QUEUES if name != FLOOR))


@dataclass(frozen=True)
class Row:
    """One figure of each system that has it, and `times`: ours as a multiple of the floor's."""

    what: str
    cells: Mapping[str, str]
    times: str = ""


@dataclass
class Table:
    """Rows in the order they were measured."""

    rows: list[Row] = field(default_factory=list)

    def add(self, what: str, ours: float, floor: float | None = None, digits: int = 2) -> None:
        """A figure of ours, and the floor's beside it."""
        cells = {OURS: number(ours, digits)}
        if floor is not None:
            cells["floor"] = number(floor, digits)
        self.rows.append(Row(what, cells, f"{ours / floor:.1f}" if floor else ""))

    def compare(self, what: str, values: Mapping[str, float], digits: int = 0) -> None:
        """A figure of each queue; the bare list is the floor."""
        cells = {"floor" if name == FLOOR else name: number(value, digits) for name, value in values.items()}
        self.rows.append(Row(what, cells, f"{values[OURS] / values[FLOOR]:.2f}"))

    def tell(self, what: str, cells: Mapping[str, str]) -> None:
        """Words instead of figures."""
        self.rows.append(Row(what, {"floor" if name == FLOOR else name: cell for name, cell in cells.items()}))

    def markdown(self) -> str:
        head = ["", *COLUMNS, "× floor"]
        return f"| {' | '.join(head)} |\n|{' --- |' * len(head)}\n{self.lines()}"

    def lines(self, begin: int = 0) -> str:
        """The rows from this one on."""
        cells = [[row.what, *(row.cells.get(name, "") for name in COLUMNS), row.times] for row in self.rows[begin:]]
        return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"


def conditions() -> str:
    """The machine and what runs on it, in one line."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    gigabytes = int(memory[1]) / 2**20 if memory else 0
    queues = ", ".join(f"{name} {version(name.lower())}" for name in QUEUES if name != FLOOR)
    stores = " and ".join(own_version(program) for program in (find_postgres() / "postgres", find_redis()))
    return (
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC; {cpu[1] if cpu else platform.machine()},"
        f" {os.cpu_count()} cores, {gigabytes:.0f} GB, load {os.getloadavg()[0]:.1f} before;"
        f" Python {platform.python_version()}, {stores}, all on loopback; {queues}"
    )


def own_version(program: Path) -> str:
    """Such as "PostgreSQL 18.4" or "Redis 6.2.14"."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(PostgreSQL\)|Redis|Valkey).*?(\d+\.[\d.]+)", said)
    return f"{found[1].rstrip(')')} {found[2]}" if found else said.strip()


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The lowest and the highest, where the median alone would hide how noisy a machine is."""
    return f"{min(values):,.{digits}f} to {max(values):,.{digits}f}"
