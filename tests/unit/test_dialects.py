"""The server's SQL: a statement compiles in the database it is for, and the dialects are equal."""

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pymysql
import pytest
from mariadb import Mariadb
from mysql_client import connect, run

from syncsession_client.protocol.tables import Column, Table
from syncsession_client.statements import Statements, load, quote, root
from syncsession_server.stores import Dialect
from syncsession_server.stores.mysql_layout import MysqlColumn, MysqlIndex, MysqlLayout
from syncsession_server.stores.sqlite_layout import SqliteColumn, SqliteLayout

DIALECTS = ("sqlite", "mysql")

TWINS = (
    "tenants.sql",
    "tables.sql",
    "sessions.sql",
    "pulls.sql",
    "conflicts.sql",
    "cleanup.sql",
    "history.sql",
    "unique.sql",
    "rows.sql.j2",
    "references.sql.j2",
)
"""What the rules and jobs run, whichever the database: so one calls for what the other has."""

OWN = {
    "connection.sql": "what a connection is set to, and how the version is kept",
    "build.sql.j2": "how a table is made: the types, and what identifies a row",
    "staged.sql.j2": "how rows come in: through a table of the connection's own, or a shared one",
    "schema.sql": "what the migrations come to, in words of the dialect",
}
"""What only the store of the dialect runs, or nobody, with what differs."""

MIGRATIONS = (
    "0001_bookkeeping.sql",
    "0002_shared_database.sql",
    "0003_copied_devices.sql",
    "0004_conflicts.sql",
    "0005_history.sql",
    "0006_references.sql",
)

TEMPLATES = ("build.sql.j2", "staged.sql.j2", "rows.sql.j2", "references.sql.j2")

ALREADY = (1050, 1060, 1061)
"""MariaDB's errors for a table, a column and an index that is there."""

PARAMETER = re.compile(r""""(?:[^"]|"")*"|'(?:[^']|'')*'|:([a-z]\w*)|(\?)""")

HOSTILE = """ "'`%s%%(a)s:name?\\{{ x }}{% y %}; -- /*"""


def columns(*kinds: str, prefix: str = "c_") -> tuple[Column, ...]:
    return tuple(Column(f"{prefix}{kind}", kind) for kind in kinds)  # type: ignore[arg-type]


EVERY = ("integer", "real", "text", "blob", "numeric")
TABLES = {
    "global": Table("track", "global", ("id",), (Column("id", "text"), *columns(*EVERY))),
    "local": Table("item", "local", ("id",), (Column("id", "integer"), *columns(*EVERY))),
    "only a key": Table("tag", "global", ("id",), (Column("id", "blob"),)),
    "composite": Table(
        "price",
        "global",
        ("shop", "item"),
        (Column("item", "text", "NOCASE"), Column("shop", "text", "RTRIM"), *columns(*EVERY)),
    ),
    "hostile": Table(
        f"t{HOSTILE}",
        "global",
        (f"k{HOSTILE}", "k\t\n\u00e9 "),
        (
            *(Column("k\t\n\u00e9 ", "blob"), Column(f"k{HOSTILE}", "text", "NOCASE")),
            *columns(*EVERY, prefix=HOSTILE),
            Column("Sync_Key", "blob"),
        ),
    ),
    "hostile, local": Table(
        f"u{HOSTILE}\n",
        "local",
        (HOSTILE,),
        (Column(HOSTILE, "integer"), *columns(*EVERY, prefix=HOSTILE)),
    ),
}


def files(dialect: str) -> list[str]:
    home = root() / "server" / dialect
    return sorted(p.relative_to(home).as_posix() for p in home.rglob("*") if p.is_file())


def statements(dialect: str, file: str, *, pyformat: bool = False) -> Statements:
    return load(f"server/{dialect}/{file}", pyformat=pyformat)


def plain(dialect: str) -> list[str]:
    """Every statement of the dialect that is no template and no migration, as `file name`."""
    return [
        f"{file} {name}"
        for file in files(dialect)
        if "/" not in file and file not in (*TEMPLATES, "schema.sql")
        for name in statements(dialect, file)
    ]


# Databases


class Anything(dict[str, None]):
    """NULL for every parameter."""

    def __missing__(self, _: str) -> None:
        return None


