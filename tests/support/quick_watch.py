"""Run one of our programs, which looks for trouble every half second.

`python -m tests.support.quick_watch MODULE`.
"""

import importlib
import sys

from webapp.jobs.watch import Watch

if __name__ == "__main__":
    Watch.EVERY_S, Watch.SILENT_FOR_S = 0.5, 1.0
    importlib.import_module(sys.argv[1]).main()
