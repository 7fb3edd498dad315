"""Rows as MySQL keeps them: every value comes back as what it was, from a real MariaDB too."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mysql_client import connect, run
from odd_values import SPECIAL, TEXTS

from syncsession_client.protocol.batches import META, Row
from syncsession_client.protocol.tables import Affinity, Column, Table
from syncsession_client.statements import load
from syncsession_server.row_keys import sync_keys
from syncsession_server.stores.mysql_layout import (
    MysqlLayout,
    MysqlTable,
    as_lines,
)

checked = settings(deadline=None, max_examples=150, derandomize=True, database=None)

AFFINITIES: tuple[Affinity, ...] = ("integer", "real", "text", "blob", "numeric")
COLLATIONS = ("BINARY", "NOCASE", "RTRIM")

present: st.SearchStrategy[Any] = (
    st.sampled_from(SPECIAL)
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.binary(max_size=8)
)
values = st.none() | present


# The table in between


class Kept:
    """An application table and what the statements of rows.sql.j2 do to it."""

    def __init__(self) -> None:
        self.rows: dict[bytes, dict[str, Any]] = {}

    def commit(self, layout: MysqlLayout, rows: list[Row]) -> None:
        """Upsert and tombstone."""
        names = layout.names
        types = {c.name: c.type for c in layout.t.native}
        for key, session, at, by, is_deleted, *native, overflow in layout.encode(rows):
            assert isinstance(key, bytes) and len(key) <= 255
            sent = dict(zip(names["native"], native, strict=True))
            assert all(is_held(types[name], value) for name, value in sent.items())
            meta = {"at": at, "by": by, "session": session, "is_deleted": is_deleted}
            here = self.rows.get(key)
            if is_deleted and here is not None:
                here |= meta
                continue
            if is_deleted:
                sent = {name: sent[name] for name in names["key"]}
            before = {**dict.fromkeys(types), "overflow": None} if here is None else here
            if names["is_partial"]:
                overflow = merge_patch(before["overflow"] or "{}", overflow)
            self.rows[key] = before | sent | meta | {"overflow": overflow}

    def select(self, layout: MysqlLayout) -> dict[bytes, Row]:
        """Every row by its key, as the columns of `layout` travel."""
        selected = layout.names["selected"]
        found = []
        for key, row in self.rows.items():
            known = row | {"sync_key": key}
            carried = (known[name] if name else None for name in selected)
            meta = (row["session"], row["at"], row["by"], row["is_deleted"])
            found.append((*meta, *carried, row["overflow"]))
        return dict(zip(self.rows, layout.decode(found), strict=True))


def is_held(kind: str, value: Any) -> bool:
    """Whether a column of the type gives the value back as it is."""
    held = {"BIGINT": int, "DOUBLE": float, "LONGTEXT": str, "LONGBLOB": bytes}[kind]
    if value is None or type(value) is not float:
        return value is None or type(value) is held
    return held is float and math.isfinite(value) and repr(value) != "-0.0"


def merge_patch(text: str, patch: str) -> str:
    """JSON_MERGE_PATCH of objects whose values are no objects. RFC 7396."""
    merged = json.loads(text) | json.loads(patch)
    return json.dumps({name: value for name, value in merged.items() if value is not None})


# Tables and sessions


@st.composite
def tables(draw: st.DrawFn) -> tuple[Table, Table]:
    """(a table as a tenant has it, as the database has it: with others' columns and spelling)."""
    columns = [Column(f"c_{affinity}", affinity) for affinity in AFFINITIES]
    columns += [
        Column("Sync_Key", "text"),
        Column("naïve \t", "numeric"),
        Column("q\"'%\\", "real"),
    ]
    if draw(st.booleans()):
        at = draw(st.sampled_from([0, len(columns)]))
        columns[at:at] = [Column(f"w{n}", "text") for n in range(200)]
    kinds = draw(st.lists(st.sampled_from(AFFINITIES), max_size=3))
    key = [Column(f"k{n}", kind, draw(st.sampled_from(COLLATIONS))) for n, kind in enumerate(kinds)]
    if key:
        columns = [*columns, *key] if draw(st.booleans()) else [*key, *columns]
        names = tuple(c.name for c in draw(st.permutations(key)))
        table = Table("t", "global", names, tuple(columns))
    else:
        table = Table("t", "local", ("id",), (*columns, Column("id", "integer")))
    return table, draw(st.sampled_from([table, as_others_have_it(table)]))


def respelt_name(name: str) -> str:
    """The name with its ASCII letters in the other case: for SQLite it is the same."""
    return "".join(c.swapcase() if c.isascii() else c for c in name)


def as_others_have_it(table: Table) -> Table:
    others = [Column(f"other{n}", "text") for n in range(3)]
    respelt = [Column(respelt_name(c.name), c.affinity, c.collation) for c in table.columns]
    return Table("T", table.key_kind, tuple(map(respelt_name, table.key)), (*others, *respelt))


@st.composite
def sessions(draw: st.DrawFn, table: Table) -> tuple[tuple[str, ...], list[Row]]:
    """(the columns that a session carries, its rows)."""
    carried = table.wire_columns
    if draw(st.booleans()):
        carried = tuple(draw(st.lists(st.sampled_from(carried), unique=True, max_size=4)))
    return carried, draw(st.lists(rows(table, carried), max_size=5))


@st.composite
def rows(draw: st.DrawFn, table: Table, carried: Sequence[str]) -> Row:
    key = [draw(few) for _ in table.key] if table.key_kind == "global" else [draw(row_ids)]
    is_deleted = int(draw(st.integers(0, 4)) == 0)
    some = {}
    if carried and not is_deleted:
        some = draw(st.dictionaries(st.sampled_from(carried), values, max_size=8))
    meta = (draw(st.integers(1, 9)), draw(times), draw(times), is_deleted)
    return (*meta, *key, *map(some.get, carried))


few = (
    st.sampled_from([1, 1.0, "1", "a", "A", "a ", b"a", 2.5, "2.5", math.inf, 2**63 - 1, "\0"])
    | present
)
row_ids = st.sampled_from([bytes(16), b"\xff" * 16, b"\\N\0\t\n" + bytes(11)])
times = st.none() | st.sampled_from(["2026-01-31T09:30:00.000Z", "", "é\\\t\0"])


@checked
@given(st.data(), tables())
def test_what_was_sent_last_comes_back_exactly(data, both):
    table, whole = both
    kept, expected = Kept(), dict[bytes, dict[str, Any]]()
    for _ in range(data.draw(st.integers(1, 4))):
        carried, sent = data.draw(sessions(table))
        kept.commit(MysqlLayout(table, carried, whole), sent)
        for row in sent:
            expect(expected, table, carried, row)
    for columns in (table.wire_columns, data.draw(st.permutations(table.wire_columns))[:3]):
        found = kept.select(MysqlLayout(table, columns, whole))
        shown = {
            key: (*row["meta"], *row["key"], *map(row.get, columns))
            for key, row in expected.items()
        }
        assert repr(found) == repr(shown)


def expect(
    rows: dict[bytes, dict[str, Any]], table: Table, carried: Sequence[str], row: Row
) -> None:
    """A deletion keeps the values: it can be undone."""
    end = META + len(table.wire_key)
    meta, key, sent = row[:META], row[META:end], dict(zip(carried, row[end:], strict=True))
    here = rows.setdefault(key_of(table, key), {"key": key})
    here["meta"] = meta
    if not meta[3]:
        here |= {"key": key, **sent}


def key_of(table: Table, key: Row) -> bytes:
    if table.key_kind == "local":
        return key[0]
    collations = {c.name: c.collation for c in table.columns}
    return sync_keys([[value] for value in key], [collations[name] for name in table.key])[0]


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_every_value_comes_back_from_every_column_and_key(affinity):
    table = Table("t", "global", ("k",), (Column("k", affinity), Column("v", affinity)))
    layout = MysqlLayout(table, ("v",), table)
    sent = [(None, None, None, 0, value, value) for value in SPECIAL]
    sent += [(None, None, None, 0, f"of {n}", value) for n, value in enumerate((None, *SPECIAL))]
    for together in (sent, *([row] for row in sent)):
        encoded = layout.encode(together)
        kinds = [column.type for column in layout.t.native]
        assert all(map(is_held, kinds * len(encoded), (v for row in encoded for v in row[5:-1])))
        assert repr(layout.decode([row[1:] for row in encoded])) == repr(together)


def test_a_value_that_fits_its_column_stands_there():
    columns = tuple(Column(f"c_{affinity}", affinity) for affinity in AFFINITIES)
    table = Table("t", "global", ("k",), (Column("k", "text"), *columns))
    layout = MysqlLayout(table, table.wire_columns, table)
    fitting = [
        (None, None, None, 0, "k", 2**63 - 1, 0.0, "a\0b", b"\0", 2.5),
        (None, None, None, 0, "k ", None, 1e308, "", b"", "2026-01-31"),
        (None, None, None, 0, "K", -1, 5e-324, "1", None, 7),
    ]
    encoded = layout.encode(fitting)
    assert [row[-1] for row in encoded] == [None, None, None]
    assert [row[-2] for row in encoded] == ["2.5", "2026-01-31", "7"]
    assert [row[5:-2] for row in encoded] == [row[4:-1] for row in fitting]


def test_no_rows_are_no_rows():
    table = Table("t", "global", ("k",), (Column("k", "text"),))
    layout = MysqlLayout(table, (), table)
    assert layout.encode([]) == layout.decode([]) == []


def test_a_table_of_many_columns_keeps_as_many_as_a_row_can_hold_in_places_of_their_own():
    columns = (*(Column(f"c{n}", "text") for n in range(300)), Column("k", "integer"))
    table = Table("t", "global", ("k",), columns)
    layout = MysqlLayout(table, table.wire_columns, table)
    assert [c.name for c in layout.t.native] == [f"c{n}" for n in range(len(layout.t.native))]
    assert 150 < len(layout.t.native) < 200
    assert layout.names["key"] == ()
    assert layout.names["selected"][0] is layout.names["selected"][-1] is None
    sent = [
        (None, None, None, 0, 7, *map(str, range(300))),
        (None, None, None, 0, 8, *[None] * 300),
    ]
    encoded = layout.encode(sent)
    assert set(json.loads(encoded[0][-1])) == {
        "k",
        *(f"c{n}" for n in range(len(layout.t.native), 300)),
    }
    assert json.loads(encoded[1][-1]) == {"k": ["integer", "8"]}


def test_rows_beyond_those_that_are_looked_at_together_stay_in_order():
    table = Table("t", "global", ("k",), (Column("k", "integer"), Column("v", "numeric")))
    layout = MysqlLayout(table, ("v",), table)
    sent = [(None, None, None, 0, n, b"v" if n % 700 == 0 else n / 2) for n in range(2500)]
    encoded = layout.encode(sent)
    assert repr(layout.decode([row[1:] for row in encoded])) == repr(sent)
    lines = loaded(as_lines(encoded))
    assert [row[5] for row in lines] == list(map(str, range(2500)))


def test_a_column_has_its_place_however_a_tenant_writes_it():
    columns = (Column("Id", "integer"), Column("NAME", "text"))
    table = Table("t", "global", ("Id",), columns)
    layout = MysqlLayout(table, ("name",), as_others_have_it(table))
    assert layout.names["key"] == ("iD",)
    assert layout.names["selected"] == ["iD", "name"]
    ((*_, overflow),) = layout.encode([(None, None, None, 0, 1, "x")])
    assert overflow is None


@pytest.mark.parametrize(("before", "after"), [(1, 1.0), (math.inf, math.inf), (2.0, 2)])
def test_a_key_is_of_the_class_that_was_sent_last(before, after):
    columns = (Column("k", "real"), Column("v", "text"), Column("w", "text"))
    table = Table("t", "global", ("k",), columns)
    kept = Kept()
    kept.commit(MysqlLayout(table, ("v", "w"), table), [(1, None, None, 0, before, "v", "w")])
    kept.commit(MysqlLayout(table, ("v",), table), [(2, None, None, 0, after, "x")])
    (found,) = kept.select(MysqlLayout(table, ("v", "w"), table)).values()
    assert repr(found) == repr((2, None, None, 0, after, "x", "w"))


# A real database


WIDE = Table(
    "any thing",
    "global",
    ("k", "n"),
    (
        *(Column("n", "integer"), Column("k", "blob")),
        *(Column(f"c %s {affinity}", affinity) for affinity in AFFINITIES),
        *(Column(f"w{n}", "text") for n in range(200)),
    ),
)
ITEM = Table("item", "local", ("id",), (Column("id", "integer"), Column("v", "numeric")))


@pytest.mark.parametrize("is_shared", [True, False], ids=["shared", "dedicated"])
@pytest.mark.parametrize("is_loaded", [True, False], ids=["loaded", "inserted"])
def test_mariadb_gives_back_what_it_was_given(mariadb, tmp_path, monkeypatch, is_loaded, is_shared):
    monkeypatch.chdir(tmp_path)
    kept = {table.name: Kept() for table in (WIDE, ITEM)}
    with connect(mariadb.create_database()) as db:
        for table in (WIDE, ITEM):
            build(db, table)
        for number, (table, carried, sent) in enumerate(real_sessions(), 1):
            layout = MysqlLayout(table, carried, table)
            commit(db, layout, sent, number, is_loaded=is_loaded, is_shared=is_shared)
            stamped = [(number, at or "now", by or "user", *rest) for _, at, by, *rest in sent]
            kept[table.name].commit(layout, stamped)
        for table in (WIDE, ITEM):
            layout = MysqlLayout(table, table.wire_columns, table)
            sql = ROWS.select_all(**layout.names)
            found = layout.decode(list(run(db, sql, {"tenant_id": "a", "first": 0, "last": 9})))
            expected = dict(sorted(kept[table.name].select(layout).items()))
            assert list(map(repr, found)) == list(map(repr, expected.values()))


def real_sessions() -> Iterator[tuple[Table, tuple[str, ...], list[Row]]]:
    """Every value in every column and key; then in some of the columns, and some rows deleted."""
    turned = [*SPECIAL[50:], *SPECIAL[:50]]
    filler = [None] * 200
    all_columns = [
        (7, None, "é\t", 0, key, n, *[value] * 5, *filler[:-1], value)
        for n, (key, value) in enumerate(zip(SPECIAL, turned, strict=True))
    ]
    yield WIDE, WIDE.wire_columns, all_columns
    some = ("w199", "c %s numeric", "C %S TEXT", "w0")
    yield (
        *(WIDE, some),
        [(None, "at", None, 0, key, n, None, n, key, key) for n, key in enumerate(SPECIAL[::-1])][
            ::2
        ],
    )
    yield WIDE, (), [(None, None, None, 1, key, n) for n, key in enumerate(SPECIAL)][::3]
    yield WIDE, (), [(None, None, None, 1, key, -1) for key in SPECIAL]
    ids = [bytes([n]) * 16 for n in range(len(SPECIAL))]
    yield (
        *(ITEM, ITEM.wire_columns),
        [(None, None, None, 0, *row) for row in zip(ids, SPECIAL, turned, strict=True)],
    )
    yield ITEM, (), [(None, "later", None, 0, row_id) for row_id in ids[::2]]
    yield ITEM, ("v",), [(None, None, None, 0, row_id, None) for row_id in ids[::3]]


FULL = {
    "texts": ["text"] * 400,
    "integers": ["integer"] * 1000,
    "all kinds": [*AFFINITIES] * 100,
}


@pytest.mark.parametrize("affinities", FULL.values(), ids=FULL)
def test_mariadb_holds_a_row_that_is_as_full_as_can_be(mariadb, affinities):
    columns = tuple(Column(f"c{n}", affinity) for n, affinity in enumerate(affinities))
    table = Table("full", "global", ("k",), (Column("k", "text"), *columns))
    layout = MysqlLayout(table, table.wire_columns, table)
    by_affinity = {"integer": -(2**63), "real": 0.1, "blob": b"\xff" * 40, "numeric": 0.1}
    in_row = [by_affinity.get(affinity, "x" * 40) for affinity in affinities]
    outside = [v * 50 if isinstance(v, str | bytes) else v for v in in_row]
    sent = [
        (1, "🎻" * 255, "🎻" * 255, 0, f"{n}" + "k" * 300, *full)
        for n, full in enumerate((in_row, outside, [None] * len(columns)))
    ]
    with connect(mariadb.create_database()) as db:
        build(db, table)
        commit(db, layout, sent, 1, is_loaded=False, is_shared=True)
        values = {"tenant_id": "a", "first": 0, "last": 9}
        found = layout.decode(list(run(db, ROWS.select_all(**layout.names), values)))
    assert repr(found) == repr(sent)


ROWS, BUILD, STAGED = (
    load(f"server/mysql/{part}.sql.j2", pyformat=True) for part in ("rows", "build", "staged")
)


def build(db: Any, table: Table) -> None:
    for create in (BUILD.create_table, BUILD.create_staged):
        run(db, create(t=MysqlTable(table), collation="utf8mb4_nopad_bin") % {})


def commit(
    db: Any, layout: MysqlLayout, rows: list[Row], number: int, *, is_loaded: bool, is_shared: bool
) -> None:
    """Commit a session as the store does, of rows that are known to the devices."""
    rows = [(number, *row[1:]) for row in rows]
    staged = layout.t.staged_name if is_shared else "sync_staged"
    names = {**layout.names, "staged": staged, "is_shared": is_shared}
    if not is_shared:
        run(db, STAGED.drop_dedicated())
        run(db, STAGED.create_dedicated(t=layout.t) % {})
    placed = [("a", number, n, *row) for n, row in enumerate(layout.encode(rows))]
    if is_loaded:
        Path("rows").write_bytes(as_lines(placed))
        run(db, STAGED.load(**names) % {})
    else:
        with db.cursor() as cursor:
            cursor.executemany(STAGED.insert(**names), placed)
    assert run(db, "SHOW WARNINGS") == ()
    stamp = {"tenant_id": "a", "number": number, "now": "now", "user_id": "user"}
    run(db, ROWS.upsert(**names), stamp)
    run(db, ROWS.tombstone(**names), stamp)
    if is_shared:
        run(db, STAGED.clear_shared(**names), stamp)


# Lines


ESCAPED = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}


