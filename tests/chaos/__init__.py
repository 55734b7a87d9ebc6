"""The chaos run: many people send while everything around them fails, and a ledger is the judge.

`python -m tests.chaos` (`make chaos`) starts the simulator, the production server and a second
worker as processes of their own, lets several browsers submit the real form, makes sipgate fail in
every way it knows, and kills the server and the worker with SIGKILL again and again. With
`--database postgresql` (`make scale-test`) there are two of each, and PostgreSQL and Redis are
restarted, too. Afterwards every form and every message is compared with what arrived at the
simulator. `docs/chaos.md` tells how to read the table.

Modules: `plan` (what is to happen, from a seed), `reading` (pages as a browser reads them),
`processes` (what is started, killed and ended), `browser` (one person's browser), `counting` (what
is counted on the way), `run` (puts them together), `judge` (compares, and prints the table).
"""