def nulls(sql: str) -> Anything | tuple[None, ...]:
    """NULL for each parameter of a statement, by name or by position."""
    count = sum(1 for _, place in PARAMETER.findall(sql) if place)
    return (None,) * count if count else Anything()


def migrated() -> sqlite3.Connection:
    """A database that the embedded store's migrations have made."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    for script in Dialect("sqlite").migrations:
        for name in script:
            db.execute(getattr(script, name))
    return db


@pytest.fixture
def sqlite() -> Iterator[sqlite3.Connection]:
    with closing(migrated()) as db:
        for name in ("image_value", "row_image", "row_key"):
            db.create_function(name, -1, lambda *_: None)
        yield db


@pytest.fixture(scope="module")
def mysql_url(mariadb):
    """A database for all tests that compile, with the bookkeeping tables."""
    return migrated_mysql(mariadb)


@pytest.fixture
def mysql(mysql_url):
    with connect(mysql_url) as db:
        yield db


def migrated_mysql(mariadb: Mariadb) -> str:
    """A database that the other store's migrations have made."""
    url = mariadb.create_database()
    with connect(url) as db:
        for sql in mysql_scripts():
            run(db, sql)
    return url


def mysql_scripts() -> Iterator[str]:
    """Every statement that brings a database up to this version, in order."""
    dialect = Dialect("mysql", pyformat=True)
    yield dialect.connection.create_schema_table % {}
    for script in dialect.migrations:
        yield from (getattr(script, name) % {} for name in script)


def compile_there(db: Any, sql: str) -> None:
    """Have MariaDB look up what a statement names; what it cannot prepare, it runs."""
    count = sql.replace("%%", "").count("%s")
    place = "DEFAULT" if sql.startswith("SET") else "?"
    sql %= (place,) * count if count else defaultdict(lambda: place)
    if not sql.startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
        run(db, sql)
        return
    run(db, "PREPARE compiled FROM %s", (sql,))
    run(db, "DEALLOCATE PREPARE compiled")


# Plain statements


@pytest.mark.parametrize("statement", plain("sqlite"))
def test_a_statement_compiles_in_sqlite(sqlite, statement):
    file, name = statement.split()
    sql = getattr(statements("sqlite", file), name)
    if sql.startswith(("PRAGMA", "BEGIN", "COMMIT", "ROLLBACK")):
        assert sqlite3.complete_statement(sql + ";")
        assert ";" not in sql
    else:
        assert sqlite.execute(f"EXPLAIN {sql}", nulls(sql)).fetchall()


@pytest.mark.parametrize("statement", plain("mysql"))
def test_a_statement_compiles_in_mariadb(mysql, statement):
    file, name = statement.split()
    compile_there(mysql, getattr(statements("mysql", file, pyformat=True), name))


@pytest.mark.parametrize(
    "wrong", ["SELECT x.nobody FROM sync_tenant AS x", "UPDATE nobody SET a = 1"]
)
def test_a_statement_that_names_what_is_not_there_does_not_compile(mysql, sqlite, wrong):
    with pytest.raises(pymysql.Error, match="nobody"):
        compile_there(mysql, wrong)
    with pytest.raises(sqlite3.Error, match="nobody"):
        sqlite.execute(f"EXPLAIN {wrong}")


# Templates


def rendered(
    dialect: str, templates: Sequence[str], names: dict[str, Any], *, pyformat: bool = False
) -> dict[str, str]:
    """Every statement of some templates, by `file name`."""
    loaded = {file: statements(dialect, file, pyformat=pyformat) for file in templates}
    return {
        f"{file} {name}": getattr(made, name)(**names)
        for file, made in loaded.items()
        for name in made
    }


def sqlite_names(table: Table, carried: Sequence[str]) -> dict[str, Any]:
    names = SqliteLayout(table, carried).names
    sizes = {"keys": len(names["key"]), "columns": len(names["columns"])}
    staged = {**names, **sizes, "is_all": True}
    added = SqliteColumn(f"added{HOSTILE}", "BLOB")
    build = {"t": names["t"], "column": added, "name": f"i{HOSTILE}", "columns": names["key"]}
    whole = SqliteLayout(table, table.wire_columns)
    references = whole.link(table.key, whole, table.key) | {
        "columns_of": table.key,
        "hint": table.key[0],
    }
    rows = names | {"claim": names}
    return {"build": build, "staged": staged, "rows": rows, "references": references}