def loaded(lines: bytes) -> list[list[str | None]]:
    """What LOAD DATA reads. https://dev.mysql.com/doc/refman/8.0/en/load-data.html"""
    parts = re.findall(r"\\.|[^\\]", lines.decode(), re.DOTALL)
    rows: list[list[list[str]]] = [[[]]]
    for part in parts:
        if part == "\n":
            rows.append([[]])
        elif part == "\t":
            rows[-1].append([])
        else:
            rows[-1][-1].append(part)
    assert rows.pop() == [[]], "the last line ends too"
    return [[None if field == ["\\N"] else unescaped(field) for field in row] for row in rows]


def unescaped(field: Iterable[str]) -> str:
    return "".join(ESCAPED.get(c[1], c[1]) if len(c) == 2 else c for c in field)


def as_read(value: Any) -> str | None:
    return value.hex() if isinstance(value, bytes) else None if value is None else str(value)


columns_of_one_class = st.sampled_from(
    [
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.binary(max_size=5),
        st.none() | st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"])),
        st.sampled_from([text for text in TEXTS if text.isalnum()]),
    ]
)


@checked
@given(st.data(), st.lists(columns_of_one_class, min_size=1, max_size=4), st.integers(1, 6))
def test_rows_are_read_from_lines_as_they_were(data, columns, height):
    filled = [data.draw(st.lists(c, min_size=height, max_size=height)) for c in columns]
    given_rows = list(zip(*filled, strict=True))
    read = loaded(as_lines(given_rows))
    assert read == [[as_read(value) for value in row] for row in given_rows]


@pytest.mark.parametrize("special", [text for text in TEXTS if not text.isalnum()], ids=repr)
def test_a_text_is_read_from_lines_whatever_stands_beside_it(special):
    given_rows = [(special, "a"), ("b", None), ("c\x1f", special)]
    assert loaded(as_lines(given_rows)) == [list(row) for row in given_rows]
