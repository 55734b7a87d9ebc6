"""`make demo`: the simulator and the app, each its own process, on a database of the moment.

Everything is on loopback and gone at the end. The app is the production server with the demo's
settings; nothing in it knows that sipgate is simulated.
"""

import os
import secrets
import signal
import socket
import subprocess  # noqa: S404 (starts our own two programs)
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from webapp.config import PROJECT

CLIENT_ID = "demo:third-party"
APP_PORT, SIMULATOR_PORT = 5000, 5001
START_LIMIT_S = 30


def main() -> None:
    app_port = free_port(int(os.environ.get("PORT") or APP_PORT))
    simulator_port = free_port(SIMULATOR_PORT, taken=app_port)
    secret = secrets.token_urlsafe(24)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="team-sms-demo-") as folder:
        started: list[subprocess.Popen[bytes]] = []
        try:
            started.append(start_simulator(simulator_port, app_port, secret))
            environment = app_environment(simulator_port, app_port, secret, Path(folder))
            started.append(start("webapp.server", [], environment))
            wait_for(f"http://localhost:{simulator_port}/", started[0])
            wait_for(f"http://localhost:{app_port}/healthz", started[1])
            start("webapp.samples", [], environment).wait(START_LIMIT_S)
            sys.stdout.write(welcome(app_port, simulator_port))
            sys.stdout.flush()
            while all(process.poll() is None for process in started):
                time.sleep(0.5)
        except KeyboardInterrupt:
            sys.stdout.write("\nStopping.\n")
        finally:
            stop_all(started)


def start_simulator(port: int, app_port: int, secret: str) -> subprocess.Popen[bytes]:
    redirects = [f"http://{host}:{app_port}/auth/callback" for host in ("localhost", "127.0.0.1")]
    # With "=": a random secret may begin with a dash.
    options = [f"--port={port}", f"--client-id={CLIENT_ID}", f"--client-secret={secret}"]
    for uri in redirects:
        options += ["--redirect-uri", uri]
    return start("webapp.simulator", options, dict(os.environ), output=subprocess.DEVNULL)


def app_environment(simulator_port: int, port: int, secret: str, folder: Path) -> dict[str, str]:
    """The demo's settings, in the environment of its app."""
    values = {
        "PORT": str(port),
        "HOST": "127.0.0.1",
        "PUBLIC_URL": f"http://localhost:{port}",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "SIPGATE_CLIENT_ID": CLIENT_ID,
        "SIPGATE_CLIENT_SECRET": secret,
        "SIPGATE_ISSUER": f"http://127.0.0.1:{simulator_port}/auth/realms/third-party",
        "SIPGATE_API_URL": f"http://127.0.0.1:{simulator_port}/v2",
        "SIPGATE_ACCOUNTS": "1234567 7654321",
        "SIPGATE_OPTIONAL_SCOPES": "history:read contacts:read balance:read",
        "SEGMENT_PRICE": "0.075",
        "DATABASE_URL": f"sqlite:///{folder / 'demo.sqlite'}",
        "TRUSTED_PROXY_HOPS": "0",
        "SMTP_URL": "",
        "ALERT_EMAIL": "",
        "ALERT_WEBHOOK": f"http://127.0.0.1:{simulator_port}/alerts",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING"),
    }
    return {**os.environ, **values}


def start(
    module: str, options: list[str], environment: dict[str, str], output: int | None = None
) -> subprocess.Popen[bytes]:
    """A Python module as a process of its own group: Ctrl-C reaches us, and we stop the others."""
    return subprocess.Popen(  # noqa: S603 (our own modules, arguments made here)
        [sys.executable, "-m", module, *options],
        cwd=PROJECT,
        env=environment,
        stdout=output,
        start_new_session=True,
    )


def stop_all(processes: list[subprocess.Popen[bytes]]) -> None:
    """End them; a second Ctrl-C, or the terminal closing, leaves none behind."""
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)
    for process in processes:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()


def free_port(wanted: int, taken: int = 0) -> int:
    """The wanted port, or the next one that is free."""
    for port in range(wanted, wanted + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port != taken:
            return port
    sys.exit(f"No free port from {wanted} on.")


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(START_LIMIT_S * 10):
        if process.poll() is not None:
            sys.exit("The demo could not start; the lines above say why.")
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 (a loopback address)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    sys.exit(f"Nothing answered at {url}.")


def welcome(app_port: int, simulator_port: int) -> str:
    simulator = f"http://localhost:{simulator_port}"
    return f"""
Team SMS is ready:        http://localhost:{app_port}
The simulated sipgate:    {simulator}
The phones, with texts:   {simulator}/phones
Where it warns:           {simulator}/alerts

Sign in as    Anna Sommer   (practice; administrator, two extensions)
              Ben Wagner    (practice; one extension)
              Clara Neu     (practice; no Web SMS extension)
              Karl Krause   (another account: a workshop)

"Overview" has twelve weeks of sample messages; as Anna, "Record" in the menu says who did what.

Send to 0171 3920050 to see a text arrive. 0171 3920001 to 0171 3920016 make every other
outcome; {simulator} has the list.

To many people, each with their own text: "From a spreadsheet", with the example that can be
downloaded there. Its appointments are in two and three days: choose "Before each appointment"
when you check it, and each person is reminded the day before.

Ctrl-C stops everything.
"""


if __name__ == "__main__":
    main()
