"""syncsession-client: set a database up, keep it in step, look at it, take sync out again.

What a command works with is imported in it: none waits for the libraries of the others.
"""

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .defaults import BATCH_ROWS, MOST_BATCH_ROWS, PUSH_STATUS_TIMEOUT
from .progress import Cancellation, Cancelled, Progress, Report, silent
from .protocol.commands import Cli, Judge
from .protocol.errors import InvalidSetting

if TYPE_CHECKING:
    from .engine import Synced, SyncEngine
    from .protocol.tables import KeyKind

_F = TypeVar("_F", bound=Callable[..., Any])

_DATABASE = click.argument("database", type=click.Path(path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
_SERVER = click.option(
    "--server",
    envvar="SYNCSESSION_SERVER",
    show_envvar=True,
    help="URL of the server; remembered in the database.",
)
_TOKEN_FILE = click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File that holds the token; else SYNCSESSION_TOKEN holds it.",
)
_BATCH_ROWS = click.option(
    "--batch-rows",
    type=click.IntRange(1, MOST_BATCH_ROWS),
    default=BATCH_ROWS,
    envvar="SYNCSESSION_BATCH_ROWS",
    show_default=True,
    show_envvar=True,
    help="Rows in a batch.",
)
_PUSH_STATUS_TIMEOUT = click.option(
    "--push-status-timeout",
    type=click.FloatRange(0, 86_400, min_open=True),
    metavar="SECONDS",
    default=PUSH_STATUS_TIMEOUT,
    envvar="SYNCSESSION_PUSH_STATUS_TIMEOUT",
    show_default=True,
    show_envvar=True,
    help="How long a push waits for the server to commit it; the next sync waits again.",
)
_MASS_DELETE = click.option(
    "--allow-mass-delete",
    is_flag=True,
    help="Push deletions of most of a table that no program was seen to make.",
)


_EXIT_CODES = {"green": 0, "amber": 1, "red": 2}
_NARROW, _WIDE = 60, 100


def _table_options(command: _F) -> _F:
    options = (
        click.option("--table", "tables", multiple=True, help="Sync this table; else every table."),
        click.option("--exclude", multiple=True, help="Leave this table out."),
        click.option(
            "--key",
            "keys",
            multiple=True,
            metavar="TABLE=global|local",
            help="What the table's key means: the same on every device, or only on its own.",
        ),
        click.option(
            "--ref",
            "references",
            multiple=True,
            metavar="CHILD.COLUMN=PARENT",
            help="A reference that the schema does not declare.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _sync_options(command: _F) -> _F:
    options = (
        *(_DATABASE, _SERVER, _TOKEN_FILE),
        *(_BATCH_ROWS, _PUSH_STATUS_TIMEOUT, _MASS_DELETE, _JSON),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group(cls=Cli)
@click.version_option(package_name="syncsession")
def main() -> None:
    """Keep SQLite files that already exist in step."""


@main.command(cls=Judge)
@_DATABASE
@_table_options
@_JSON
def check(
    database: Path,
    tables: tuple[str, ...],
    exclude: tuple[str, ...],
    keys: tuple[str, ...],
    references: tuple[str, ...],
    as_json: bool,
) -> None:
    """Tell, table by table, what `init` with the same options would meet; write nothing.

    Green: nothing to note. Amber: the table takes part, but look at this first. Red: it cannot.
    Exit code: 0 all green, 1 some amber, 2 some red; 3 there is no verdict, for the command failed
    or was used wrongly.

    \b
    Example:
        syncsession-client check notes.db
    """
    from .checkup.database import check_up
    from .checkup.text import lines
    from .identity import Choices

    choices = Choices(tables, exclude, _key_kinds(keys), _references(references))
    checkup = check_up(database, choices)
    _print(checkup.as_json(), as_json, "\n".join(lines(checkup, width=_width())))
    click.get_current_context().exit(_EXIT_CODES[checkup.verdict])


@main.command()
@_DATABASE
@_SERVER
@_TOKEN_FILE
@_table_options
@click.option("--user", help="Whose edits these are; else the token's user.")
@click.option("--dry-run", is_flag=True, help="Print the SQL, and change nothing.")
@_JSON
def init(
    database: Path,
    server: str | None,
    token_file: Path | None,
    tables: tuple[str, ...],
    exclude: tuple[str, ...],
    keys: tuple[str, ...],
    references: tuple[str, ...],
    user: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Set DATABASE up for sync; the rows in it are pushed by the next sync.

    \b
    Example:
        syncsession-client init notes.db --server http://127.0.0.1:8484
    """
    from . import setup
    from .identity import Choices
    from .transport import Transport

    choices = Choices(tables, exclude, _key_kinds(keys), _references(references))
    if dry_run:
        statements = list(setup.preview(database, choices))
        _print({"statements": statements}, as_json, "\n\n".join(f"{s};" for s in statements))
        return
    url = _required_server(server)
    setup.check(database, choices)
    with Transport(url, _token(token_file)) as transport:
        me = transport.me()
    done = setup.initialize(database, server=url, choices=choices, user=user or me["user_id"])
    for error in done.skipped.values():
        click.echo(f"Left out: {error} [{error.code}]", err=True)
    names = [t.name for t in done.tables]
    _print(
        {
            "database": str(database),
            "device_id": done.device_id,
            "server": url,
            "user_id": done.user_id,
            "tables": [{"name": t.name, "key": t.table.key_kind} for t in done.tables],
            "skipped": {name: error.to_wire() for name, error in done.skipped.items()},
            "dirty_rows": done.rows,
            "is_new": done.is_new,
        },
        as_json,
        f"{database} is set up: {_count(len(names), 'table')}, {_count(done.rows, 'row')} to push",
    )


@main.command()
@_sync_options
def sync(**options: Any) -> None:
    """Push the dirty rows of DATABASE, then pull what other devices committed.

    \b
    Example:
        syncsession-client sync notes.db
    """
    _sync(lambda engine: engine.synchronize(), **options)


@main.command()
@_sync_options
def push(**options: Any) -> None:
    """Push the dirty rows of DATABASE.

    \b
    Example:
        syncsession-client push notes.db
    """
    _sync(lambda engine: engine.push(), **options)


@main.command()
@_sync_options
def pull(**options: Any) -> None:
    """Pull into DATABASE what other devices committed.

    \b
    Example:
        syncsession-client pull notes.db
    """
    _sync(lambda engine: engine.pull(), **options)


@main.command()
@_DATABASE
@_SERVER
@_TOKEN_FILE
@_JSON
def clone(database: Path, server: str | None, token_file: Path | None, as_json: bool) -> None:
    """Make DATABASE, a new file, a device with everything that the tenant has.

    \b
    Example:
        syncsession-client clone laptop.db --server http://127.0.0.1:8484
    """
    from .engine import clone_database

    with _progress() as report:
        synced = clone_database(
            database, server=_required_server(server), token=_token(token_file), report=report
        )
    _print(
        _synced(database, synced),
        as_json,
        f"{database} is made: {_count(synced.pulled.rows, 'row')} pulled",
    )


@main.command()
@_DATABASE
@_JSON
def status(database: Path, as_json: bool) -> None:
    """Tell where DATABASE stands: its server, its tables, what waits to be pushed.

    \b
    Example:
        syncsession-client status notes.db
    """
    from .status import read_status

    found = read_status(database)
    lines = [
        f"database  {database}",
        f"device    {found['device_id']}",
        f"server    {found['server']}",
        f"tenant    {found['tenant_id'] or 'none before the first sync'}",
        f"user      {found['user_id'] or 'none'}",
        *(
            f"table     {t['name']}: {t['key']} keys, {t['dirty_rows']} dirty rows, "
            + (f"{t['rejected_rows']} of them held back, " if t["rejected_rows"] else "")
            + f"sessions processed up to {t['processed_watermark']}"
            for t in found["tables"]
        ),
        *(
            f"new       {name}: not synced; init {database} --table {name} takes it in, --exclude "
            f"{name} leaves it out"
            for name in found["new_tables"]
        ),
        *(
            [
                f"lost      {_count(found['conflicts'], 'edit')} gave way to others: "
                f"syncsession-client conflicts {database}"
            ]
            if found["conflicts"]
            else []
        ),
        *(
            [
                f"refused   {_count(found['rejected_rows'], 'row')} cannot go to the server: "
                f"syncsession-client rejects {database}"
            ]
            if found["rejected_rows"]
            else []
        ),
        *(f"warning   {text}" for text in found["warnings"]),
    ]
    _print(found, as_json, "\n".join(lines))


@main.command()
@_DATABASE
@click.argument("action", type=click.Choice(["list", "restore"]), default="list")
@click.argument("numbers", metavar="[ID]...", type=int, nargs=-1)
@_JSON
def conflicts(database: Path, action: str, numbers: tuple[int, ...], as_json: bool) -> None:
    """List the edits made in DATABASE that lost against others, or write some back.

    An edit that is restored is a new edit: the next sync pushes it.

    \b
    Examples:
        syncsession-client conflicts notes.db
        syncsession-client conflicts notes.db restore 7
    """
    from .conflicts import list_conflicts, restore
    from .conflicts_text import listed

    if action == "restore":
        if not numbers:
            raise click.UsageError("restore needs the ID of what the list shows")
        restored = restore(database, numbers)
        text = f"{_count(len(restored), 'edit')} written back: the next sync pushes what changed"
        _print({"conflicts": restored}, as_json, text)
        return
    if numbers:
        raise click.UsageError("an ID is for restore")
    found = list_conflicts(database)
    _print({"conflicts": found}, as_json, listed(found))


@main.command()
@_DATABASE
@_JSON
def rejects(database: Path, as_json: bool) -> None:
    """List the rows of DATABASE that the server does not take, with what depends on them, and why.

    They stay here, and are tried again when they change, or by `retry`; all others are synced.

    \b
    Example:
        syncsession-client rejects notes.db
    """
    from .rejects import list_rejects
    from .rejects_text import listed

    found = list_rejects(database)
    _print({"rejects": found}, as_json, listed(found))


@main.command()
@_DATABASE
@click.argument("numbers", metavar="[ID]...", type=int, nargs=-1)
@_JSON
def retry(database: Path, numbers: tuple[int, ...], as_json: bool) -> None:
    """Let the next sync try again what `rejects` lists of DATABASE: all of it, or some by ID.

    \b
    Examples:
        syncsession-client retry notes.db
        syncsession-client retry notes.db 7
    """
    from .rejects import retry as try_again

    tried = try_again(database, numbers)
    text = f"{_count(len(tried), 'row')} will be tried again by the next sync"
    _print({"rejects": tried}, as_json, text)


@main.command()
@_DATABASE
@click.argument("name", required=False)
@_JSON
def user(database: Path, name: str | None, as_json: bool) -> None:
    """Show whose edits DATABASE's are, or set it to NAME from now on.

    \b
    Example:
        syncsession-client user notes.db alice
    """
    from .status import set_user

    current = set_user(database, name)
    _print({"database": str(database), "user_id": current}, as_json, current or "")


@main.command()
@_DATABASE
@click.option("--dry-run", is_flag=True, help="Tell what would be removed, and change nothing.")
@_JSON
def uninstall(database: Path, dry_run: bool, as_json: bool) -> None:
    """Take sync out of DATABASE; the application's own data and schema stay as they are.

    \b
    Example:
        syncsession-client uninstall notes.db
    """
    from . import setup
    from .status import read_status

    if dry_run:
        tables = [t["name"] for t in read_status(database)["tables"]]
        text = f"sync would be taken out of {database}: {', '.join(tables)}"
    else:
        tables = setup.uninstall(database)
        text = f"sync is taken out of {database}"
    _print({"database": str(database), "tables": tables, "dry_run": dry_run}, as_json, text)


@main.command()
@_DATABASE
@_SERVER
@_TOKEN_FILE
@click.option(
    "--interval",
    type=click.FloatRange(1, 86_400),
    metavar="SECONDS",
    default=30.0,
    envvar="SYNCSESSION_INTERVAL",
    show_default=True,
    show_envvar=True,
    help="How often to look for what other devices committed.",
)
@click.option(
    "--delay",
    type=click.FloatRange(0, 3600),
    metavar="SECONDS",
    default=0.5,
    envvar="SYNCSESSION_DELAY",
    show_default=True,
    show_envvar=True,
    help="How long to wait after a program has written; 20 times that where it does not pause.",
)
@_BATCH_ROWS
@_PUSH_STATUS_TIMEOUT
@click.option("--json", "as_json", is_flag=True, help="Print each event as one JSON object.")
def watch(
    database: Path,
    token_file: Path | None,
    interval: float,
    delay: float,
    as_json: bool,
    **rest: Any,
) -> None:
    """Keep DATABASE in step: sync when a program has written to it, and every so often.

    It runs in the foreground until SIGTERM or SIGINT, which end it within one batch, with exit code
    0; a second one ends it at once, and the next sync goes on from there. While there is no network
    it tries again after growing pauses, of a minute at most. What passes by itself, or may be
    mended by a change of rows, is told, and it goes on; what needs somebody ends it.

    \b
    Example:
        syncsession-client watch notes.db
    """
    from . import watch as watching

    def tell(event: watching.Event) -> None:
        if as_json:
            click.echo(json.dumps(event.as_json()))
        else:
            for line in event.lines():
                click.echo(f"{database}: {line}", err=event.is_trouble)

    with _stopping() as cancellation, suppress(Cancelled):
        watching.Watch(
            database,
            token=_token(token_file),
            interval=interval,
            delay=delay,
            tell=tell,
            cancellation=cancellation,
            **rest,
        ).run()


def _sync(
    act: "Callable[[SyncEngine], Synced]",
    *,
    database: Path,
    server: str | None,
    token_file: Path | None,
    batch_rows: int,
    push_status_timeout: float,
    allow_mass_delete: bool,
    as_json: bool,
) -> None:
    from .engine import SyncEngine

    with (
        _progress() as report,
        SyncEngine(
            database,
            token=_token(token_file),
            server=server,
            batch_rows=batch_rows,
            push_status_timeout=push_status_timeout,
            allow_mass_delete=allow_mass_delete,
            report=report,
        ) as engine,
    ):
        synced = act(engine)
    for warning in synced.warnings:
        click.echo(f"Warning: {warning}", err=True)
    pushed, pulled = _count(synced.pushed.rows, "row"), _count(synced.pulled.rows, "row")
    _print(_synced(database, synced), as_json, f"{database}: {pushed} pushed, {pulled} pulled")


def _synced(database: Path, synced: "Synced") -> dict[str, Any]:
    return {
        "database": str(database),
        "pushed_rows": synced.pushed.rows,
        "pushed_session": synced.pushed.session,
        "rejected_rows": synced.pushed.rejected_rows,
        "pulled_rows": synced.pulled.rows,
        "kept_rows": synced.pulled.kept_rows,
        "refused_rows": synced.pulled.refused_rows,
        "warnings": list(synced.warnings),
    }


@contextmanager
def _stopping() -> Iterator[Cancellation]:
    """A token that the first SIGTERM or SIGINT sets; a second one ends the process at once."""
    cancellation = Cancellation()

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        # In a thread: this one may be inside the token at this moment, and hold its lock.
        threading.Thread(target=cancellation.cancel).start()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield cancellation
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress() -> Iterator[Report]:
    """A bar on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield silent
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("connecting", total=None)

        def report(progress: Progress) -> None:
            bar.update(
                task,
                description=f"{progress.phase.replace('_', ' ')} {progress.table or ''}".strip(),
                completed=progress.done_rows,
                total=progress.total_rows or None,
            )

        yield report


def _print(result: dict[str, Any], as_json: bool, text: str) -> None:
    click.echo(json.dumps(result) if as_json else text, color=_color())


def _color() -> bool | None:
    """Colours only on a terminal, and not where they are unwanted: https://no-color.org."""
    return False if os.environ.get("NO_COLOR") else None


def _width() -> int:
    """Where lines are to be wrapped: on a terminal only."""
    if not sys.stdout.isatty():
        return 0
    return min(max(shutil.get_terminal_size().columns, _NARROW), _WIDE)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _required_server(server: str | None) -> str:
    if not server:
        raise InvalidSetting("no server: name it with --server URL or in SYNCSESSION_SERVER")
    return server


def _token(token_file: Path | None) -> str:
    """The token: the file's beats the environment's."""
    token = token_file.read_text() if token_file else os.environ.get("SYNCSESSION_TOKEN", "")
    if not token.strip():
        raise InvalidSetting(
            "no token: put one in SYNCSESSION_TOKEN, or in a file named by --token-file"
        )
    return token.strip()


def _key_kinds(keys: tuple[str, ...]) -> "dict[str, KeyKind]":
    kinds: dict[str, KeyKind] = {}
    for text in keys:
        name, _, kind = text.rpartition("=")
        if not name or kind not in ("global", "local"):
            raise click.BadParameter(f"{text!r} is not TABLE=global or TABLE=local")
        kinds[name] = "global" if kind == "global" else "local"
    return kinds


def _references(references: tuple[str, ...]) -> tuple[tuple[str, str, str], ...]:
    parsed = []
    for text in references:
        child, _, parent = text.rpartition("=")
        table, _, column = child.rpartition(".")
        if not (table and column and parent):
            raise click.BadParameter(f"{text!r} is not CHILD.COLUMN=PARENT")
        parsed.append((table, column, parent))
    return tuple(parsed)