def mysql_names(table: Table, carried: Sequence[str], *, is_shared: bool) -> dict[str, Any]:
    layout = MysqlLayout(table, carried, table)
    t = layout.t
    names = {
        **layout.names,
        "staged": t.staged_name if is_shared else "sync_staged",
        "is_shared": is_shared,
    }
    added = MysqlColumn(f"added{len(carried)}{is_shared}", "LONGBLOB")
    index = MysqlIndex(f"ix{len(carried)}{is_shared}", [(t.native[0].name, None)])
    if t.native[0].type not in ("BIGINT", "VARBINARY(16)"):
        index = MysqlIndex(index.name, [(t.native[0].name, 64)])
    build = {
        "t": t,
        "collation": "utf8mb4_nopad_bin",
        "name": t.name,
        "columns": [added],
        "index": index,
    }
    staged = names | {"is_all": is_shared, "is_first": is_shared, "is_odd": is_shared}
    whole = MysqlLayout(table, table.wire_columns, table)
    link = whole.link(table.key, whole, table.key)
    assert link is not None
    references = link | {"columns_of": whole.columns_here(table.key), "hint": t.native[0].name}
    rows = names | {"claim": layout.names}
    return {"build": build, "staged": staged, "rows": rows, "references": references}


def every_template(dialect: str, names: dict[str, Any], *, pyformat: bool = False) -> list[str]:
    """What all templates come to, in an order in which it can be run."""
    made = [
        sql
        for part in ("build", "staged", "rows", "references")
        for sql in rendered(dialect, [f"{part}.sql.j2"], names[part], pyformat=pyformat).values()
    ]
    return sorted(made, key=lambda sql: (sql.startswith("DROP"), not sql.startswith("CREATE")))


def carried(table: Table) -> list[tuple[str, ...]]:
    """All columns, one, and none."""
    return sorted({table.wire_columns, table.wire_columns[:1], ()})


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_template_compiles_in_sqlite_whatever_the_names(sqlite, table):
    for columns in carried(table):
        for sql in every_template("sqlite", sqlite_names(table, columns)):
            if sql.startswith("CREATE"):
                sqlite.execute(sql)
            else:
                assert sqlite.execute(f"EXPLAIN {sql}", nulls(sql)).fetchall()
        for made in ("_sync_staged", "_sync_decided", "_sync_found"):
            sqlite.execute(f"DROP TABLE temp.{made}")


