"""What the app costs, as ratios: each figure stands beside another of the same run and machine.

`make bench` (`python -m tests.benchmarks [--parts send,pages,crowd,worker,start]`) starts the
production server and the worker as processes of their own, beside a bare Flask app under the same
gunicorn settings, before a stand-in for sipgate. `docs/benchmarks.md` says what each figure means
and keeps the last ones. Not collected by pytest: a figure is no test.

Modules: `upstream` (the stand-in), `bare` (what we compare with), `serving` (processes, memory,
processor time), `people` (members, their cookies and forms), `rows` (messages in bulk), `client`
(requests, timed), `table` (the output), `peer` and
`celery_task` (Celery, which the worker is compared with), and one module for each part.
"""
