"""The chaos run: many people send while everything around them fails, and a ledger is the judge.

`python -m tests.chaos` (`make chaos`) starts the simulator and the production server, with two
processes, as programs of their own, lets several browsers submit the real form, makes sipgate fail
in every way it knows, and kills the server and its processes with SIGKILL again and again. With
`--database postgresql` (`make scale-test`) there are two servers and two workers, and PostgreSQL is
restarted, too. Afterwards every form and every message is compared with what arrived at the
simulator. `docs/chaos.md` tells how to read the table.

Modules: `plan` (what is to happen, from a seed), `reading` (pages as a browser reads them),
`processes` (what is started, killed and ended), `browser` (one person's browser), `counting` (what
is counted on the way), `run` (puts them together), `judge` (compares, and prints the table).
"""
