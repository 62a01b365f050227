"""`make soak`: see tests/soak/__init__.py; `python -m tests.soak --seed 7 --messages 300 --kills 90`."""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import fields

from tests.soak import run
from tests.soak.plan import Options, make_plan


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    for option in fields(Options):
        kind = float if option.name == "seconds" else int
        default = random.SystemRandom().randrange(10**6) if option.name == "seed" else option.default
        parser.add_argument(f"--{option.name}", type=kind, default=default)
    options = Options(**vars(parser.parse_args()))
    print(
        f"seed {options.seed}: {options.messages} messages and a last word of each of {options.chats} people,"
        f" {options.kills} strikes, {options.workers} workers; {options.seconds:.0f} s, and then a rest",
        flush=True,
    )
    ledger = run(make_plan(options), keep=True)
    print(ledger)
    print("\n".join(ledger.broken) or "every promise was kept")
    return 1 if ledger.broken else 0


if __name__ == "__main__":
    sys.exit(main())
