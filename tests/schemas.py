"""The schemas that tests of capture share."""

import pytest

TEXT = "CREATE TABLE t (k TEXT PRIMARY KEY, v)"
INTEGER = "CREATE TABLE t (k INTEGER PRIMARY KEY, v)"
KEYS = pytest.mark.parametrize("schema", [TEXT, INTEGER], ids=["global", "local"])

# A parent with a local key, and children by every action.
FAMILY = (
    "CREATE TABLE parent (id INTEGER PRIMARY KEY, v)",
    "CREATE TABLE child (id TEXT PRIMARY KEY, parent_id INTEGER REFERENCES parent ON DELETE "
    "CASCADE ON UPDATE CASCADE, v)",
    "CREATE TABLE orphan (id TEXT PRIMARY KEY, parent_id INTEGER DEFAULT 9 REFERENCES parent (id) "
    "ON DELETE SET NULL ON UPDATE SET DEFAULT)",
    "CREATE TABLE link (parent_id INTEGER REFERENCES parent (id) ON DELETE "
    "CASCADE ON UPDATE CASCADE, n INTEGER, v, PRIMARY KEY (parent_id, n))",
)
BORN = (
    "INSERT INTO parent VALUES (1, 'p'), (2, 'q'), (9, 'default')",
    "INSERT INTO child VALUES ('a', 1, 0), ('b', 2, 0)",
    "INSERT INTO orphan VALUES ('a', 1), ('b', 2)",
    "INSERT INTO link VALUES (1, 1, 0), (1, 2, 0), (2, 1, 0)",
)

# Of each kind: the schema, and three keys.
KINDS = {
    "text": ("CREATE TABLE t (k TEXT PRIMARY KEY, v)", "'a'", "'b'", "'c'"),
    "without rowid": ("CREATE TABLE t (k TEXT PRIMARY KEY, v) WITHOUT ROWID", "'a'", "'b'", "'c'"),
    "integer": (INTEGER, "1", "2", "3"),
    "autoincrement": ("CREATE TABLE t (k INTEGER PRIMARY KEY AUTOINCREMENT, v)", "1", "2", "3"),
    "int": ("CREATE TABLE t (k INT PRIMARY KEY, v)", "1", "2", "3"),
    "descending": ("CREATE TABLE t (k INTEGER PRIMARY KEY DESC, v)", "1", "2", "3"),
    "integer without rowid": (
        "CREATE TABLE t (k INTEGER PRIMARY KEY, v) WITHOUT ROWID",
        "1",
        "2",
        "3",
    ),
    "strict": ("CREATE TABLE t (k TEXT PRIMARY KEY, v ANY) STRICT", "'a'", "'b'", "'c'"),
    "strict any": (
        "CREATE TABLE t (k ANY PRIMARY KEY, v) STRICT".replace(", v)", ", v INT)"),
        "'1'",
        "1",
        "x'31'",
    ),
    "no type": ("CREATE TABLE t (k PRIMARY KEY, v)", "'1'", "1", "x'31'"),
    "blob": ("CREATE TABLE t (k BLOB PRIMARY KEY, v) WITHOUT ROWID", "x'00'", "x''", "1.5"),
    "real": ("CREATE TABLE t (k REAL PRIMARY KEY, v)", "1", "1.5", "9e999"),
    "numeric": ("CREATE TABLE t (k DATETIME PRIMARY KEY, v)", "'2026-01-01'", "20260101", "1.5"),
    "nocase": ("CREATE TABLE t (k TEXT PRIMARY KEY COLLATE NOCASE, v)", "'a'", "'B'", "'c'"),
    "rtrim": ("CREATE TABLE t (k TEXT PRIMARY KEY COLLATE RTRIM, v)", "'a'", "'b '", "'c'"),
    "generated": (
        "CREATE TABLE t (k TEXT PRIMARY KEY, v, g AS (v || k), s AS (k) STORED)",
        "'a'",
        "'b'",
        "'c'",
    ),
    "conflict clause": (
        "CREATE TABLE t (k TEXT PRIMARY KEY ON CONFLICT REPLACE, v NOT NULL ON CONFLICT IGNORE)",
        "'a'",
        "'b'",
        "'c'",
    ),
}

NAMES = [
    'quo"te',
    "apo's",
    "[br]",
    "`b`",
    "sp ace",
    "select",
    "ünï",
    "a;b",
    "log",
    "-- x",
    "%s {{ x }}",
]
