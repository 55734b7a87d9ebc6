"""`python -m tests.chaos [--submissions 10000] [--seed 1] [--kills 30] [--database sqlite]`.

Ctrl-C ends everything.
"""

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from tests.chaos.judge import table
from tests.chaos.run import Options, run


def main() -> int:
    """Run, print the table, and return 0 if nothing was violated; then the folder is removed."""
    options = _options()
    signal.signal(signal.SIGTERM, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="team-sms-chaos-"))
    try:
        report = run(options, folder)
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; database and logs are in {folder}\n")
        return 130
    sys.stdout.write(f"seed {options.seed}\n{table(report)}\n")
    if report.violations:
        sys.stdout.write(f"database and logs are in {folder}\n")
        return 1
    shutil.rmtree(folder)
    return 0


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--submissions", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--hurried", action="store_true", help="put clocks back instead of waiting")
    found = parser.parse_args()
    return Options(
        submissions=found.submissions,
        kills=found.kills,
        seed=found.seed,
        database=found.database,
        is_hurried=found.hurried,
    )


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
