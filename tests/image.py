"""Build the Dockerfile with Debian's buildah, run what came out, and look whether it works.

Where the base image cannot be pulled, a Debian made with debootstrap stands in for it, under its
name. There is no Docker engine and no container's walls: buildah runs the image's command as the
image's user in a chroot, on this machine's network, where it listens on loopback only.

Run it as root: `make image-test`. Uses the standard library alone.
"""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROJECT = Path(__file__).parent.parent
IMAGE = "team-sms-image-test"
LOOPBACK = "127.0.0.1"
PULL_LIMIT_S = 300
START_LIMIT_S = 60
END_LIMIT_S = 40
"""More than the server's own grace."""
USER_ID = 10001
"""Of team-sms in the image."""
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
NO_PROXY = urllib.request.ProxyHandler({})
PYTHON_OF_DEBIAN = ("python3", "python3-venv", "python3-pip")


class Buildah:
    """buildah with a storage of its own, which needs nothing of the kernel."""

    def __init__(self, folder: Path) -> None:
        self._options = [f"--root={folder / 'root'}", f"--runroot={folder / 'run'}"]
        self._options += ["--storage-driver=vfs"]

    def command(self, verb: str, *arguments: str | Path) -> list[str]:
        isolated = ["--isolation=chroot"] if verb in ("build", "run", "from") else []
        return ["buildah", *self._options, verb, *isolated, *map(str, arguments)]

    def __call__(self, verb: str, *arguments: str | Path) -> str:
        return output_of(self.command(verb, *arguments))


def main() -> None:
    check_machine()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Not in /tmp, which may be memory, or closed to the devices that debootstrap makes.
    with tempfile.TemporaryDirectory(prefix="team-sms-image-", dir="/var/tmp") as folder:  # noqa: S108
        os.environ["TMPDIR"] = folder  # buildah leaves things there when it is killed
        buildah = Buildah(Path(folder))
        for base in base_images():
            provide(buildah, base)
        timed("The image is built", build, buildah, Path(folder))
        timed("The image works", check_image, buildah)


def check_machine() -> None:
    missing = [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]
    if missing:
        sys.exit(
            f"Not installed: {', '.join(missing)}. On Debian: apt-get install buildah debootstrap"
        )
    if os.geteuid() != 0:
        sys.exit("Building an image in a chroot needs root: sudo make image-test")


def timed(what: str, step: Callable[..., None], *arguments: object) -> None:
    begins = time.monotonic()
    step(*arguments)
    print(f"{what} ({time.monotonic() - begins:.0f} s).", flush=True)


# --- What the image is built on ------------------------------------------------------------------


def base_images() -> set[str]:
    return set(re.findall(r"^FROM (\S+)", (PROJECT / "Dockerfile").read_text(), re.MULTILINE))


def provide(buildah: Buildah, base: str) -> None:
    """Pull the base image, or make one of its name."""
    with suppress(subprocess.TimeoutExpired):
        pull = buildah.command("pull", "--quiet", base)
        done = subprocess.run(pull, capture_output=True, timeout=PULL_LIMIT_S, check=False)
        if done.returncode == 0:
            print(f"The base image is {base}, pulled.", flush=True)
            return
    print(f"{base} cannot be pulled here: a Debian with its own Python stands in.", flush=True)
    timed("The stand-in is made", make_stand_in, buildah, base)


def make_stand_in(buildah: Buildah, base: str) -> None:
    suite = base.rpartition("-")[2]
    container = buildah("from", "scratch")
    root = Path(buildah("mount", container))
    include = f"--include={','.join(PYTHON_OF_DEBIAN)}"
    # What it mounts below its target ends with it, however it ends.
    debootstrap = ["unshare", "--mount", "debootstrap", "--variant=minbase", include]
    output_of([*debootstrap, suite, str(root), mirror_of(suite)])
    (root / "usr/bin/python").symlink_to("python3")
    shutil.rmtree(root / "var/cache/apt/archives")
    buildah("umount", container)
    buildah("commit", "--quiet", container, base)
    buildah("rm", container)


def mirror_of(suite: str) -> str:
    """Where this machine's apt gets Debian's packages of that suite from."""
    output_of(["apt-get", "update", "-qq"])  # before it, apt knows the origin of nothing
    form = "$(ORIGIN) $(RELEASE) $(COMPONENT) $(REPO_URI)"
    targets = output_of(["apt-get", "indextargets", "--format", form, "Created-By: Packages"])
    found = re.search(rf"^Debian {suite} main (\S+)$", targets, re.MULTILINE)
    if found is None:
        sys.exit(f"apt here has no source of Debian {suite}, of which the stand-in would be made.")
    return found[1]


# --- The image -----------------------------------------------------------------------------------


def build(buildah: Buildah, folder: Path) -> None:
    # Docker's own format: the other has no HEALTHCHECK.
    options = ["--format=docker", "--pull-never", "--quiet", f"--tag={IMAGE}"]
    buildah("build", *options, *authorities(folder), PROJECT)


