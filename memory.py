"""Steward's memory, by hand: `rebuild` makes what Qdrant has of it anew from PostgreSQL, while the house goes on."""

from __future__ import annotations

import argparse
import sys

from lib import config, console, log, unindexed
from lib.db import Database, Down
from lib.recollection import Recollection, open_memory
from lib.stop import Stop

BATCH = 200  # turns
PATIENCE = 60  # rounds in which a worker has the queue in its hands, of half a second each


def main() -> int:
    arguments()
    log.setup("memory", quiet=True)
    try:
        settings = config.load()
        log.hide(settings.secrets)
        stop, database = Stop(), Database(settings.database_url, "steward-memory")
        memory = open_memory(settings)
        if memory is None:
            print(console.NO_QDRANT)
            return 1
        return rebuild(stop, database, Recollection(database, memory, settings.timezone))
    except config.ConfigError as exc:
        print(exc)
    except Down as exc:
        print(console.NO_DATABASE.format(why=exc))
    return 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Looks after what Steward remembers.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("rebuild", help="throw away what Qdrant has, and write it anew from PostgreSQL")
    return parser.parse_args()


def rebuild(stop: Stop, database: Database, recollection: Recollection) -> int:
    """Whatever is not written when this ends, by a stop or because Qdrant is away, the workers write. Raises Down."""
    begun = recollection.start_anew()
    left = total = queued(database)
    rounds = 0
    while begun and left and not stop and not recollection.resting and rounds < PATIENCE:
        rounds = 0 if recollection.catch_up(BATCH) else rounds + 1
        if rounds:  # a worker is at it, too
            stop.wait(0.5)
        left = queued(database)
        print(console.REBUILDING.format(done=max(total - left, 0), total=total))
    if left:
        print(console.REBUILT_LATER.format(left=left))
        return 1
    print(console.REBUILT.format(total=total))
    return 0


def queued(database: Database) -> int:
    with database.statement() as cur:
        return unindexed.count(cur)


if __name__ == "__main__":
    sys.exit(main())
