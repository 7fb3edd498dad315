"""What a device pushes, another one gets: the same storage class, the same value, bit for bit.

Over every way in: the embedded store, and MariaDB through the staging table that all share or one
of the session's own, by LOAD DATA LOCAL or by INSERT.
"""

import random
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mariadb import Mariadb, private_mariadb
from support import Device, Server, World, everyone_syncs, serving

from syncsession_server.settings import Settings
from syncsession_server.stores.mysql import MysqlStore

WAYS = ("sqlite", "shared-load", "dedicated-load", "shared-insert", "dedicated-insert")
EVERY_ROW, NO_ROW = 1_000_000, 0

fewer_ways = pytest.mark.parametrize(
    "server", ["sqlite", "shared-load", "dedicated-insert"], indirect=True
)
"""Each part of each way; for what takes long."""

tried = settings(
    deadline=None,
    max_examples=3,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def plain_mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mariadb]:
    """A MariaDB that loads no files, and knows no capital letters in the names of tables."""
    options = ("--local-infile=0", "--lower-case-table-names=1")
    directory = tmp_path_factory.mktemp("plain")
    with private_mariadb(directory, *options, durable=False) as running:
        yield running


@pytest.fixture(scope="module", params=WAYS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server whose every push, however small, goes one way."""
    table, _, statement = request.param.partition("-")
    if table == "sqlite":
        database = f"sqlite:///{tmp_path_factory.mktemp('values') / 'server.db'}"
    else:
        name = "mariadb" if statement == "load" else "plain_mariadb"
        database = request.getfixturevalue(name).create_database()
    wanted = Settings(
        database=database,
        migrate=True,
        push_shared_table_threshold=EVERY_ROW if table == "shared" else NO_ROW,
    )
    with serving(wanted) as running:
        if isinstance(running.store, MysqlStore):
            running.store.load_rows = 1
        yield running


@pytest.fixture
def new_world(server: Server, tmp_path: Path) -> Callable[[], World]:
    """Makes a tenant and a directory: each example has its own."""

    def make() -> World:
        directory = tmp_path / uuid.uuid4().hex
        directory.mkdir()
        return World(server, directory)

    return make


def exact(value: Any) -> tuple[str, Any]:
    """The storage class, and the value so that equal means the same bits."""
    return type(value).__name__, value.hex() if isinstance(value, float) else value


def held(device: Device, *tables: str) -> list[list[tuple[Any, ...]]]:
    """The rows of the tables, exactly."""
    return [
        sorted((tuple(map(exact, row)) for row in device.rows(f'SELECT * FROM "{t}"')), key=repr)
        for t in tables
    ]


def told(one: Device, other: Device, *tables: str) -> None:
    """What `one` has changed, `other` has as well."""
    one.push()
    other.pull()
    assert held(other, *tables) == held(one, *tables)


INTEGERS = [0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1, -(2**53) - 1, 2**32]
REALS = [
    *(0.0, -0.0, 1.0, 0.1, 5e-324, -5e-324, 2.2250738585072014e-308, 1e308, 1.7976931348623157e308),
    *(float("inf"), float("-inf"), 1e15, 1e16, 1e22, 9007199254740993.0, 123456789.123456789),
]
TEXTS = [
    *("", " ", "a", "A", "a ", "a  ", "ä", "Ä", "a\u0308", "ß", "ss", "\0", "a\0b", "a\0", "\r\n"),
    *("\\", "\\N", "\\0", "\t", "\n", "'", '"', "`", "''", "%s", "%", ":a", "?", "NULL", "\x1a"),
    *(
        "😀",
        "👩\u200d👧",
        "\ufeff",
        "\u2028",
        "\uffff",
        "\x1f",
        "2024-01-31",
        "2024-01-31T00:00:00Z",
    ),
    *(
        "1",
        "1.0",
        "01",
        "+1",
        "1e3",
        "1.50",
        " 1",
        "1 ",
        "0x10",
        "9223372036854775808",
        "-0",
        "-0.0",
    ),
    *("-0.0", "2024-01-31T00:00:00Z"),
    *("inf", "1e400", "nan", "true", "null", "[1]", "{}", "x'00'", "a" * 255, "a" * 256, "é" * 128),
]
BLOBS = [
    *(
        b"",
        b"\0",
        bytes(range(256)),
        b"a",
        b"'\\\n\t",
        b"\xff\xfe",
        b"\xf0\x9f\x98\x80",
        b"a" * 300,
    ),
]

integers = st.sampled_from(INTEGERS) | st.integers(-(2**63), 2**63 - 1)
reals = st.sampled_from(REALS) | st.floats(allow_nan=False)
texts = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
blobs = st.sampled_from(BLOBS) | st.binary(max_size=40)
present = integers | reals | texts | blobs
values = st.none() | present

TYPES = ("INTEGER", "REAL", "TEXT", "BLOB", "NUMERIC", "")
WIDTH = len(TYPES)
VALUE = "CREATE TABLE value (id TEXT PRIMARY KEY, i INTEGER, r REAL, t TEXT, b BLOB, n NUMERIC, x)"
PUT_VALUE = "INSERT INTO value VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET " + (
    ", ".join(f"{c} = excluded.{c}" for c in "irtbnx")
)
rows_of_values = st.lists(st.tuples(*[values] * WIDTH), min_size=8, max_size=25)

ODD = [*INTEGERS, *REALS, *TEXTS, *BLOBS, None]


def numbered(rows: list[Any]) -> list[Any]:
    return [(f"row {number}", *row) for number, row in enumerate(rows)]


def check_lives(world: World, first: list[Any], second: list[Any]) -> None:
    """Rows are made, changed, deleted and made again, each time for both devices."""
    one = world.device("one.db", VALUE)
    one.put(PUT_VALUE, first)
    one.push()
    other = one.clone("other.db")
    assert held(other, "value") == held(one, "value")
    one.put(PUT_VALUE, second)
    told(one, other, "value")
    one.execute("DELETE FROM value")
    told(one, other, "value")
    one.put(PUT_VALUE, first)
    told(one, other, "value")
    assert other.clone("third.db") and held(other, "value") != [[]]


@tried
@given(first=rows_of_values, second=rows_of_values)
def test_any_value_in_any_column_comes_back(new_world, first, second):
    check_lives(new_world(), numbered(first), numbered(second))


def test_every_odd_value_in_every_column_comes_back(new_world):
    chance = random.Random(1)
    first = numbered([(value,) * WIDTH for value in ODD])
    second = numbered([chance.choices(ODD, k=WIDTH) for _ in ODD])
    check_lives(new_world(), first, second)


KEYED = {
    "key_integer": "k INTEGER, l INTEGER, v, PRIMARY KEY (k, l)",
    "key_real": "k REAL PRIMARY KEY, v",
    "key_text": "k TEXT PRIMARY KEY, v",
    "key_blob": "k BLOB PRIMARY KEY, v",
    "key_numeric": "k NUMERIC PRIMARY KEY, v",
    "key_any": "k, v, PRIMARY KEY (k)",
    "key_nocase": "k TEXT COLLATE NOCASE PRIMARY KEY, v",
    "key_rtrim": "k TEXT COLLATE RTRIM PRIMARY KEY, v",
    "key_any_nocase": "k COLLATE NOCASE PRIMARY KEY, v",
}
COMPOSITE = (
    "k INTEGER, l REAL, m TEXT COLLATE NOCASE, n BLOB, o NUMERIC, p TEXT COLLATE RTRIM, q, v"
)
KEYED |= {
    "key_all": f"{COMPOSITE}, PRIMARY KEY (q, k, l, m, n, o, p)",
    "key_texts": "k TEXT, l TEXT, v, PRIMARY KEY (l, k)",
}
KEYED_SCHEMA = [f"CREATE TABLE {name} ({body}) WITHOUT ROWID" for name, body in KEYED.items()]
WIDTHS = {"key_integer": 2, "key_texts": 2, "key_all": 7}

keys = st.lists(st.lists(present, min_size=7, max_size=7), min_size=10, max_size=20)


def put_keys(device: Device, rows: list[list[Any]], note: str) -> None:
    """Rows under these keys in every table; one that is there already under an equal key goes."""
    for table in KEYED:
        width = WIDTHS.get(table, 1)
        marks = ", ".join("?" * (width + 1))
        device.put(
            f"INSERT OR REPLACE INTO {table} VALUES ({marks})", [(*r[:width], note) for r in rows]
        )


def check_keys(world: World, first: list[Any], second: list[Any]) -> None:
    one = world.device("one.db", *KEYED_SCHEMA)
    put_keys(one, first, "first")
    one.push()
    other = one.clone("other.db")
    assert held(other, *KEYED) == held(one, *KEYED)
    put_keys(one, second, "second")
    told(one, other, *KEYED)
    assert held(one.clone("third.db"), *KEYED) == held(one, *KEYED)
    one.execute(*(f"DELETE FROM {table} WHERE v = 'first'" for table in KEYED))
    told(one, other, *KEYED)
    put_keys(other, first, "third")
    told(other, one, *KEYED)


@settings(tried, max_examples=2)
@given(first=keys, second=keys)
def test_any_value_in_a_key_comes_back(new_world, first, second):
    check_keys(new_world(), first, second)


def test_every_odd_value_in_a_key_comes_back(new_world):
    chance = random.Random(2)
    there = [value for value in ODD if value is not None]
    first = [[value, *chance.choices(there, k=6)] for value in there]
    second = [[value, *chance.choices(there, k=6)] for value in reversed(there)]
    check_keys(new_world(), first, second)


SAME_KEYS = [
    ("BINARY", ["a", "A", "a ", "ä", "Ä", "a\u0308"], 6),
    ("NOCASE", ["a", "A", "ä", "Ä", "a "], 4),
    ("RTRIM", ["a", "a ", "a  ", "A", "a\t"], 3),
]


@fewer_ways
@pytest.mark.parametrize(("collation", "names", "count"), SAME_KEYS)
def test_keys_are_one_row_for_everyone_where_sqlite_calls_them_equal(
    new_world, collation, names, count
):
    world, table = new_world(), f"same_{collation.lower()}"
    schema = f"CREATE TABLE {table} (k TEXT COLLATE {collation} PRIMARY KEY, v)"
    everyone = [world.device(f"{n}.db", schema) for n, _ in enumerate(names)]
    for device, name in zip(everyone, names, strict=True):
        device.put(f"INSERT INTO {table} VALUES (?, ?)", [(name, name)])
        device.sync()
    last = everyone[0].clone("last.db")
    assert last.value(f"SELECT count(*) FROM {table}") == count
    everyone_syncs(*everyone)
    assert all(held(device, table) == held(last, table) for device in everyone)


@fewer_ways
def test_very_long_keys_that_differ_at_the_end_only_are_two_rows(new_world):
    one = new_world().device("one.db", "CREATE TABLE long_key (k TEXT PRIMARY KEY, v)")
    rows = [(letter * length + end, n)
            for letter in "aé😀" for length in (200, 254, 255, 256, 1000, 100_000)
            for n, end in enumerate(["", "1", "2", " ", "\0"])]  # fmt: skip
    one.put("INSERT INTO long_key VALUES (?, ?)", rows)
    one.push()
    other = one.clone("other.db")
    assert len(held(other, "long_key")[0]) == len(rows)
    one.execute("UPDATE long_key SET v = v + 10")
    told(one, other, "long_key")


MEGABYTES = 10 << 20
LARGE = "CREATE TABLE large (id TEXT PRIMARY KEY, t TEXT, b BLOB)"


@fewer_ways
def test_large_values_come_back(new_world):
    """One of each kind, and many that are large together only, after some that are not."""
    one, chance = new_world().device("one.db", LARGE), random.Random(3)
    rows = [(f"a {n:03}", str(n), None) for n in range(200)]
    rows += [(f"b {n:03}", None, chance.randbytes(600_000)) for n in range(30)]
    rows += [
        ("c", None, chance.randbytes(MEGABYTES)),
        ("d", "'\"\\\t\n" * (MEGABYTES // 5), None),
        ("e", "😀" * (MEGABYTES // 4), None),
    ]
    one.put("INSERT INTO large VALUES (?, ?, ?)", rows)
    one.push()
    assert held(one.clone("other.db"), "large") == held(one, "large")


@fewer_ways
@pytest.mark.parametrize(("letter", "length"), [("x", 30), ("x", 40), ("é", 100)])
def test_a_table_of_two_hundred_texts_comes_back(new_world, letter, length):
    """Of at most 40 bytes each they lie in the row, and then they are too many for a page."""
    names = [f"column_{n}" for n in range(200)]
    schema = f"CREATE TABLE wide (id TEXT PRIMARY KEY, {' TEXT, '.join(names)} TEXT)"
    one = new_world().device("one.db", schema)
    marks = ", ".join("?" * 201)
    rows = [(str(n), *(letter * length for _ in names)) for n in range(5)]
    one.put(f"INSERT INTO wide VALUES ({marks})", rows)
    one.push()
    other = one.clone("other.db")
    assert held(other, "wide") == held(one, "wide")
    one.execute("UPDATE wide SET column_0 = NULL, column_199 = x'00', column_100 = 1")
    told(one, other, "wide")


NAMES = [
    *(
        "a" * 64,
        '"' * 64,
        "é" * 64,
        "😀" * 32,
        "two words",
        "100%",
        "%s",
        "`tick`",
        "{{ t }}",
        "[x]",
    ),
    *(
        "trailing",
        "trailing ",
        "resume",
        "résumé",
        "RÉSUMÉ",
        "rèsume",
        "ß",
        "ss",
        "\u1e9e",
        "İ",
        "ı",
    ),
    *(
        "semi;colon",
        "it's",
        "new\nline",
        "tab\t",
        "back\\slash",
        ":name",
        "?",
        "select",
        "1",
        "a.b",
    ),
    *(
        "tenant_id",
        "sync_key",
        "app_tenant_id",
        "values_0123456789ab",
        "a/b",
        ".",
        "..",
        "k",
        "\u212a",
    ),
]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@fewer_ways
def test_tables_of_any_name_come_back_each_with_its_own_rows(new_world):
    schema = [f"CREATE TABLE {quoted(name)} (id TEXT PRIMARY KEY, v TEXT)" for name in NAMES]
    one = new_world().device("one.db", *schema)
    for name in NAMES:
        one.put(f"INSERT INTO {quoted(name)} VALUES ('x', ?)", [(name,)])
    one.push()
    other = one.clone("other.db")
    assert {name: other.rows(f"SELECT v FROM {quoted(name)}") for name in NAMES} == {
        name: [(name,)] for name in NAMES
    }


@fewer_ways
def test_columns_of_any_name_come_back_each_with_its_own_values(new_world):
    columns = ", ".join(map(quoted, NAMES))
    schema = f"CREATE TABLE named ({columns}, PRIMARY KEY ({quoted(NAMES[1])}, {quoted(NAMES[2])}))"
    one = new_world().device("one.db", schema)
    one.put(f"INSERT INTO named VALUES ({', '.join('?' * len(NAMES))})", [NAMES, NAMES[::-1]])
    one.push()
    other = one.clone("other.db")
    assert held(other, "named") == held(one, "named")
    one.execute(*(f"UPDATE named SET {quoted(name)} = x'00'" for name in NAMES[3:]))
    told(one, other, "named")


PARTLY = "id TEXT PRIMARY KEY, i INTEGER, t TEXT"
FITTING, UNFITTING = (1, "text", 1.5, b"blob", 2), ("text", b"blob", "text", 1.5, b"blob")


@pytest.mark.parametrize("kept", [FITTING, UNFITTING])
def test_a_device_without_a_column_leaves_the_values_of_others_alone(new_world, kept):
    world = new_world()
    one = world.device("one.db", f"CREATE TABLE partly ({PARTLY}, r REAL, b BLOB, n NUMERIC)")
    put = "INSERT INTO partly VALUES (?, ?, ?, ?, ?, ?)"
    one.put(put, [(key, *kept) for key in "abcx"])
    one.push()
    few = world.device("few.db", f"CREATE TABLE partly ({PARTLY})")
    few.sync()
    sent = {"a": FITTING[:2], "b": UNFITTING[:2], "c": (None, None), "new": UNFITTING[:2]}
    few.put(
        "INSERT OR REPLACE INTO partly VALUES (?, ?, ?)", [(k, *row) for k, row in sent.items()]
    )
    few.push()
    one.pull()
    third = one.clone("third.db")
    one.execute("DELETE FROM partly")
    others = {"a": kept[2:], "b": kept[2:], "c": kept[2:], "new": (None,) * 3}
    one.put(put, [("x", *kept), *((k, *row, *others[k]) for k, row in sent.items())])
    assert held(third, "partly") == held(one, "partly")


@fewer_ways
def test_a_device_without_a_column_leaves_a_large_value_that_does_not_fit_alone(new_world):
    """In hexadecimal, as it is kept beside a column of reals, it is still within a packet."""
    world = new_world()
    one = world.device("one.db", f"CREATE TABLE partly ({PARTLY}, r REAL, b BLOB, n NUMERIC)")
    large = random.Random(4).randbytes(6 << 20)
    one.put("INSERT INTO partly VALUES ('x', 1, 'x', ?, 1, 1)", [(large,)])
    one.push()
    few = world.device("few.db", f"CREATE TABLE partly ({PARTLY})")
    few.sync()
    few.execute("UPDATE partly SET i = 2")
    few.push()
    one.pull()
    assert one.rows("SELECT i, r FROM partly") == [(2, large)]
