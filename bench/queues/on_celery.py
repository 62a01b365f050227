"""Celery, with a worker's ordinary pool of processes, of one."""

from __future__ import annotations

import os
import sys

from celery import Celery

from bench.work import answer

WORKER = [sys.executable, "-m", "celery", "-A", "bench.queues.on_celery", "worker", "--concurrency", "1"]
WORKER += ["--loglevel", "ERROR", "--hostname", f"bench-{os.getpid()}@%h"]

app = Celery("bench", broker=os.environ["REDIS_URL"])
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True
app.conf.worker_hijack_root_logger = False
task = app.task(answer)


def put(chat_id: int) -> None:
    task.delay(chat_id)
