"""The server's settings: a field is the flag, the environment variable, the default, the help."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from syncsession_client.protocol.errors import InvalidSetting

_SQLITE = "sqlite:///"


def setting(help_text: str, default: Any) -> Any:
    """A field of the settings with its line of help."""
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Read once, at start: a flag beats the environment, the environment beats the default."""

    database: str = setting(
        "Where the rows live: sqlite:///relative or sqlite:////absolute path.",
        "sqlite:///syncsession.db",
    )
    host: str = setting("Address to listen on.", "127.0.0.1")
    port: int = setting("Port to listen on; 0 takes a free one.", 8484)
    max_body_bytes: int = setting("The largest body, packed or unpacked.", 64 << 20)
    request_timeout_seconds: float = setting(
        "How long a request may take, its body and the database included.", 300.0
    )
    queue_poll_interval_seconds: float = setting(
        "How often to look for sessions that another process queued.", 1.0
    )
    status_wait_seconds: float = setting(
        "How long a request for a session's outcome waits for it.", 20.0
    )

    def database_path(self) -> Path:
        """The file that `database` names.

        Raises:
            InvalidSetting: it is no sqlite:/// URL.
        """
        if not self.database.startswith(_SQLITE) or self.database == _SQLITE:
            raise InvalidSetting(
                f"{self.database!r} is no database URL: use sqlite:///path (three slashes before a "
                "relative path, four before an absolute one)"
            )
        return Path(self.database.removeprefix(_SQLITE))


def environment_name(name: str) -> str:
    """The environment variable of a setting."""
    return f"SYNCSESSION_{name.upper()}"


def described() -> list[tuple[str, str, str, Any]]:
    """(flag, environment variable, help, default) of every setting, in order."""
    return [
        (
            "--" + f.name.replace("_", "-"),
            environment_name(f.name),
            str(f.metadata["help"]),
            f.default,
        )
        for f in fields(Settings)
    ]
