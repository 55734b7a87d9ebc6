"""What is really stored: the database's rows, read without the app's column types."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from flask import Flask

from webapp.database import db

Rows = dict[str, list[dict[str, Any]]]


def stored_rows(app: Flask, *, without: Collection[str] = ()) -> Rows:
    """All rows of all tables except those in `without`, in the order of their first column."""
    found: Rows = {}
    with app.app_context(), db.engine.connect() as connection:
        for table in sorted(sa.inspect(connection).get_table_names()):
            if table not in without:
                rows = connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY 1"))  # noqa: S608
                found[table] = [dict(row) for row in rows.mappings()]
    return found


def stored_bytes(app: Flask) -> bytes:
    """Every value of every row as bytes."""
    values = (v for rows in stored_rows(app).values() for row in rows for v in row.values())
    return b"\n".join(v if isinstance(v, bytes) else str(v).encode() for v in values)
