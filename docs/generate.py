"""Write the parts of docs/reference/ that the code knows best; with --check, only compare them.

The command lines, the settings, the errors and the list of routes come from the code itself, so
that they cannot differ from it. Everything else in docs/ is written by hand.
"""

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from aiohttp import web

from syncsession_client import cli as client_cli
from syncsession_client.protocol.errors import SyncError
from syncsession_server import cli as server_cli
from syncsession_server.app import ROUTES
from syncsession_server.settings import described

REFERENCE = Path(__file__).parent / "reference"

PROGRAMS = {"syncsession-client": client_cli.main, "syncsession-server": server_cli.main}

_GENERATED = "<!-- Written by docs/generate.py: change the code, then run it again. -->"
_ROUTES_BEGIN = "<!-- routes: written by docs/generate.py -->"
_ROUTES_END = "<!-- end of routes -->"

_TYPES = {"float": "number"}

_DATABASE_QUERY = (
    ("`unix_socket`", "The socket to connect to, in place of host and port."),
    (
        "`tls`",
        "`off`; `required`: encrypted, whoever answers; `verify-full`: encrypted, and the "
        "certificate is checked, with the host's name in it. Without it: `verify-full` where there "
        "is a `tls_ca`, else `off`.",
    ),
    ("`tls_ca`", "File with the authorities to trust; else those of the system."),
    ("`tls_cert`, `tls_key`", "Files with the server's own certificate and key, both or none."),
)


def pages() -> dict[Path, str]:
    """What every generated file should hold, by path."""
    return {
        REFERENCE / "cli.md": _cli_page(),
        REFERENCE / "settings.md": _settings_page(),
        REFERENCE / "errors.md": _errors_page(),
        REFERENCE / "http.md": _with_routes((REFERENCE / "http.md").read_text(encoding="utf-8")),
    }


def outdated() -> list[Path]:
    """The generated files that do not hold what they should."""
    return [
        path
        for path, text in pages().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command of both programs under its full name, groups left out."""
    for program, group in PROGRAMS.items():
        yield from _commands(program, group)


def main() -> int:
    """Write, or with --check compare; 1 where a file differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if a file differs")
    check = parser.parse_args().check
    differing = outdated()
    for path in differing:
        sys.stderr.write(f"{path} {'is out of date' if check else 'is written'}\n")
        if not check:
            path.write_text(pages()[path], encoding="utf-8")
    return int(check and bool(differing))


def _commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for child in command.commands.values():
            yield from _commands(f"{name} {child.name}", child)
    else:
        yield name, command


def _cli_page() -> str:
    parts = [
        _GENERATED,
        "# Commands",
        "Results are printed on stdout; errors, warnings and progress on stderr. A progress bar is "
        "shown only where stderr is a terminal. With `--json` a command prints one JSON object: "
        "[json.md](json.md) lists every key.",
        "| exit code | meaning |\n| --- | --- |\n"
        "| 0 | done |\n"
        "| 1 | failed; the same command will fail again |\n"
        "| 2 | wrong usage: a flag, an argument or a setting is missing or of no use |\n"
        "| 75 | failed for now; the same command may succeed later |",
        "The exit code of `syncsession-client check` is its verdict: 0 green, 1 amber, 2 red. "
        "Where it fails or is used wrongly, and so has none, it ends with 3 (or 75).",
        "An error is one line, `Error: what is wrong, and the way out [code]`. The codes are in "
        "[errors.md](errors.md). Every command has `--help`, every program `--version`.",
    ]
    for name, command in commands():
        parts += [f"## {name}", *_command(name, command)]
    return _page(*parts)


def _command(name: str, command: click.Command) -> Iterator[str]:
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option)]
    text, _, example = inspect.cleandoc(command.help or "").partition("\b")
    yield text.strip()
    usage = [name, *(_argument(a) for a in arguments), "[OPTIONS]"]
    yield f"    {' '.join(usage)}"
    if options:
        yield _table(("option", "environment", "default", "meaning"), map(_option, options))
    if example.strip():
        lines = example.strip().removeprefix("Example:").strip().splitlines()
        yield "Example:"
        yield "\n".join(f"    {line.strip()}" for line in lines)


def _argument(argument: click.Argument) -> str:
    name = str(argument.name).upper()
    return name if argument.required else f"[{name}]"


def _option(option: click.Option) -> tuple[str, ...]:
    info = option.to_info_dict()
    value = "" if info["is_flag"] else f" {option.metavar or _value(info['type'])}"
    text = (option.help or "").strip()
    if info["multiple"]:
        text += "" if "several times" in text else " May be given several times."
    if option.required:
        text += " Required."
    return (
        f"`{', '.join(option.opts)}{value}`",
        f"`{option.envvar}`" if option.envvar else "",
        _default(info["default"]) if not info["is_flag"] else "",
        text,
    )


