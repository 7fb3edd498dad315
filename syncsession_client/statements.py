"""SQL by name, out of the files in sql/.

A file is blocks that begin with `-- name: …`, one statement each. In a `*.sql.j2` file a block is a
Jinja2 template for statements that must name application tables and columns; what stands before the
first block (macros) belongs to every block. Values never enter a template, and identifiers only
through the filter `q`.

Parameters are `:name`, or `?` by position. A driver that wants `%(name)s` and `%s` gets them where
a file is loaded with `pyformat=True`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)
_PARAMETER = re.compile(
    r"""(?P<quoted>"(?:[^"]|"")*"|'(?:[^']|'')*')|:(?P<name>[a-z]\w*)|(?P<position>\?)|%"""
)


def quote(identifier: str) -> str:
    """`identifier` as SQL, whatever it holds. https://sqlite.org/lang_keywords.html

    Raises:
        ValueError: it holds NUL, which no SQL text can.
    """
    if "\0" in identifier:
        raise ValueError("an identifier cannot hold NUL")
    return '"' + identifier.replace('"', '""') + '"'


class Statements:
    """The statements of one file as attributes: SQL text, or of a `.j2` file a render function."""

    def __init__(self, path: str, *, pyformat: bool = False) -> None:
        self._path = path
        self._style = to_pyformat if pyformat else str
        self._preamble, self._bodies = _split(path)
        self._environment = _environment() if path.endswith(".j2") else None

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return Path(self._path).name.partition(".")[0]

    def __getattr__(self, name: str) -> Any:
        """The statement, made on first use: most commands need few of the templates."""
        if name.startswith("_") or name not in self._bodies:
            raise AttributeError(f"{self._path} has no statement {name!r}")
        made = self._make(self._bodies[name])
        setattr(self, name, made)
        return made

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of the file."""
        return iter(self._bodies)

    def __dir__(self) -> list[str]:
        return sorted(self._bodies)

    def _make(self, body: str) -> Any:
        statement = _statement(body)
        if self._environment is None:
            return self._style(statement)
        template = self._environment.from_string(self._preamble + statement)

        def render(**names: Any) -> str:
            return self._style(template.render(**names).strip())

        return render


def load(path: str, *, pyformat: bool = False) -> Statements:
    """The statements of `sql/<path>`, from the installed package or the checkout."""
    return Statements(path, pyformat=pyformat)


def root() -> Path:
    """The directory of the SQL files: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "sql"
    return inside if inside.is_dir() else package.parent / "sql"


def _split(path: str) -> tuple[str, dict[str, str]]:
    """(the macros of a file, its blocks by name)."""
    text = (root() / path).read_text(encoding="utf-8")
    preamble, *parts = _NAME.split(text)
    macros = "".join(re.findall(r"{% macro.*?{% endmacro %}", preamble, re.DOTALL))
    return macros, dict(zip(parts[::2], parts[1::2], strict=True))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(  # noqa: S701  # SQL, not HTML: identifiers go through `q`
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["q"] = quote
    return environment


def _statement(body: str) -> str:
    """One statement without its comment lines and its final semicolon."""
    lines = [line for line in body.splitlines() if not line.startswith("--") and line.strip()]
    return "\n".join(lines).rstrip().removesuffix(";")


def to_pyformat(sql: str) -> str:
    """The statement with parameters as `%(name)s` and `%s`; what is quoted stays what it is."""

    def convert(match: re.Match[str]) -> str:
        if match["name"]:
            return f"%({match['name']})s"
        return "%s" if match["position"] else match[0].replace("%", "%%")

    return _PARAMETER.sub(convert, sql)
