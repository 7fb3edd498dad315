"""syncsession-server: run the server, make tokens."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeVar

import click
from marshmallow import validate

from syncsession_client.protocol.commands import Cli

from . import history, logs
from .app import current_store, open_store
from .serving import serve
from .settings import Described, Settings, described, read
from .tenants import SCOPES, create_token

_F = TypeVar("_F", bound=Callable[..., Any])


class _RawFlag(click.types.BoolParamType):
    """A flag that takes what the environment holds as it is: `settings.read` tells all faults."""

    def convert(self, value: Any, *_: Any) -> Any:
        return value


def setting_options(*names: str) -> Callable[[_F], _F]:
    """The flags of the named settings; of all when none is named. They give texts, unchecked."""

    def decorate(command: _F) -> _F:
        for each in reversed(described()):
            if not names or each.name in names:
                command = _option(each)(command)
        return command

    return decorate


def _option(each: Described) -> Callable[[_F], _F]:
    limits = f" Allowed: {each.allowed}." if isinstance(each.check, validate.Range) else ""
    return click.option(
        each.flag,
        envvar=each.variable,
        default=each.default,
        is_flag=each.is_flag,
        type=_RawFlag() if each.is_flag else str,
        metavar=None if each.is_flag else _metavar(each),
        help=each.help + limits,
        show_default=True,
        show_envvar=True,
    )


def _metavar(each: Described) -> str:
    if isinstance(each.check, validate.OneOf):
        return "|".join(each.check.choices)
    return {int: "INTEGER", float: "NUMBER"}.get(type(each.default), "TEXT")


@click.group(cls=Cli)
@click.version_option(package_name="syncsession")
def main() -> None:
    """Keep every tenant's rows, and bring devices in step."""


@main.command()
@setting_options()
def run(**values: Any) -> None:
    """Run the server until it is told to stop.

    \b
    Example:
        syncsession-server run --port 8484
    """
    settings = read(values)
    logs.configure(settings.log_level, settings.log_format)
    label = settings.database_url().label
    serve(
        settings,
        lambda url: click.echo(
            f"syncsession-server is ready on {url} (database {label})", err=True
        ),
    )
    click.echo("syncsession-server has stopped", err=True)


@main.command()
@setting_options("database")
def migrate(**texts: Any) -> None:
    """Bring the schema of the server's own tables up to this version.

    It may be run again, and from several places at once.

    \b
    Example:
        syncsession-server migrate --database mysql://user:password@host:3306/name
    """
    settings = read(texts)
    label = settings.database_url().label
    for name in asyncio.run(_migrate(settings)):
        click.echo(f"{label}: ran {name}")
    click.echo(f"{label} is up to date")


@main.group()
def token() -> None:
    """Make the tokens by which devices are let in."""


@token.command("create")
@click.option("--tenant", required=True, help="The tenant; made where it is not there yet.")
@click.option("--user", required=True, help="Whose edits the token's devices push.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(sorted(SCOPES)),
    default=("sync", "schema"),
    show_default=True,
    help="What the token allows; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@setting_options("database")
def create(tenant: str, user: str, scopes: tuple[str, ...], as_json: bool, database: str) -> None:
    """Print a new token, which is shown this once.

    \b
    Example:
        syncsession-server token create --tenant acme --user alice
    """
    made = asyncio.run(_create_token(read({"database": database}), tenant, user, scopes))
    if as_json:
        made = json.dumps(
            {"token": made, "tenant_id": tenant, "user_id": user, "scopes": sorted(scopes)}
        )
    click.echo(made)


@main.group()
def table() -> None:
    """Say how the tables of a tenant are kept."""


@table.command("set")
@click.argument("name", metavar="TABLE")
@click.option("--tenant", required=True, help="Whose table.")
@click.option(
    "--history",
    "is_on",
    required=True,
    type=click.Choice(["on", "off"]),
    help="Whether to keep every version of its rows, from the next session on.",
)
@setting_options("database")
def set_table(name: str, tenant: str, is_on: str, database: str) -> None:
    """Keep history of TABLE, which is so unless it is switched off, or keep none.

    What has been kept stays. Where it is switched on again, it begins anew: what happened meanwhile
    is in no version.

    \b
    Example:
        syncsession-server table set readings --tenant acme --history off
    """
    asyncio.run(_switch(read({"database": database}), tenant, name, is_on == "on"))
    click.echo(f"history of {name} is {is_on}")


async def _switch(settings: Settings, tenant: str, name: str, is_on: bool) -> None:
    async with current_store(settings) as store:
        await history.switch(store, tenant, name, is_on=is_on)


async def _migrate(settings: Settings) -> list[str]:
    async with open_store(settings) as store:
        return await store.migrate()


async def _create_token(settings: Settings, tenant: str, user: str, scopes: tuple[str, ...]) -> str:
    async with current_store(settings) as store:
        return await create_token(store, tenant=tenant, user=user, scopes=frozenset(scopes))
