"""Once imported, SQLite in this process does not wait for the disk, which tests need not survive.

What a killed process has committed is there all the same: it is with the operating system.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy import event
from sqlalchemy.engine import Engine


@event.listens_for(Engine, "connect")
def _without_waiting(connection: object, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("pragma synchronous = off")
