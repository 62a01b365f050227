"""`python -m tests.recall` prints the hit rate at 5 for each language, with and without stemming."""

from __future__ import annotations

import argparse

from tests.recall import Language, measure, without_stemming


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--missed", action="store_true", help="print the questions whose turn was not found, too")
    arguments = parser.parse_args()
    stemmed = measure()
    with without_stemming():
        plain = measure()
    print(f"{'':10}{'turns':>6}{'asked':>6}{'hit@5':>8}{'first':>7}{'unstemmed hit@5':>17}{'disturbed':>11}")
    for one, other in zip(stemmed, plain, strict=True):
        print(
            f"{one.name:10}{one.turns:>6}{one.asked:>6}{share(one, one.hits):>8}{share(one, one.first):>7}"
            f"{share(other, other.hits):>17}{f'{one.disturbed} of {one.unrelated}':>11}"
        )
        if arguments.missed:
            print("\n".join(f"    missed: {question}" for question in one.missed))


def share(language: Language, count: int) -> str:
    return f"{count / language.asked:.0%}"


if __name__ == "__main__":
    main()
