"""Database URLs: what they name, and what is wrong with one. No message here quotes a MySQL URL,
since any part of a malformed one may be its password.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from syncsession_client.protocol.errors import InvalidSetting

Tls = Literal["off", "required", "verify-full"]

FORMS = "sqlite:///path or mysql://user:password@host:3306/name"

_SQLITE = "sqlite:///"
_MYSQL = ("mysql://", "mariadb://")
_MYSQL_PORT = 3306
_QUERY = ("unix_socket", "tls", "tls_ca", "tls_cert", "tls_key")
_MODES = ("off", "required", "verify-full")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True)
class SqliteUrl:
    """One file, served by one process."""

    path: str

    @property
    def label(self) -> str:
        """The path, which holds no secret."""
        return self.path


@dataclass(frozen=True, kw_only=True, slots=True)
class MysqlUrl:
    """A database of a MySQL or MariaDB server.

    `tls` is `off`: never; `required`: encrypted, and whoever answers is believed; `verify-full`:
    encrypted, and the certificate must name the host and be signed by `tls_ca`, without which the
    system's authorities count.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    name: str
    unix_socket: str | None = None
    tls: Tls = "off"
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None

    @property
    def label(self) -> str:
        """The URL without the password and the query."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mysql://{quote(self.user)}@{host}:{self.port}/{quote(self.name)}"


DatabaseUrl = SqliteUrl | MysqlUrl


def parse(url: str) -> DatabaseUrl:
    """What a database URL names.

    Raises:
        InvalidSetting: it is none; the message says what is wrong, and never holds the password.
    """
    if url.startswith(_SQLITE):
        return _sqlite(url.removeprefix(_SQLITE))
    if url.startswith(_MYSQL):
        return _mysql(url)
    raise InvalidSetting(f"the database URL must be {FORMS}")


def _sqlite(path: str) -> SqliteUrl:
    if not path or "\0" in path:
        raise InvalidSetting(
            "the database URL names no file: use sqlite:///path (three slashes before a relative "
            "path, four before an absolute one)"
        )
    return SqliteUrl(path)


def _mysql(url: str) -> MysqlUrl:
    if _CONTROL.search(url):
        raise _wrong("holds a space or a control character")
    parts, port = _split(url)
    query = _query(parts.query)
    if parts.fragment:
        raise _wrong("has a # in it")
    if not parts.username:
        raise _wrong("names no user")
    if not parts.hostname and "unix_socket" not in query:
        raise _wrong("names no host")
    name = _decoded(parts.path.removeprefix("/"), "name of the database")
    if not name or "/" in parts.path.removeprefix("/"):
        raise _wrong("must name one database after the host")
    _check_tls(query)
    return MysqlUrl(
        host=parts.hostname or "localhost",
        port=port,
        user=_decoded(parts.username, "user"),
        password=_decoded(parts.password or "", "password"),
        name=name,
        unix_socket=query.get("unix_socket"),
        tls=cast(Tls, query.get("tls", "verify-full" if "tls_ca" in query else "off")),
        tls_ca=query.get("tls_ca"),
        tls_cert=query.get("tls_cert"),
        tls_key=query.get("tls_key"),
    )


def _split(url: str) -> tuple[SplitResult, int]:
    """The parts and the port. What urllib says is dropped: it quotes what it cannot read."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _wrong("has a host or port that cannot be read") from None
    if port == 0:
        raise _wrong("has port 0: use 1 to 65535")
    return parts, port or _MYSQL_PORT


def _query(text: str) -> dict[str, str]:
    pairs = parse_qsl(text, keep_blank_values=True)
    query = dict(pairs)
    if not set(query) <= set(_QUERY) or len(query) < len(pairs) or not all(query.values()):
        raise _wrong(f"may have, after a ?, each once and not empty: {', '.join(_QUERY)}")
    return query


def _check_tls(query: Mapping[str, str]) -> None:
    mode = query.get("tls")
    if mode is not None and mode not in _MODES:
        raise _wrong(f"has another tls than {', '.join(_MODES)}")
    if "tls_ca" in query and mode not in (None, "verify-full"):
        raise _wrong("has a tls_ca, which is of use with tls=verify-full only")
    if ("tls_cert" in query) != ("tls_key" in query):
        raise _wrong("has one of tls_cert and tls_key: they come together")
    is_off = mode == "off" or (mode is None and "tls_ca" not in query)
    if "tls_cert" in query and is_off:
        raise _wrong("has a tls_cert, which is of use with tls=required or tls=verify-full only")
    if "unix_socket" in query and not is_off:
        raise _wrong("has TLS on a unix_socket, which leaves no machine: leave one of them out")


def _decoded(text: str, part: str) -> str:
    if not _BROKEN_ESCAPE.search(text):
        try:
            decoded = unquote(text, errors="strict")
        except UnicodeDecodeError:
            decoded = "\0"
        if "\0" not in decoded:
            return decoded
    raise _wrong(f"has a {part} that is not percent-encoded UTF-8")


def _wrong(what: str) -> InvalidSetting:
    return InvalidSetting(
        f"the database URL {what} (it looks like mysql://user:password@host:3306/name, with any "
        "@ : / ? # % inside a part percent-encoded)"
    )
