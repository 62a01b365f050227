"""Dramatiq."""

from __future__ import annotations

import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.work import answer

WORKER = [sys.executable, "-m", "dramatiq", "bench.queues.on_dramatiq", "--processes", "1", "--threads", "1"]

dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))
task = dramatiq.actor(answer)


def put(chat_id: int) -> None:
    task.send(chat_id)
