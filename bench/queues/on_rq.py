"""RQ, with its SimpleWorker: its default forks for each job, and every fork would connect to everything anew."""

from __future__ import annotations

import os
import sys

import redis
import rq

from bench.work import answer

WORKER = [sys.executable, "-m", "bench.queues.on_rq"]

client = redis.Redis.from_url(os.environ["REDIS_URL"])
queue = rq.Queue("bench", connection=client)


def put(chat_id: int) -> None:
    queue.enqueue(answer, chat_id)


if __name__ == "__main__":
    rq.SimpleWorker([queue], connection=client).work(logging_level="WARNING")
