"""Huey."""

from __future__ import annotations

import os
import sys

from huey import RedisHuey

from bench.work import answer

WORKER = [sys.executable, "-m", "huey.bin.huey_consumer", "bench.queues.on_huey.huey", "--workers", "1", "--quiet"]

huey = RedisHuey("bench", url=os.environ["REDIS_URL"], results=False)
task = huey.task()(answer)


def put(chat_id: int) -> None:
    task(chat_id)
