"""Show that everything in the locks has a wheel for each Python that the README promises.

Downloads it, with its hashes, for this machine's system. `pip download --python-version` chooses
wheels for the Python that it is told, but judges markers, such as `python_full_version < '3.12'`,
for the one it runs on. So the markers are judged here, and pip gets requirements without any.
"""

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packaging.markers import Marker

PROJECT = Path(__file__).parent.parent
LOCKS = ("requirements.txt", "requirements-scale.txt", "requirements-dev.txt")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def main() -> None:
    with ThreadPoolExecutor(2) as pool:
        if not all(list(pool.map(download, needs()))):
            sys.exit("The locks need something that has no wheel: see above.")


def needs() -> list[tuple[str, str]]:
    """Releases of Python, each with a requirements file of what the locks ask for there.

    The last release of each Python stands for all, and the first one, too, where a marker parts
    them.
    """
    locked = {block for lock in LOCKS for block in blocks(PROJECT / lock)}
    found = []
    for python in PYTHONS:
        first, last = (without_markers(locked, python, f"{python}.{n}") for n in (0, 99))
        found += [(f"{python}.0", first)] if first != last else []
        found += [(f"{python}.99", last)]
    return found


def blocks(lock: Path) -> list[str]:
    """The requirements of a lock, each with the lines of its hashes."""
    lines = [line for line in lock.read_text().splitlines() if not line.lstrip().startswith("#")]
    return "\n".join(lines).replace(" \\\n", "").splitlines()


def without_markers(locked: set[str], python: str, release: str) -> str:
    target = {"python_version": python, "python_full_version": release}
    found = []
    for block in sorted(locked):
        requirement, *hashes = block.split("    --hash=")
        name, _, marker = requirement.partition(";")
        if not marker or Marker(marker).evaluate(target):
            found.append(" --hash=".join([name.strip(), *hashes]))
    return "\n".join(found)


def download(need: tuple[str, str]) -> bool:
    release, requirements = need
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "requirements.txt")
        wanted.write_text(requirements)
        command = [sys.executable, "-m", "pip", "download", "-qq", "--dest", folder]
        command += ["--only-binary=:all:", f"--python-version={release}", "--no-deps"]
        command += ["--require-hashes", "--requirement", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        count = len(list(Path(folder).glob("*.whl")))
    wanted_count = len(requirements.splitlines())
    print(f"Python {release}: {count} of {wanted_count} wheels {done.stderr}".strip(), flush=True)
    return done.returncode == 0 and count == wanted_count


if __name__ == "__main__":
    main()
