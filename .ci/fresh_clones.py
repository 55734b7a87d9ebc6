"""Show that `make test` works on a fresh clone with every Python of this machine from 3.11 on.

Each gets a clone of what is committed, an environment of its own and the pip that it came with.
`make test` then installs the locks, as it does for everybody, and collects all tests; to run them
once, on one Python, is left to the caller.
"""

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).parent.parent
PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")


def main() -> None:
    pythons = found_pythons()
    if not pythons:
        sys.exit("There is no Python from 3.11 on that has venv and ensurepip.")
    if len(pythons) == 1:
        print(f"ONLY ONE PYTHON ON THIS MACHINE, {pythons[0]}: NOTHING IS SHOWN FOR ANY OTHER.")
    with ThreadPoolExecutor(2) as pool:
        if not all(list(pool.map(collects, pythons))):
            sys.exit("`make test` does not work on a fresh clone: see above.")


def found_pythons() -> list[Path]:
    """One for each minor version, the machine's own before pyenv's."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    candidates = [path for folder in folders for path in folder.glob("python3.1[1-9]")]
    candidates += sorted(PYENV.glob("versions/3.1[1-9]*/bin/python3"))
    found: dict[str, Path] = {}
    for python in candidates:
        if PYENV / "shims" not in python.parents and (minor := version(python)):
            found.setdefault(minor, python)
    return list(found.values())


def version(python: Path) -> str:
    """Such as 3.12; empty if `make` could not build an environment with it."""
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def collects(python: Path) -> bool:
    with tempfile.TemporaryDirectory(prefix="team-sms-fresh-") as folder:
        subprocess.run(["git", "clone", "--quiet", PROJECT, folder], check=True)
        make = ["make", "--no-print-directory", "-C", folder, "test", f"PYTHON={python}"]
        # Without compiling all modules of all packages, of which few are imported.
        env = {**os.environ, "PYTEST_ADDOPTS": "--collect-only -q", "PIP_COMPILE": "0"}
        done = subprocess.run(make, env=env, capture_output=True, text=True, check=False)
        pip = [f"{folder}/.venv/bin/python", "-m", "pip", "--version"]
        used = subprocess.run(pip, capture_output=True, text=True, check=False).stdout
    count = re.search(r"^(\d+) tests collected in", done.stdout, re.MULTILINE)
    if done.returncode or count is None:
        print(f"{python}:\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}", flush=True)
        return False
    print(f"{python}, {used.split(' from')[0]}: finds {count[1]} tests", flush=True)
    return True


if __name__ == "__main__":
    main()
