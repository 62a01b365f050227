"""Measures what a message costs, and the house around it, in one run: beside its floor and beside four other queues.

Prints one table; a whole run also writes it into bench/results.md and draws bench/growth.png. Run it on a machine that
does nothing else: it takes half an hour.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import costs, crash, drain, growth, path, plot
from bench.house import percentile
from bench.table import Table, conditions, spread

RESULTS = Path(__file__).parent / "results.md"
HEAD = "# What `make bench` printed\n"
NOTES = Path(__file__).parent / "notes.md"  # what each figure is
OF = {50: "median", 99: "99th percentile"}
# How many are enough for a figure that hardly varies.
COUNTED = 40  # messages whose round trips are counted
QUEUED = 200  # messages of a long queue
TURNS = 1000  # whose bytes are measured
SEALED = 2000  # tokens


@dataclass(frozen=True)
class Size:
    """How much of everything is measured."""

    messages: int = 100  # one after the other, in an idle house
    seconds: float = 10.0  # of a steady load
    rate: float = 50.0
    runs: int = 3
    trials: int = 2  # of a crash
    backlog: int = 150
    stored: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    waiting: tuple[int, ...] = (10, 100, 1_000, 10_000)
    idle_seconds: float = 60.0
    window: float = 60.0  # how long a killed queue may take to find what was interrupted


QUICK = Size(
    messages=40,
    seconds=5.0,
    runs=1,
    trials=1,
    backlog=100,
    stored=(1_000, 10_000, 30_000),
    waiting=(10, 100, 1_000),
    idle_seconds=20.0,
    window=20.0,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a look in some minutes: fewer runs, smaller sizes")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="only this part; may be given several times")
    arguments = parser.parse_args()
    table, size = Table(), QUICK if arguments.quick else Size()
    machine = conditions()
    print(machine, flush=True)
    for name in arguments.only or SECTIONS:
        began = time.monotonic()
        before = len(table.rows)
        SECTIONS[name](table, size)
        print(table.lines(before), flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(f"\n{table.markdown()}\n\n{NOTES.read_text()}")
    if not (arguments.only or arguments.quick):
        RESULTS.write_text(f"{HEAD}\n{machine}\n\n{table.markdown()}\n\n{NOTES.read_text()}")
    return 0


def latency(table: Table, size: Size) -> None:
    quiet, busy = path.measure(size.messages, size.rate, size.seconds, size.runs)
    for percent in (50, 99):
        ours, floor = percentile(quiet.retry, percent) * 1e3, percentile(quiet.floor_begin, percent) * 1e3
        table.add(f"/retry to request, idle: ms, {OF[percent]}", ours, floor)
    for when, spans in (("idle", quiet), (f"{size.rate:.0f} messages/s, {path.WORKERS} workers", busy)):
        for percent in (50, 99):
            table.add(f"update to request*, {when}: ms, {OF[percent]}", percentile(spans.begin, percent) * 1e3)
        for percent in (50, 99):
            ours, floor = percentile(spans.send, percent) * 1e3, percentile(spans.floor_send, percent) * 1e3
            table.add(f"answer to send, {when}: ms, {OF[percent]}", ours, floor)


def throughput(table: Table, size: Size) -> None:
    workers = (1, 2, 4)
    found = drain.measure(size.backlog, workers, size.runs)
    names = (drain.OURS, *drain.QUEUES)
    for count in workers:
        rates = {name: [run.rate for run in found[name, count]] for name in names}
        table.compare(
            f"messages/s (more is better), workers: {count}", {name: median(runs) for name, runs in rates.items()}
        )
        table.tell(f"workers: {count}, lowest to highest", {name: spread(runs) for name, runs in rates.items()})
    for count in workers:
        cpu = {name: median([run.cpu_ms for run in found[name, count]]) for name in names}
        table.compare(f"processor of the workers for each, ms, workers: {count}", cpu, 1)


def crashes(table: Table, size: Size) -> None:
    found = crash.measure(size.trials, size.window)
    lost = {name: " ".join(str(trial.lost) for trial in trials) for name, trials in found.items()}
    back = {name: " ".join(when(trial.back) for trial in trials) for name, trials in found.items()}
    table.tell(f"kill -9 in mid-answer: of {crash.MESSAGES} not answered {size.window:.0f} s later", lost)
    table.tell(f"the interrupted one is answered, s after the restart (not: not in {size.window:.0f} s)", back)


def when(seconds: float | None) -> str:
    return "not" if seconds is None else f"{seconds:.1f}"


def growing(table: Table, size: Size) -> None:
    stored, scanned, removed = growth.stored(size.stored, size.messages // 4)
    queued = growth.queued(size.waiting, QUEUED, size.runs)
    for what in ("new", "long"):
        for one in stored:
            spans: path.Spans = getattr(one, what)
            ours, floor = median(spans.retry) * 1e3, median(spans.floor_begin) * 1e3
            table.add(f"/retry to request, {what} conversation, {one.messages:,} stored: ms, median", ours, floor)
    for one in stored:
        ours, floor = median(one.new.send) * 1e3, median(one.new.floor_send) * 1e3
        table.add(f"answer to send, {one.messages:,} stored: ms, median", ours, floor)
    table.add(f"rows read without an index, {size.messages} messages and as many /retry", scanned, digits=0)
    for waits in queued:
        table.add(f"{waits.waiting:,} waiting, one worker: ms a message", median(waits.ms), digits=1)
    what = f"removing {removed.audit_rows:,} audit rows and {removed.others:,} others: s"
    table.add(what, removed.seconds, removed.plain)
    table.add("the longest batch of it: s", removed.longest)
    if size == Size():
        plot.draw(stored, queued)


def processes(table: Table, size: Size) -> None:
    bare = costs.bare_python(size.runs)
    for name, process in costs.processes(size.runs, size.idle_seconds).items():
        table.add(f"{name}.py: start, s", median(process.start_seconds), bare)
        table.add(f"{name}.py: resident memory, MB", process.megabytes, digits=0)
        hour = f"{name}.py: processor in an idle hour (from {size.idle_seconds:.0f} s), s"
        table.add(hour, process.idle_cpu_seconds, digits=1)


def steps(table: Table, size: Size) -> None:
    for what, memory in (("", False), (", with memories", True)):
        trips = costs.trips(COUNTED, memory)
        # Its floor: store, begin, keep, mark; ring and be rung for.
        table.add(f"round trips to PostgreSQL{what}", trips["bot"] + trips["worker"], 4, digits=1)
        table.add(f"round trips to Redis{what}", trips["redis"], 2, digits=1)
    stored, texts = costs.stored_bytes(TURNS)
    table.add("bytes of a stored turn, with its indexes", stored, texts, digits=0)
    spans = costs.sealing(SEALED)
    table.add("sealing a token: µs", spans["seal"] * 1e6, spans["floor seal"] * 1e6, digits=0)
    table.add("opening it: µs", spans["open"] * 1e6, spans["floor open"] * 1e6, digits=0)


SECTIONS: dict[str, Callable[[Table, Size], None]] = {
    "latency": latency,
    "throughput": throughput,
    "crashes": crashes,
    "growth": growing,
    "processes": processes,
    "steps": steps,
}

if __name__ == "__main__":
    sys.exit(main())
