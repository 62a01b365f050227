"""A process of its own for one target, which atheris drives along whatever is new in the code: libFuzzer ends it.

python -m tests.fuzz.follow splitter [libFuzzer's flags, and folders or files]
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable

import atheris

WATCHED = ["lib", "telegramify_markdown", "dotenv"]  # where an input that comes upon something new is worth keeping


def properties(target: str) -> list[Callable[[bytes], object]]:
    """The properties of this target that need no server."""
    with atheris.instrument_imports(include=WATCHED):
        module = importlib.import_module(f"tests.fuzz.test_{target}")
    found = [value for name, value in sorted(vars(module).items()) if name.startswith("test_")]
    return [test.hypothesis.fuzz_one_input for test in found if not inspect.signature(test).parameters]


def main() -> None:
    target, *flags = sys.argv[1:]
    tests = properties(target)

    def one_input(data: bytes) -> None:
        if data:  # the first byte says which property it is for
            tests[data[0] % len(tests)](data[1:])

    atheris.Setup([sys.argv[0], *flags], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
