"""`python -m webapp.samples`: the demo's past. Only a database without anybody in it takes it."""

import sys

from webapp import create_app
from webapp.messages import samples


def main() -> None:
    app = create_app()
    with app.app_context():
        try:
            samples.fill()
        except samples.NotEmpty:
            sys.exit("This database is in use: it gets no sample messages.")


if __name__ == "__main__":
    main()
