"""A settings file: the settings by name, and the policies of tables, as TOML.

port = 8484
database = "mysql://server@localhost/syncsession"

[policies]
customers = "server_wins"
"customers(email)" = "reject"
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncsession_client.protocol.errors import InvalidSetting

from .policies import check_policy
from .settings import described


@dataclass(frozen=True)
class SettingsFile:
    """What a file says: texts of settings by name, policies by table."""

    texts: Mapping[str, str] = field(default_factory=dict)
    policies: Mapping[str, str] = field(default_factory=dict)


def read_file(path: Path) -> SettingsFile:
    """The file's settings, which are checked with the others, and its policies, checked.

    Raises:
        InvalidSetting: it is not TOML, or says what is no setting.
    """
    try:
        found = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidSetting(f"{path} cannot be read: {error}") from error
    policies = found.pop("policies", {})
    if not isinstance(policies, dict):
        raise InvalidSetting(f'{path}: policies is a table of names, such as customers = "merge"')
    known = {each.name for each in described()}
    if unknown := sorted(found.keys() - known):
        raise InvalidSetting(f"{path}: there is no setting {', '.join(unknown)}")
    for table, policy in policies.items():
        try:
            check_policy(table, str(policy))
        except InvalidSetting as error:
            raise InvalidSetting(f"{path}, policy of {table}: {error}") from error
    return SettingsFile({name: _text(value) for name, value in found.items()}, policies)


def _text(value: Any) -> str:
    """As it stands in the environment."""
    return str(value).lower() if isinstance(value, bool) else str(value)
