"""A worker as a process of its own on either database: `python -m tests.support.lone_worker`.

On SQLite the server carries the worker. What a worker does when it is killed, frozen or told to end
is the same there, and easier to see where nothing else is in its process.
"""

from webapp import create_app, worker
from webapp.database import installation, schema


def main() -> None:
    app = create_app()
    with app.app_context():
        schema.require_current_schema()
        installation.register_location()
    worker.work(app)


if __name__ == "__main__":
    main()
