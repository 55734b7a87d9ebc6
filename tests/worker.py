"""The worker, one step at a time: what huey's consumer would do, in the test's own thread."""

from flask import Flask

from webapp import tasks
from webapp.extensions import queue


def work(app: Flask, *, sweep: bool = True) -> int:
    """Do all that is due (found by a sweep first) and return how many tasks ran."""
    queue.app = app
    tasks.setup_queue(app)
    if sweep:
        tasks.sweep.call_local()
    count = 0
    while (task := queue.dequeue()) is not None:
        queue.execute(task)
        count += 1
    return count
