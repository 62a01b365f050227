"""The floor: a Redis list and a loop, and whatever a killed worker had in hand is lost."""

from __future__ import annotations

import os
import sys

import redis

from bench.work import answer

WORKER = [sys.executable, "-m", "bench.queues.on_nothing"]
LIST = "floor"

client = redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=10)


def put(chat_id: int) -> None:
    client.lpush(LIST, chat_id)


if __name__ == "__main__":
    while True:
        if rung := client.brpop([LIST], timeout=2):
            answer(int(rung[1]))
