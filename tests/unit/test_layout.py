"""Where things stand: who imports whom, where SQL is, and that every statement is used."""

import ast
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENT, SERVER, PROTOCOL = (
    "syncsession_client",
    "syncsession_server",
    "syncsession_client.protocol",
)
SHARED = (PROTOCOL, "syncsession_client.statements")

TOP = {
    *(".ci", ".gitignore", "LICENSE", "Makefile", "README.md", "pyproject.toml"),
    *("benchmarks", "docs", "sql", "syncsession_client", "syncsession_server", "tests"),
}

DRIVERS = ("sqlite3", "sqlite_utils")
"""Their library is another one than the driver's: in one process, closing a file with the second
drops the locks of the first (https://sqlite.org/howtocorrupt.html, 2.2.1)."""

LITERAL_SQL = re.compile(
    r"\s*(?:(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|PRAGMA|REPLACE|WITH|ATTACH|DETACH"
    r"|SAVEPOINT|RELEASE)\s|(?:BEGIN|COMMIT|ROLLBACK|VACUUM|ANALYZE|REINDEX)\b)"
)
"""How a statement begins. A word alone may be something else: DELETE is an HTTP method."""

DIALECTS = sorted(path.name for path in (ROOT / "sql" / "server").iterdir())

NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def python_files(package: str) -> list[Path]:
    return sorted(ROOT.joinpath(*package.split(".")).rglob("*.py"))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def imports(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Every imported name with its module, absolute, wherever in the file it is imported."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*above, *filter(None, [node.module])))
            yield from ((node, f"{module}.{alias.name}") for alias in node.names)


def is_within(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def docstrings(tree: ast.Module) -> set[int]:
    """The ids of strings that stand alone as a statement: they document what is around them."""
    return {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}


def strings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Every string in the code, parts of f-strings too; no docstrings."""
    documentation = docstrings(tree)
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        if is_text and id(node) not in documentation:
            yield node


def is_sql(node: ast.Constant) -> bool:
    """Whether the string begins as a statement does."""
    text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
    return LITERAL_SQL.match(text) is not None


# Imports


def test_the_server_imports_of_the_client_only_protocol_and_statements():
    wrong = [
        f"{place(path, node)}: {name}"
        for path in python_files(SERVER)
        for node, name in imports(path)
        if is_within(name, (CLIENT,)) and not is_within(name, SHARED)
    ]
    assert wrong == []


def test_the_client_imports_nothing_of_the_server():
    wrong = [
        f"{place(path, node)}: {name}"
        for path in python_files(CLIENT)
        for node, name in imports(path)
        if is_within(name, (SERVER,))
    ]
    assert wrong == []


def test_what_both_sides_share_imports_nothing_of_either():
    shared = [*python_files(PROTOCOL), ROOT / CLIENT / "statements.py"]
    wrong = [
        f"{place(path, node)}: {name}"
        for path in shared
        for node, name in imports(path)
        if is_within(name, (CLIENT, SERVER)) and not is_within(name, SHARED)
    ]
    assert wrong == []


def test_protocol_imports_the_standard_library_and_three_libraries():
    wrong = []
    for path in python_files(PROTOCOL):
        allowed = {"msgspec", "xxhash", "zstandard", CLIENT, *sys.stdlib_module_names}
        if path.name == "commands.py":
            allowed.add("click")
        wrong += [
            f"{place(path, node)}: {name}"
            for node, name in imports(path)
            if name.split(".")[0] not in allowed
        ]
    assert wrong == []


def test_only_schema_imports_a_second_sqlite_library():
    wrong = [
        f"{place(path, node)}: {name}"
        for package in (CLIENT, SERVER)
        for path in python_files(package)
        for node, name in imports(path)
        if is_within(name, DRIVERS) and path != ROOT / CLIENT / "schema.py"
    ]
    assert wrong == []


def test_schema_opens_no_file_with_the_second_sqlite_library():
    path = ROOT / CLIENT / "schema.py"
    names = {name for _, name in imports(path) if is_within(name, DRIVERS)}
    assert names == {"sqlite3", "sqlite_utils", "sqlite_utils.db.Table"}
    calls = [n for n in ast.walk(parse(path)) if isinstance(n, ast.Call)]
    opened = [
        ast.unparse(n) for n in calls if ast.unparse(n.func).endswith(("connect", "Connection"))
    ]
    assert opened == ["sqlite3.connect(':memory:')"]
    wrapped = [n.args[0] for n in calls if ast.unparse(n.func) == "sqlite_utils.Database"]
    assert [ast.unparse(n) for n in wrapped] == ["connection"]


# SQL


@pytest.mark.parametrize("package", [CLIENT, SERVER])
def test_python_holds_no_sql(package):
    wrong = []
    for path in python_files(package):
        wrong += [
            f"{place(path, node)}: {node.value[:60]!r}"
            for node in strings(parse(path))
            if is_sql(node)
        ]
    assert wrong == []


@pytest.mark.parametrize(
    ("code", "holds_sql"),
    [
        ("x = 'SELECT 1'", True),
        ("x = f'DELETE FROM {name}'", True),
        ("run('''\\n    UPDATE t SET a = 1''')", True),
        ("run(b'PRAGMA user_version')", True),
        ("run('BEGIN')", True),
        ("request('DELETE', url)", False),
        ("x = 'Select one'", False),
        ("def f():\n    'SELECT is what this does.'", False),
    ],
)
def test_sql_in_python_is_told_from_other_text(code, holds_sql):
    assert any(is_sql(node) for node in strings(ast.parse(code))) == holds_sql


class Uses(ast.NodeVisitor):
    """Which statements one file uses, given by which names or attributes it knows SQL files.

    Understood are `FILE.name`, `store.sql.file.name`, either through a variable that was set to the
    file in this module, `for … in file`, and `getattr(file, …)`: with a string, with an f-string
    whose gap is filled by a string of this module, or with a variable, when the module has the name
    as a string.
    """

    def __init__(self, tree: ast.Module, files: dict[str, str]) -> None:
        self.files = files
        self.found: set[tuple[str, str]] = set()
        self._texts = {n.value for n in strings(tree) if isinstance(n.value, str)}
        self._aliases: dict[str, set[str]] = {}
        while self._learn(tree):
            pass
        self.visit(tree)

    def uses(self, path: str, names: set[str]) -> set[str]:
        """Those of the file's `names` that are used."""
        patterns = [re.compile(pattern) for file, pattern in self.found if file == path]
        return {n for n in names if any(self._fits(p.fullmatch(n)) for p in patterns)}

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._add(node.value, re.escape(node.attr))
        self.generic_visit(node)

    def visit_For(self, node: ast.For | ast.comprehension) -> None:
        self._add(node.iter, ".*")
        self.generic_visit(node)

    visit_AsyncFor = visit_comprehension = visit_For

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id == "getattr":
            self._add(node.args[0], self._pattern(node.args[1]))
        self.generic_visit(node)

    def _add(self, node: ast.AST, pattern: str) -> None:
        self.found |= {(path, pattern) for path in self._paths(node)}

    def _paths(self, node: ast.AST) -> set[str]:
        """The SQL files that an expression may stand for."""
        text = ast.unparse(node)
        direct = {path for name, path in self.files.items() if re.search(rf"(^|\.){name}$", text)}
        return direct | self._aliases.get(text, set())

    def _learn(self, tree: ast.Module) -> bool:
        """Whether there is a variable that was not known to stand for a file."""
        before = sum(map(len, self._aliases.values()))
        for target, value in assigned(tree):
            if paths := self._paths(value):
                self._aliases.setdefault(ast.unparse(target), set()).update(paths)
        return sum(map(len, self._aliases.values())) > before

    def _pattern(self, node: ast.AST) -> str:
        if isinstance(node, ast.Constant):
            return re.escape(str(node.value))
        if isinstance(node, ast.JoinedStr):
            parts = [
                re.escape(v.value) if isinstance(v, ast.Constant) else r"(\w+)" for v in node.values
            ]
            return "".join(parts)
        return r"(\w+)"

    def _fits(self, match: re.Match[str] | None) -> bool:
        return match is not None and self._texts.issuperset(match.groups())


def assigned(tree: ast.Module) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Every (target, value), those of `a, b = c, d` too."""
    for node in ast.walk(tree):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                yield from zip(target.elts, node.value.elts, strict=True)
            else:
                yield target, node.value


def sql_files(side: str) -> dict[str, set[str]]:
    """The names of the statements of each file, by its path inside sql/."""
    return {
        path.relative_to(ROOT / "sql").as_posix(): set(NAME.findall(path.read_text("utf-8")))
        for path in sorted((ROOT / "sql" / side).rglob("*.sql*"))
    }


def loaded(package: str, function: str) -> dict[str, str]:
    """{name it is assigned to: path} of every `name = function("path")` in the package."""
    return {
        ast.unparse(node.targets[0]).removeprefix("self."): node.value.args[0].value
        for path in python_files(package)
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) == function
        and isinstance(node.value.args[0], ast.Constant)
    }


def unused(paths: list[Path], files: dict[str, str], statements: dict[str, set[str]]) -> list[str]:
    left = {path: set(names) for path, names in statements.items()}
    for path in paths:
        uses = Uses(parse(path), files)
        for file, names in left.items():
            names -= uses.uses(file, names)
    return sorted(f"{file}: {name}" for file, names in left.items() for name in names)


def test_the_client_uses_every_statement_of_its_sql_files():
    files = loaded(CLIENT, "load")
    statements = sql_files("client")
    assert set(files.values()) == set(statements)
    assert unused(python_files(CLIENT), files, statements) == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_server_uses_every_statement_of_its_sql_files_in_each_dialect(dialect):
    """Migrations are run whole, and schema.sql is for who reads it."""
    within = f"server/{dialect}"
    files = {rf"sql\.{name}": f"{within}/{file}" for name, file in loaded(SERVER, "part").items()}
    statements = {
        path: names
        for path, names in sql_files(within).items()
        if "/migrations/" not in path and not path.endswith("/schema.sql")
    }
    assert set(files.values()) == set(statements)
    assert unused(of_dialect(dialect), files, statements) == []


def of_dialect(dialect: str) -> list[Path]:
    """The server's files, without those of a store for another database."""
    stores, others = ROOT / SERVER / "stores", tuple(d for d in DIALECTS if d != dialect)
    return [
        path
        for path in python_files(SERVER)
        if path.parent != stores or not path.name.startswith(others)
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_server_runs_every_migration_of_a_dialect_in_order(dialect):
    (listed,) = (
        ast.literal_eval(value)
        for target, value in assigned(parse(ROOT / SERVER / "stores" / "__init__.py"))
        if ast.unparse(target) == "_MIGRATIONS"
    )
    there = (ROOT / "sql" / "server" / dialect / "migrations").iterdir()
    assert list(listed) == sorted(path.stem for path in there)


@pytest.mark.parametrize(
    ("code", "used"),
    [
        ("run(FILE.first)", {"first"}),
        ("run(OTHER.first)", set()),
        ("run(store.FILE.first(t=t))", {"first"}),
        ("sql = FILE\nrun(sql.first)", {"first"}),
        (
            "class A:\n    def f(self):\n        self._sql = FILE\n        self._sql.second",
            {"second"},
        ),
        ("sql = FILE.first\nrun(sql)", {"first"}),
        ("x, self.sql = 1, FILE\nrun(self.sql.first, x.second)", {"first"}),
        ("for name in FILE: run(name)", {"first", "second", "in_between"}),
        ("getattr(FILE, 'first')", {"first"}),
        ("getattr(FILE, f'in_{x}')", set()),
        ("for x in ('between',): getattr(FILE, f'in_{x}')", {"in_between"}),
        ("def render(name): return getattr(FILE, name)\nrender('first')", {"first"}),
        ("getattr(OTHER, name), 'first'", set()),
        ("FILE\n'first'", set()),
    ],
)
def test_a_use_of_a_statement_is_seen(code, used):
    uses = Uses(ast.parse(code), {"FILE": "file.sql"})
    assert uses.uses("file.sql", {"first", "second", "in_between"}) == used


# Files


def test_the_top_level_holds_what_the_layout_says():
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
    found = {
        path.name
        for path in ROOT.iterdir()
        if path.name != ".git" and not any(fnmatch(path.name, pattern) for pattern in ignored)
    }
    assert found == TOP
