"""Names of tables and columns in MySQL: what SQLite tells apart stays apart, in a real MariaDB."""

import hashlib
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mysql_client import connect, run

from syncsession_client.protocol.tables import Column, Table
from syncsession_client.statements import load
from syncsession_server.stores.mysql_layout import MysqlTable, column_here
from syncsession_server.tables import folded

checked = settings(deadline=None, max_examples=300, derandomize=True, database=None)

BUILD = load("server/mysql/build.sql.j2", pyformat=True)
PIECES = [
    *("", " ", "a", "A", "é", "É", "e", "ſ", "s", "ß", "漢", "🎻", "İ", "_", "#", "@", ".", "/"),
    *("\t", "\n", "\x01", "\x7f", "\\", '"', "`", "'", "%s", "%", "-" * 20, "漢" * 30, "x" * 30),
    "sync_",
]
OURS = {"tenant_id", "sync_key", "sync_number", "sync_position", "sync_base", "sync_overflow"}
OURS |= {"sync_session", "modified_at_utc", "modified_by_user_id", "is_deleted"}


def hashed(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:12]


BOOKKEEPING = {name.replace("create_", "sync_") for name in load("server/mysql/schema.sql")}
BOOKKEEPING |= {"sync_schema", "sync_staged"}

A_HASH = hashed("a\x01")
NAMES = [
    *("id", "Name", "order", "select", "two words", " leading", "trailing ", "a.b", "a/b", "a\\b"),
    *(
        ".",
        '"',
        "`",
        "'",
        "%s",
        "%(a)s",
        "%",
        ":a",
        "?",
        "{{ x }}",
        "#x",
        "@x",
        "*",
        "1",
        "1e5",
        "-",
    ),
    *(
        "é",
        "É",
        "e\u0301",
        "ß",
        "ss",
        "ſ",
        "漢字",
        "🎻",
        "\ufeff",
        "\ue000",
        "\uffff",
        "a\tb",
        "a\nb",
    ),
    *(
        "DB_ROW_ID",
        "db_trx_id",
        "Db_Roll_Ptr",
        "FTS_DOC_ID",
        "GEN_CLUST_INDEX",
        "_rowid",
        "--",
        "/*",
    ),
    *("tenant_id", "sync_key", "SYNC_KEY", "app_sync_key", "sync_keyé", "is_deleted", "Row_ID"),
    *("a\x01", f"a__{A_HASH}", f"A__{A_HASH.upper()}", f"á__{A_HASH}", "x_000000000000"),
    *("x" * 64, "x" * 63 + "é", "y" * 63 + "\x01", "-" * 64, "漢" * 64, "🎻" * 64, "é" * 64),
    *("#mysql50#sync_tenant", "#sql-1_2", "#sql2", "con", "a@b", "ix_sync_session", "sqlite_x"),
    *("sync_staged", "sync\x01staged", "sync_staged_000000000000", "sync_tenant", "_sync_tenant"),
]
names = st.sampled_from(NAMES) | st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map(
    "".join
)
names |= st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=64)
names = names.map(lambda name: name[:64])


def table_here(name: str) -> str:
    return MysqlTable(Table(name, "global", ("k",), (Column("k", "text"),))).name


def blurred(name: str) -> str:
    """The name without case and accents, as some collations see it."""
    parts = unicodedata.normalize("NFKD", name.casefold())
    return "".join(c for c in parts if not unicodedata.combining(c)).rstrip(" ")


@checked
@given(names, names)
@example(f"A__{A_HASH.upper()}", "a\x01")
@example("é" * 30, "É" * 30)
@example("-" * 64, "-" * 63 + "_")
def test_names_that_sqlite_tells_apart_are_told_apart_here(one, other):
    is_one = folded(one) == folded(other)
    assert (blurred(table_here(one)) == blurred(table_here(other))) == is_one
    if not is_one:
        assert blurred(column_here(one)) != blurred(column_here(other))


@checked
@given(names)
def test_a_name_is_one_that_the_database_can_hold(name):
    for here in (column_here(name), table_here(name)):
        assert 1 <= len(here) <= 64
        assert here == here.rstrip(" ")
        assert all("\0" < c <= "\uffff" for c in here)
    assert folded(column_here(name)) not in OURS
    assert table_here(name) not in BOOKKEEPING
    assert file_name_bytes(table_here(name)) <= 255 - len("#sql-backup-1234567890-1234567890.frm")


def file_name_bytes(name: str) -> int:
    return sum(1 if re.fullmatch("[A-Za-z0-9_]", c) else 5 for c in name)


@pytest.mark.parametrize(
    "name", ["note", "two words", " a", 'a"b', "a`b", "50%", "x" * 64, "a_0123456789a", "a.b:?\\c"]
)
def test_a_plain_name_stays_as_it_is(name):
    assert column_here(name) == table_here(name) == name


@pytest.mark.parametrize("name", ["Note", "TWO words"])
def test_only_a_tables_name_is_folded(name):
    assert (column_here(name), table_here(name)) == (name, name.lower())


def distinct(names: list[str]) -> list[str]:
    """Those that can stand together in a database of SQLite."""
    return list({folded(name): name for name in names}.values())


def test_columns_of_any_names_stand_in_one_table_of_mariadb(mariadb):
    t = MysqlTable(Table("t", "global", ("id",), columns_of(distinct(NAMES))))
    assert len(t.native) == len(distinct(NAMES)) > 70
    with connect(mariadb.create_database()) as db:
        make(db, t)
        for table in (t.name, t.staged_name):
            there = [row[0] for row in run(db, BUILD.columns_here(name=table) % {})]
            assert [n for n in there if n.lower() not in OURS] == [c.name for c in t.native]


def test_tables_of_any_names_stand_in_one_database_of_mariadb(mariadb):
    made = [MysqlTable(Table(n, "global", ("k",), columns_of(["k"]))) for n in distinct(NAMES)]
    with connect(mariadb.create_database()) as db:
        for t in made:
            make(db, t)
            (added,) = MysqlTable(Table("x", "global", ("added",), columns_of(["added"]))).native
            run(db, BUILD.add_columns(name=t.name, columns=[added]) % {})
        there = {name for (name,) in run(db, "SHOW TABLES")}
    assert there == {t.name for t in made} | {t.staged_name for t in made}
    assert len(there) == 2 * len(made)


def columns_of(names: list[str]) -> tuple[Column, ...]:
    return tuple(Column(name, "integer") for name in names)


def make(db: Any, t: MysqlTable) -> None:
    for create in (BUILD.create_table, BUILD.create_staged):
        run(db, create(t=t, collation="utf8mb4_nopad_bin") % {})
