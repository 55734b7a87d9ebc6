"""What the worker is compared with: a Celery task that calls `requests.post`, and nothing else.

`python -m tests.benchmarks.celery_task BROKER work LANES` is its worker, with threads as ours;
`… BROKER enqueue URL COUNT` fills its queue. It runs with the packages of `peer.py`'s environment,
which know nothing of ours.
"""

import sys

import requests
from celery import Celery

app = Celery("peer", broker=sys.argv[1])
app.conf.task_ignore_result = True
app.conf.worker_prefetch_multiplier = 1
TEXT = "Your appointment is tomorrow at half past nine. Bring your card, and call us if you cannot."


@app.task(name="send")
def send(url: str, recipient: str, token: str) -> None:
    body = {"smsId": "s0", "recipient": recipient, "message": TEXT}
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    requests.post(url, json=body, headers=headers, timeout=20).raise_for_status()


def main() -> None:
    what, *rest = sys.argv[2:]
    if what == "work":
        quiet = ("--loglevel=WARNING", "--without-gossip", "--without-mingle")
        app.worker_main(["worker", "--pool=threads", f"--concurrency={rest[0]}", *quiet])
    else:
        url, count = rest[0], int(rest[1])
        with app.producer_pool.acquire() as producer:
            for number in range(count):
                args = (url, f"+4915{number:09d}", "t" * 800)
                send.apply_async(args, producer=producer)


if __name__ == "__main__":
    main()