def _value(kind: dict[str, Any]) -> str:
    """What an option's value looks like."""
    if "choices" in kind:
        return "|".join(kind["choices"])
    if kind.get("min") is not None and kind.get("max") is not None:
        return f"{kind['min']}..{kind['max']}"
    return _TYPES.get(str(kind["name"]), str(kind["name"])).upper()


def _default(value: Any) -> str:
    if value is None or value == () or value == []:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(f"`{v}`" for v in value)
    return f"`{value}`"


def _settings_page() -> str:
    server = (
        (f"`{s.flag}`", f"`{s.variable}`", f"`{s.default}`", s.allowed, s.help) for s in described()
    )
    return _page(
        _GENERATED,
        "# Settings",
        "A flag beats the environment, the environment a settings file (`--config`), and that "
        "the default. Settings are read once, when a program starts. Where some are of no use, a "
        "command tells all of them in one message, and ends with exit code 2.",
        "## The server",
        "Flags of `syncsession-server run`. `migrate` and `token create` take `--database` too.",
        _table(("flag", "environment", "default", "allowed", "meaning"), server),
        "## The settings file",
        "TOML: the settings by the names of their flags, with `_` for `-`; under `[policies]` the "
        "[policies](../how-to/conflicts.md) of tables, which are set whenever the server starts.",
        '    port = 8484\n\n    [policies]\n    customers = "merge"',
        "## The database URL",
        "`sqlite:///path` names a file: three slashes before a relative path, four before an "
        "absolute one. One process serves it.",
        "`mysql://user:password@host:3306/name`, or `mariadb://` with the same meaning, names a"
        " database. The port may be left out. Inside a part, `@ : / ? # %` are percent-encoded."
        " Put the URL into the environment rather than the flag, so that the password does not "
        "stand in the list of processes; no log and no message shows it. After a `?`, joined "
        "with `&`:",
        _table(("parameter", "meaning"), _DATABASE_QUERY),
        "## The client",
        "The token has no flag, so that it does not stand in the list of processes: it is in "
        "`SYNCSESSION_TOKEN`, or in a file that `--token-file` names. The file beats the "
        "environment. The server's URL is remembered in the database by `init` and `clone`; "
        "`--server` and `SYNCSESSION_SERVER` beat what is remembered, for that call.",
        _table(("flag", "environment", "default", "meaning"), _client_settings()),
    )


def _client_settings() -> Iterator[tuple[str, ...]]:
    yield "", "`SYNCSESSION_TOKEN`", "", "The token."
    seen = set()
    for _, command in _commands("syncsession-client", client_cli.main):
        for option in command.params:
            if isinstance(option, click.Option) and option.envvar and option.envvar not in seen:
                seen.add(option.envvar)
                flag, environment, default, text = _option(option)
                yield f"`{flag.strip('`').split()[0]}`", environment, default, text


def _errors_page() -> str:
    rows = (
        (
            f"`{error.code}`",
            f"`{error.__name__}`",
            f"`{error.mro()[1].__name__}`" if error is not SyncError else "",
            str(error.status),
            "yes" if error.retryable else "no",
            " ".join((error.__doc__ or "").split()),
        )
        for error in _tree(SyncError)
    )
    return _page(
        _GENERATED,
        "# Errors",
        "One tree of classes, in `syncsession_client.protocol.errors`. What the server raises "
        "is what the client raises: the code crosses the wire. `except TryLater` catches "
        "everything that is a kind of it: all that may pass by itself.",
        "Every failed answer of the server has this body, with the HTTP status of the table:",
        '    {"error": {"code": "unknown_session", "message": "…", "retryable": false}}',
        "A command prints the message with the code in brackets, and ends with exit code 75 "
        "where the error is retryable, 2 where it is `invalid_setting`, else 1. What to do about "
        "the common ones: [how-to/errors.md](../how-to/errors.md).",
        _table(("code", "class", "a kind of", "HTTP", "retryable", "meaning"), rows),
    )


def _tree(error: type[SyncError]) -> Iterator[type[SyncError]]:
    yield error
    for kind in error.__subclasses__():
        if kind.__module__ == SyncError.__module__:
            yield from _tree(kind)


def _with_routes(page: str) -> str:
    """The page with the list of routes between its two marks."""
    before, _, rest = page.partition(_ROUTES_BEGIN)
    _, _, after = rest.partition(_ROUTES_END)
    return f"{before}{_ROUTES_BEGIN}\n\n{_routes()}\n\n{_ROUTES_END}{after}"


def _routes() -> str:
    rows = (
        (f"`{r.method}`", f"`{r.path}`", (r.handler.__doc__ or "").strip().splitlines()[0])
        for r in ROUTES
        if isinstance(r, web.RouteDef)
    )
    return _table(("method", "path", "answer"), rows)


def _page(*parts: str) -> str:
    return "\n\n".join(parts) + "\n"


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in r)} |" for r in lines)


if __name__ == "__main__":
    sys.exit(main())