def authorities(folder: Path) -> list[str]:
    """Let pip trust whom this machine trusts: some networks have an authority of their own."""
    if not AUTHORITIES.exists():
        return []
    config = folder / "pip.conf"
    config.write_text(f"[global]\ncert = {AUTHORITIES}\n")
    return [f"--volume={config}:/etc/pip.conf:ro", f"--volume={AUTHORITIES}:{AUTHORITIES}:ro"]


def check_image(buildah: Buildah) -> None:
    """Start the image's command as the image has it, ask, look, and end it."""
    container = buildah("from", "--pull-never", IMAGE)
    config = json.loads(buildah("inspect", container))["Docker"]["config"]
    port = free_port()
    values = [f"--env={name}={value}" for name, value in settings(port).items()]
    with running(buildah.command("run", *values, container, "--", *config["Cmd"])) as run:
        wait_until_ready(run, port)
        expect(get(port, "/healthz")[0], 200, "/healthz")
        expect('<html lang="de"' in get(port, "/about", "de")[1], True, "a page in German")
        buildah("run", *values, container, "--", *config["Healthcheck"]["Test"][1:])
        check_processes(run.pid, config["Cmd"])
        os.kill(servers(run.pid, config["Cmd"])[0], signal.SIGTERM)
        expect(run.wait(END_LIMIT_S), 0, "the exit code after SIGTERM")
    print("/healthz 200, /readyz ok, German, health check, user, data folder, SIGTERM: as wanted.")


def settings(port: int) -> dict[str, str]:
    """Real ones, with nobody at sipgate's address; and this machine's network sees nothing."""
    return {
        "HOST": LOOPBACK,
        "PORT": str(port),
        "PUBLIC_URL": f"http://localhost:{port}",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "SIPGATE_CLIENT_ID": "1234567-0-image-test:third-party",
        "SIPGATE_CLIENT_SECRET": secrets.token_urlsafe(24),
        "SIPGATE_ACCOUNTS": "1234567",
        "SIPGATE_ISSUER": f"http://{LOOPBACK}:9/realm",
        "SIPGATE_API_URL": f"http://{LOOPBACK}:9/v2",
    }


def check_processes(pid: int, command: list[str]) -> None:
    """They are the image's user's, and so is their database, which nobody else can read."""
    found = servers(pid, command)
    expect(bool(found), True, "whether the command runs")
    for one in found:
        expect(Path(f"/proc/{one}").stat().st_uid, USER_ID, "the user of a process")
    data = Path(f"/proc/{found[0]}/root/app/instance")
    expect(oct(data.stat().st_mode & 0o777), "0o700", "the data folder's mode")
    databases = list(data.glob("*.sqlite"))
    expect(len(databases), 1, "the number of databases")
    expect(databases[0].stat().st_uid, USER_ID, "the database's owner")


def servers(pid: int, command: list[str]) -> list[int]:
    """The processes below this one that run the command, the first one first."""
    below = [pid]
    for one in below:
        with suppress(FileNotFoundError):
            for thread in Path(f"/proc/{one}/task").iterdir():
                below += map(int, (thread / "children").read_text().split())
    return [one for one in below if is_running(one, command)]


def is_running(pid: int, command: list[str]) -> bool:
    """Its first word may be there as the whole path of the program."""
    with suppress(FileNotFoundError, ProcessLookupError):
        words = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
        return [Path(words[0]).name, *words[1:]] == command
    return False


@contextmanager
def running(command: list[str]) -> "Iterator[subprocess.Popen[bytes]]":
    """Whatever happens, nothing of it is left."""
    run = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield run
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()


def wait_until_ready(run: "subprocess.Popen[bytes]", port: int) -> None:
    until = time.monotonic() + START_LIMIT_S
    answer: tuple[int, str] = (0, "")
    while answer[0] != 200:
        if run.poll() is not None:
            sys.exit(f"The image's command ended by itself, with {run.returncode}.")
        if time.monotonic() > until:
            sys.exit(f"/readyz does not become ok: {answer}")
        time.sleep(0.2)
        answer = get(port, "/readyz")
    expect(json.loads(answer[1]), {"status": "ok"}, "/readyz")


def get(port: int, path: str, language: str = "en") -> tuple[int, str]:
    """Status and body; 0 if nothing answers."""
    request = urllib.request.Request(f"http://{LOOPBACK}:{port}{path}")  # noqa: S310
    request.add_header("Host", f"localhost:{port}")
    request.add_header("Accept-Language", language)
    try:
        with urllib.request.build_opener(NO_PROXY).open(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        sys.exit(f"{what} is {found!r}, not {wanted!r}.")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def output_of(command: list[str]) -> str:
    """What it prints; if it fails, that is the end, with its last words."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{command[0]} failed: {' '.join(command)}\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
