"""The server's settings: a field is the flag, the environment variable, the default, the range, the
help.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from marshmallow import Schema, ValidationError, validate, validates_schema
from marshmallow import fields as kinds

from syncsession_client.protocol.errors import InvalidSetting

from . import databases


class _IsDatabaseUrl(validate.Validator):
    """A URL that `databases.parse` understands."""

    def __call__(self, url: str) -> str:
        try:
            databases.parse(url)
        except InvalidSetting as error:
            raise ValidationError(str(error)) from None
        return url


def setting(help_text: str, default: Any, check: validate.Validator | None = None) -> Any:
    """A field of the settings with its line of help, and what its values are checked with."""
    return field(default=default, metadata={"help": help_text, "check": check})


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Read once, at start: a flag beats the environment, that a settings file, that the default."""

    database: str = setting(
        "Where the rows live: sqlite:///relative or sqlite:////absolute path, or "
        "mysql://user:password@host:3306/name.",
        "sqlite:///syncsession.db",
        _IsDatabaseUrl(),
    )
    database_connections: int = setting(
        "The most connections to MySQL or MariaDB that each process holds.",
        10,
        validate.Range(1, 1000),
    )
    migrate: bool = setting("Bring the schema of an older database up to date at start.", False)
    host: str = setting("Address to listen on.", "127.0.0.1", validate.Length(min=1))
    port: int = setting("Port to listen on; 0 takes a free one.", 8484, validate.Range(0, 65535))
    workers: int = setting(
        "Processes that serve; more than one needs MySQL or MariaDB.", 1, validate.Range(1, 64)
    )
    maintenance: bool = setting(
        "Answer every device that it must try again later; /health, /ready and /metrics stay.",
        False,
    )
    max_body_bytes: int = setting(
        "The largest body, packed or unpacked.", 64 << 20, validate.Range(1024, 1 << 30)
    )
    request_timeout_seconds: float = setting(
        "How long a request may take, its body and the database included.",
        300.0,
        validate.Range(0, 86_400, min_inclusive=False),
    )
    queue_poll_interval_seconds: float = setting(
        "How often to look for sessions that another process queued.",
        1.0,
        validate.Range(0, 3600, min_inclusive=False),
    )
    claim_timeout_seconds: float = setting(
        "How long a process that commits a session may give no sign of life before another takes "
        "the session over. More than the clocks of the servers differ by.",
        60.0,
        validate.Range(1, 3600),
    )
    status_wait_seconds: float = setting(
        "How long a request for a session's outcome waits for it.", 20.0, validate.Range(0, 3600)
    )
    push_shared_table_threshold: int = setting(
        "A push of more rows than this of one table stages them in a table of their own (MySQL).",
        10_000,
        validate.Range(0, 1_000_000_000),
    )
    pull_shared_table_threshold: int = setting(
        "A pull of more rows than this is spooled; a smaller one is in the answer.",
        10_000,
        validate.Range(0, 1_000_000_000),
    )
    pull_batch_size: int = setting("Rows in a batch of a pull.", 1000, validate.Range(1, 10_000))
    session_activity_timeout_minutes: float = setting(
        "How long a session or a pull stays without a request before it expires.",
        30.0,
        validate.Range(0, 525_600, min_inclusive=False),
    )
    session_retention_days: float = setting(
        "How long sessions that ended are kept; 0 keeps them for ever.",
        0.0,
        validate.Range(0, 36_500),
    )
    history_days: float = setting(
        "How long versions of rows that were replaced are kept; 0 keeps them for ever.",
        0.0,
        validate.Range(0, 36_500),
    )
    cleanup_interval_seconds: float = setting(
        "How often to look for what has expired.",
        60.0,
        validate.Range(0, 86_400, min_inclusive=False),
    )
    log_level: str = setting(
        "The least severe messages to log.",
        "info",
        validate.OneOf(("debug", "info", "warning", "error")),
    )
    log_format: str = setting(
        "Lines for people, or a JSON object a line.", "text", validate.OneOf(("text", "json"))
    )

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.masked().items())
        return f"{type(self).__name__}({shown})"

    def masked(self) -> dict[str, Any]:
        """Every setting by name, without the password that the database URL may hold."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {"database": _masked_url(self.database)}

    def database_url(self) -> databases.DatabaseUrl:
        """What `database` names.

        Raises:
            InvalidSetting: it is no database URL.
        """
        return databases.parse(self.database)


@dataclass(frozen=True)
class Described:
    """One setting, as the command line and the reference show it."""

    name: str
    flag: str
    variable: str
    help: str
    default: Any
    check: validate.Validator | None

    @property
    def is_flag(self) -> bool:
        """Whether it is switched on by its flag alone."""
        return isinstance(self.default, bool)

    @property
    def allowed(self) -> str:
        """What a value must be."""
        match self.check:
            case validate.OneOf():
                return f"one of {', '.join(self.check.choices)}"
            case validate.Range():
                kind = "whole number" if isinstance(self.default, int) else "number"
                above = "" if self.check.min_inclusive else "above "
                return f"a {kind}, {above}{self.check.min:,} to {self.check.max:,}"
            case _IsDatabaseUrl():
                return databases.FORMS
            case None:
                return "true or false"
        return "not empty"


def described() -> list[Described]:
    """Every setting, in order."""
    return [
        Described(
            f.name,
            "--" + f.name.replace("_", "-"),
            f"SYNCSESSION_{f.name.upper()}",
            f.metadata["help"],
            f.default,
            f.metadata["check"],
        )
        for f in fields(Settings)
    ]


def read(texts: Mapping[str, Any]) -> Settings:
    """The settings that these texts are, by name; what is left out has its default.

    Raises:
        InvalidSetting: values are of no use; the message names all of them.
    """
    try:
        return Settings(**_schema().load(texts))
    except ValidationError as error:
        found = error.messages_dict
        told = [_told(each, texts, found[each.name]) for each in described() if each.name in found]
        raise InvalidSetting("; ".join(told + found.get("_schema", []))) from None


class _Base(Schema):
    @validates_schema(skip_on_field_errors=False)
    def _one_process_per_file(self, values: dict[str, Any], **_: Any) -> None:
        workers, url = values.get("workers", 1), values.get("database")
        if workers > 1 and url and isinstance(databases.parse(url), databases.SqliteUrl):
            raise ValidationError(
                f"--workers (SYNCSESSION_WORKERS) is {workers}, and an SQLite file is served by "
                "one process: leave it at 1, or keep the rows in MySQL or MariaDB with --database"
            )


def _schema() -> Schema:
    types = {str: kinds.String, int: kinds.Integer, float: kinds.Float, bool: kinds.Boolean}
    made = {
        each.name: types[type(each.default)](
            load_default=each.default, validate=each.check if each.check else []
        )
        for each in described()
    }
    return _Base.from_dict(made)()


def _told(each: Described, texts: Mapping[str, Any], faults: list[str]) -> str:
    """What is wrong with one setting. The database's value is not shown: it may hold a password."""
    name = f"{each.flag} ({each.variable})"
    if isinstance(each.check, _IsDatabaseUrl):
        return f"{name}: {faults[0]}"
    return f"{name} is {texts[each.name]!r} and must be {each.allowed}"


def _masked_url(url: str) -> str:
    try:
        found = databases.parse(url)
    except InvalidSetting:
        return "***"
    return url if isinstance(found, databases.SqliteUrl) else found.label