@pytest.mark.parametrize("is_shared", [True, False], ids=["shared", "dedicated"])
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_template_compiles_in_mariadb_whatever_the_names(
    mysql, tmp_path, monkeypatch, table, is_shared
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows").touch()  # what LOAD DATA asks for
    for columns in carried(table):
        names = mysql_names(table, columns, is_shared=is_shared)
        for sql in every_template("mysql", names, pyformat=True):
            compile_there(mysql, sql)


def test_the_templates_are_those_that_are_compiled():
    for dialect in DIALECTS:
        assert {file for file in files(dialect) if file.endswith(".j2")} == set(TEMPLATES)


# Twins


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_file_is_a_twin_or_a_dialects_own(dialect):
    expected = {*TWINS, *OWN, *(f"migrations/{file}" for file in MIGRATIONS)}
    assert set(files(dialect)) == expected


@pytest.mark.parametrize("file", [*TWINS, *OWN])
def test_a_file_says_whether_it_has_a_twin(file):
    for dialect in DIALECTS:
        header = (root() / "server" / dialect / file).read_text("utf-8").split("\n-- name: ")[0]
        assert ("Twins: the same" in header) == (file in TWINS or file == "schema.sql")
        assert ("This dialect's own." in header) == (file in OWN and file != "schema.sql")


@pytest.mark.parametrize("file", TWINS)
def test_twins_have_the_same_statements_in_the_same_order(file):
    ours, theirs = (list(statements(dialect, file)) for dialect in DIALECTS)
    assert ours == theirs


def parameters(sql: str) -> set[str]:
    return {name or place for name, place in PARAMETER.findall(sql)} - {""}


@pytest.mark.parametrize("file", [file for file in TWINS if not file.endswith(".j2")])
def test_twins_have_the_same_parameters(file):
    ours, theirs = (statements(dialect, file) for dialect in DIALECTS)
    for name in ours:
        assert parameters(getattr(ours, name)) == parameters(getattr(theirs, name)), name


@pytest.mark.parametrize("is_shared", [True, False], ids=["shared", "dedicated"])
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_twins_have_the_same_parameters_whatever_the_table(table, is_shared):
    for columns in carried(table):
        ours = rendered("sqlite", ["rows.sql.j2"], sqlite_names(table, columns)["rows"])
        names = mysql_names(table, columns, is_shared=is_shared)["rows"]
        theirs = rendered("mysql", ["rows.sql.j2"], names)
        found = {name: parameters(sql) for name, sql in ours.items()}
        assert found == {name: parameters(sql) for name, sql in theirs.items()}
        assert all(found.values())


# The schema


def described(db: sqlite3.Connection) -> dict[str, Any]:
    """Everything that SQLite knows of its tables and their indexes."""
    tables = db.execute("PRAGMA main.table_list").fetchall()
    indexes = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'").fetchall()
    return {
        "tables": {row[1]: row[2:] for row in tables if row[1] != "sqlite_schema"},
        "columns": {row[1]: pragma(db, "table_xinfo", row[1]) for row in tables},
        "references": {row[1]: pragma(db, "foreign_key_list", row[1]) for row in tables},
        "indexes": {
            row[1]: sorted(i[1:] for i in pragma(db, "index_list", row[1])) for row in tables
        },
        "index columns": {name: pragma(db, "index_xinfo", name) for name, _ in indexes},
        "index conditions": {name: " ".join((sql or "").split()) for name, sql in indexes},
    }


def pragma(db: sqlite3.Connection, name: str, argument: str) -> list[tuple[Any, ...]]:
    return db.execute(f"PRAGMA {name}({quote(argument)})").fetchall()


def test_the_schema_of_the_embedded_store_is_what_its_migrations_make(sqlite):
    schema = statements("sqlite", "schema.sql")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        for name in schema:
            db.execute(getattr(schema, name))
        found = described(db)
    assert found == described(sqlite)
    assert len(found["columns"]) > 8


def defined(db: Any) -> dict[str, str]:
    """Each table as MariaDB describes it: columns, indexes, engine, collation."""
    names = [name for (name,) in run(db, "SHOW TABLES")]
    return {name: run(db, f'SHOW CREATE TABLE "{name}"')[0][1] for name in names}


def test_the_schema_of_the_mysql_store_is_what_its_migrations_make(mariadb):
    schema = statements("mysql", "schema.sql")
    with connect(mariadb.create_database()) as db:
        for name in schema:
            run(db, getattr(schema, name))
        found = defined(db)
    with connect(migrated_mysql(mariadb)) as db:
        assert found == defined(db)
    assert len(found) > 9


def test_a_migration_that_was_cut_short_runs_again_in_mariadb(mariadb):
    with connect(migrated_mysql(mariadb)) as db:
        whole = defined(db)
    with connect(mariadb.create_database()) as db:
        for script in Dialect("mysql").migrations:
            names = list(script)
            for end in range(1, len(names) + 1):
                for name in names[:end]:
                    run_again(db, getattr(script, name))
        found = defined(db)
    assert found == {name: sql for name, sql in whole.items() if name != "sync_schema"}


def run_again(db: Any, sql: str) -> None:
    try:
        run(db, sql)
    except pymysql.Error as error:
        if error.args[0] not in ALREADY:
            raise


def test_both_dialects_have_the_same_tables_and_columns(sqlite, mariadb):
    with connect(migrated_mysql(mariadb)) as db:
        theirs = {
            name: [row[0] for row in run(db, f'SHOW COLUMNS FROM "{name}"')]
            for (name,) in run(db, "SHOW TABLES")
        }
    theirs.pop("sync_schema")  # what PRAGMA user_version is in SQLite
    ours = described(sqlite)["columns"]
    assert theirs == {
        table: [row[1] for row in rows]
        for table, rows in ours.items()
        if not table.startswith("sqlite_")
    }
