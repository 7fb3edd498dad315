"""Plain connections to the MariaDB of the tests, set to what those of the store are."""

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pymysql

from syncsession_client.statements import load

SETTINGS = load("server/mysql/connection.sql")


def connect(url: str) -> Any:
    """A connection that commits each statement. LOAD DATA reads files of the current directory."""
    parts = urlsplit(url)
    db = pymysql.connect(
        unix_socket=parse_qs(parts.query)["unix_socket"][0],
        user=parts.username,
        database=unquote(parts.path[1:]),
        charset="utf8mb4",
        local_infile=True,
        autocommit=True,
    )
    for sql in (SETTINGS.mode, SETTINGS.isolation):
        run(db, sql)
    return db


def run(db: Any, sql: str, params: Any = None) -> tuple[tuple[Any, ...], ...]:
    """The rows of a statement. Without `params` its percent signs are what they are."""
    with db.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall()
