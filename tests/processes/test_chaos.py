"""A small chaos run: the same program as `make chaos`, in a minute."""

from pathlib import Path

import pytest

from tests.chaos.judge import table
from tests.chaos.run import Options, run


@pytest.mark.slow
def test_faults_and_kills_neither_double_nor_lose_a_message(tmp_path: Path) -> None:
    report = run(Options(submissions=150, kills=3, seed=7, is_hurried=True), tmp_path)
    assert not report.violations, table(report)
    assert report.submissions == 150
    assert report.outcomes["accepted"] > 0
