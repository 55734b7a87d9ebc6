"""One look for trouble, as a process of its own: `python -m tests.support.lone_teller`."""

from webapp import create_app
from webapp.alerts import telling


def main() -> None:
    with create_app().app_context():
        telling.look_and_tell(worker_is_silent=True)


if __name__ == "__main__":
    main()
