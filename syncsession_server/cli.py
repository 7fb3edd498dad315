"""syncsession-server: run the server, make tokens, say how conflicts are decided."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from marshmallow import validate

from syncsession_client.protocol.commands import Cli

from . import audit, conflict_log, history, logs, revert, versions
from .app import current_store, open_store
from .conflicts import DEFAULT
from .policies import list_policies, set_policy
from .registry import leave_references
from .serving import serve
from .settings import Described, Settings, described, read
from .settings_file import SettingsFile, read_file
from .stores import Store
from .tenants import SCOPES, create_token

_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")


class _RawFlag(click.types.BoolParamType):
    """A flag that takes what the environment holds as it is: `settings.read` tells all faults."""

    def convert(self, value: Any, *_: Any) -> Any:
        return value


def setting_options(*names: str) -> Callable[[_F], _F]:
    """The flags of the named settings; of all when none is named. They give texts, unchecked."""

    def decorate(command: _F) -> _F:
        command = _config(command)
        for each in reversed(described()):
            if not names or each.name in names:
                command = _option(each)(command)
        return command

    return decorate


def _take_file(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """What the file says counts where neither a flag nor the environment does."""
    found = read_file(path) if path else SettingsFile()
    context.default_map = dict(found.texts)
    context.obj = found


def _config(command: _F) -> _F:
    return click.option(
        "--config",
        envvar="SYNCSESSION_CONFIG",
        show_envvar=True,
        is_eager=True,
        expose_value=False,
        callback=_take_file,
        type=click.Path(path_type=Path, dir_okay=False),
        help="TOML file of settings by name, and of the policies of tables under [policies].",
    )(command)


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
@click.pass_obj
def run(file: SettingsFile, /, **values: Any) -> None:
    """Run the server until it is told to stop.

    \b
    Example:
        syncsession-server run --port 8484
    """
    settings = read(values)
    logs.configure(settings.log_level, settings.log_format)
    label = settings.database_url().label
    if file.policies and not settings.maintenance:
        asyncio.run(_set_policies(settings, file.policies))
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
def policy() -> None:
    """Say what becomes of a row that two devices have changed."""


@policy.command("set")
@click.argument("table")
@click.argument("policy")
@click.option(
    "--unique",
    metavar="COLUMNS",
    help="The policy is of these columns, which are UNIQUE together: merge or reject.",
)
@setting_options("database")
def set_one(table: str, policy: str, unique: str | None, database: str) -> None:
    """Give TABLE, of every tenant, the POLICY by which its conflicts are decided from now on.

    last_in_wins (the default), server_wins, newest_wins, merge, or python:module.function.

    Of columns that are UNIQUE, whether a new row that has what another row has becomes that row
    (merge: the default where keys are each device's own integers), or is refused (reject).

    \b
    Example:
        syncsession-server policy set customers merge
        syncsession-server policy set customers reject --unique email
    """
    table = f"{table}({unique})" if unique else table
    asyncio.run(_set_policies(read({"database": database}), {table: policy}))
    click.echo(f"{table}: {policy}")


@policy.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@setting_options("database")
def list_all(as_json: bool, database: str) -> None:
    """List the tables that have another policy than the default.

    \b
    Example:
        syncsession-server policy list
    """
    found = asyncio.run(_list_policies(read({"database": database})))
    lines = [f"{table}: {name}" for table, name in found.items()]
    shown = {"policies": [{"table": table, "policy": name} for table, name in found.items()]}
    text = "\n".join([*lines, f"all others: {DEFAULT}"])
    click.echo(json.dumps(shown) if as_json else text)


@main.command()
@click.option("--tenant", required=True, help="Whose.")
@click.option(
    "--most", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@setting_options("database")
def conflicts(tenant: str, most: int, as_json: bool, database: str) -> None:
    """List the rows of a tenant that two devices have changed, newest first.

    \b
    Example:
        syncsession-server conflicts --tenant acme
    """
    found = asyncio.run(_list_conflicts(read({"database": database}), tenant, most))
    click.echo(json.dumps({"conflicts": found}) if as_json else conflict_log.as_text(found))


async def _set_policies(settings: Settings, policies: Mapping[str, str]) -> None:
    async with current_store(settings) as store:
        for table, name in policies.items():
            await set_policy(store, table, name)


async def _list_policies(settings: Settings) -> dict[str, str]:
    async with current_store(settings) as store:
        return await list_policies(store)


async def _list_conflicts(settings: Settings, tenant: str, most: int) -> list[dict[str, Any]]:
    async with current_store(settings) as store:
        return await conflict_log.list_conflicts(store, tenant, most)


@main.group()
def table() -> None:
    """Say how the tables of a tenant are kept."""


@table.command("set")
@click.argument("name", metavar="TABLE")
@click.option("--tenant", required=True, help="Whose table.")
@click.option(
    "--history",
    "history_is",
    type=click.Choice(["on", "off"]),
    help="Whether to keep every version of its rows, from the next session on.",
)
@click.option(
    "--references",
    "references_are",
    type=click.Choice(["on", "off"]),
    help="Whether its references are to lead to rows that are there, from the next session on.",
)
@setting_options("database")
def set_table(
    name: str, tenant: str, history_is: str | None, references_are: str | None, database: str
) -> None:
    """Say whether history of TABLE is kept, and its references hold; both are so by default.

    History that has been kept stays. Where it is switched on again, it begins anew: what happened
    meanwhile is in no version. Switch references off where the applications do not enforce them,
    and count on that.

    \b
    Example:
        syncsession-server table set readings --tenant acme --history off
    """
    if history_is is None and references_are is None:
        raise click.UsageError("say what to set: --history or --references")

    async def put(store: Store) -> None:
        if history_is is not None:
            await history.switch(store, tenant, name, is_on=history_is == "on")
        if references_are is not None:
            is_checked = references_are == "on"
            await leave_references(store, tenant, name, is_checked=is_checked)

    asyncio.run(_with_store(database, put))
    for what, state in (("history", history_is), ("references", references_are)):
        if state is not None:
            click.echo(f"{what} of {name}: {state}")


@main.command("history")
@click.argument("name", metavar="TABLE")
@click.argument("key", nargs=-1, required=True)
@click.option("--tenant", required=True, help="Whose table.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@setting_options("database")
def show_history(
    name: str, key: tuple[str, ...], tenant: str, as_json: bool, database: str
) -> None:
    """Print the life of a row: each version, and what it changed.

    In a table whose integers are each device's own, KEY is the integer on the device that made the
    row, or the row's row_id. Of a key of several columns give each.

    \b
    Example:
        syncsession-server history customers 42 --tenant acme
    """
    lives = asyncio.run(
        _with_store(database, lambda store: versions.life(store, tenant, name, key))
    )
    if as_json:
        click.echo(audit.as_json(lives))
        return
    for life in lives:
        for line in audit.lines(life):
            click.echo(line)


@main.command("as-of")
@click.argument("time")
@click.argument("name", metavar="TABLE")
@click.argument("key", nargs=-1)
@click.option("--tenant", required=True, help="Whose table.")
@setting_options("database")
def show_as_of(time: str, name: str, key: tuple[str, ...], tenant: str, database: str) -> None:
    """Print a row as it was at TIME, or all rows of TABLE, each as one JSON object.

    TIME is the server's, in UTC unless it names an offset.

    \b
    Example:
        syncsession-server as-of 2026-01-31T12:00:00Z customers --tenant acme > customers.jsonl
    """
    at = versions.moment(time)
    asyncio.run(
        _with_store(
            database,
            lambda store: versions.as_of(
                store, tenant, name, at, lambda rows: audit.print_images(rows, click.echo), key
            ),
        )
    )


@main.command("revert")
@click.argument("session", type=click.IntRange(min=1))
@click.option("--tenant", required=True, help="Whose session.")
@click.option("--user", default="server", show_default=True, help="Who undoes it, for history.")
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be done.")
@setting_options("database")
def revert_session(session: int, tenant: str, user: str, dry_run: bool, database: str) -> None:
    """Undo SESSION, by its number, in a new session that every device pulls.

    What a later session wrote stays as it is and is printed, as is what history does not know.

    \b
    Example:
        syncsession-server revert 17 --tenant acme --dry-run
    """
    done = asyncio.run(
        _with_store(
            database,
            lambda store: revert.revert(store, tenant, session, user=user, dry_run=dry_run),
        )
    )
    for left in done.left:
        click.echo(f"left: {left.table} {left.image}: {left.why}")
    for name, count in done.rows.items():
        click.echo(f"{'would bring back' if dry_run else 'brought back'}: {count} of {name}")
    if done.number is not None:
        click.echo(f"session {session} is undone by session {done.number}")


async def _with_store(database: str, work: Callable[[Store], Awaitable[_T]]) -> _T:
    async with current_store(read({"database": database})) as store:
        return await work(store)


async def _migrate(settings: Settings) -> list[str]:
    async with open_store(settings) as store:
        return await store.migrate()


async def _create_token(settings: Settings, tenant: str, user: str, scopes: tuple[str, ...]) -> str:
    async with current_store(settings) as store:
        return await create_token(store, tenant=tenant, user=user, scopes=frozenset(scopes))
