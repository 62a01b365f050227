"""Runs every property of tests/fuzz for as long as it is given: chosen by chance by hypothesis, and along whatever is
new in the code by atheris.

    make fuzz FUZZ="--seconds 300 --only splitter --seed 7"
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TARGETS = sorted(path.stem.removeprefix("test_") for path in HERE.glob("test_*.py"))
FIRST_EXAMPLES = 100  # of each property: how long these take says how many there is time for
SLOWEST_SECONDS = 60  # one input that takes longer is a finding
BUFFER_BYTES = 4096
SEEDS = 32  # inputs of chance with which atheris begins: an empty one leads nowhere


@dataclass
class Run:
    """One target, and what came of it."""

    target: str
    seed: int
    seconds: float
    folder: Path  # for hypothesis' examples and libFuzzer's inputs
    examples: int = 0
    executions: int = 0
    edges: int = 0
    trouble: list[str] = field(default_factory=list)


def main() -> int:
    options = arguments()
    print(f"seed {options.seed}, {options.seconds:.0f} s for each target", flush=True)
    follows = find_spec("atheris") is not None
    if not follows:
        here = f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}"
        print(f"atheris, which has no wheel for every Python (this is {here}), is missing: hypothesis does it alone.")
    folder = Path(tempfile.mkdtemp(prefix="steward-fuzz-"))
    failed = 0
    for target in options.only or TARGETS:
        run = Run(target, options.seed, options.seconds / (2 if follows else 1), folder / target)
        run.folder.mkdir()
        try_by_chance(run)
        if follows and not run.trouble:
            follow(run)
        tell(run)
        failed += bool(run.trouble)
    if failed:
        print(f"What broke {failed} of them is kept in {folder}")
    else:
        print("All hold. Executions are atheris', edges the ways through our code that it has found.")
        shutil.rmtree(folder)
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description="Feeds every parser what nobody would write.")
    parser.add_argument("--seconds", type=float, default=60, help="for each target, in total (default 60)")
    parser.add_argument("--only", action="append", choices=TARGETS, help="this target; may be given several times")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 2**31), help="default: another each time")
    return parser.parse_args()


def try_by_chance(run: Run) -> None:
    """Rounds of hypothesis: the first is short, and says how many examples there is time for."""
    deadline, wanted, seed = time.monotonic() + run.seconds, FIRST_EXAMPLES, run.seed
    while not run.trouble and (left := deadline - time.monotonic()) > 2:
        began = time.monotonic()
        done = hypothesis(run, seed, wanted)
        run.examples += sum(map(int, re.findall(r"(\d+) passing", done.stdout)))
        if done.returncode:
            run.trouble.append(without_statistics(done.stdout) + done.stderr)
        left = deadline - time.monotonic()
        wanted, seed = max(int(wanted * left / (time.monotonic() - began)), FIRST_EXAMPLES), seed + 1


def hypothesis(run: Run, seed: int, examples: int) -> subprocess.CompletedProcess[str]:
    """The tests as pytest runs them, with so many examples for each."""
    quietly = ["-q", "-x", "--tb=short", "-p", "no:cacheprovider", "--hypothesis-show-statistics"]
    module = ["pytest", f"tests/fuzz/test_{run.target}.py", *quietly, f"--hypothesis-seed={seed}"]
    return start(run, module, FUZZ_EXAMPLES=str(examples))


def follow(run: Run) -> None:
    """One run of atheris; what breaks it hypothesis makes as small as can be."""
    corpus, chance = run.folder / "corpus", random.Random(run.seed)
    corpus.mkdir()
    for number in range(SEEDS):
        (corpus / f"seed{number}").write_bytes(chance.randbytes(chance.randrange(64, BUFFER_BYTES)))
    limits = [f"-max_total_time={run.seconds:.0f}", f"-timeout={SLOWEST_SECONDS}", f"-max_len={BUFFER_BYTES}"]
    limits += [f"-seed={run.seed % 2**31 or 1}", "-len_control=0", "-print_final_stats=1", "-rss_limit_mb=3000"]
    done = start(
        run,
        ["tests.fuzz.follow", run.target, *limits, f"-artifact_prefix={run.folder}/", str(corpus)],
        FUZZ_EXAMPLES=str(FIRST_EXAMPLES),
    )
    run.executions = max(map(int, re.findall(r"number_of_executed_units: (\d+)", done.stderr)), default=0)
    run.edges = max(map(int, re.findall(r"\bcov: (\d+)", done.stderr)), default=0)
    if done.returncode or not run.executions:
        again = hypothesis(run, run.seed, FIRST_EXAMPLES)  # it finds what broke among its own examples
        said = without_statistics(again.stdout) if again.returncode else done.stdout[-3000:] + done.stderr[-3000:]
        inputs = " ".join(map(str, sorted(run.folder.glob("*-*"))))
        run.trouble.append(f"{said}\nTo repeat it: .venv/bin/python -m tests.fuzz.follow {run.target} {inputs}")


def without_statistics(output: str) -> str:
    return output.partition("= Hypothesis Statistics =")[0].rstrip("=")


def start(run: Run, module: Sequence[str], **more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HYPOTHESIS_STORAGE_DIRECTORY": str(run.folder / "examples")} | more
    command = [sys.executable, "-m", *module]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace")


def tell(run: Run) -> None:
    tried = f"{run.examples:>9,} examples, {run.executions:>9,} executions, {run.edges:>5,} edges"
    print(f"{run.target:<15} {tried}  {'BROKEN' if run.trouble else 'holds'}", flush=True)
    for text in run.trouble:
        print(text, flush=True)
        print(f'Again from the beginning: make fuzz FUZZ="--only {run.target} --seed {run.seed}"', flush=True)


if __name__ == "__main__":
    sys.exit(main())
