"""What is stored in the application's file must load in every SQLite since 3.30."""

import re

import pytest
from schemas import FAMILY

# What SQLite has learned since 3.30, by https://sqlite.org/changes.html
NEWER = {
    "generated columns (3.31)": r"\bGENERATED\b|\bSTORED\b|\bVIRTUAL\b|\w\s+AS\s*\((?!\s*SELECT)",
    "UPDATE … FROM (3.33)": r"\bUPDATE\b[^;]*\bSET\b[^;]*\bFROM\b",
    "RETURNING (3.35)": r"\bRETURNING\b",
    "MATERIALIZED (3.35)": r"\bMATERIALIZED\b",
    "several ON CONFLICT clauses (3.35)": r"\bDO (NOTHING|UPDATE)\b[^;]*\bDO (NOTHING|UPDATE)\b",
    "STRICT (3.37)": r"\bSTRICT\b",
    "-> and ->> (3.38)": r"->",
    "newer modifiers (3.38 to 3.46)": r"'(auto|julianday|subsec(ond)?|ceiling|floor|[+-]\d{4}-.*)'",
    "RIGHT and FULL joins (3.39)": r"\b(RIGHT|FULL)\s+(OUTER\s+)?JOIN\b",
    "IS DISTINCT FROM (3.39)": r"\bIS\s+(NOT\s+)?DISTINCT\b",
    "HAVING alone (3.39)": r"\A(?!.*\bGROUP BY\b).*\bHAVING\b",
    "ORDER BY in an aggregate (3.44)": r"\b(?!OVER\b|IN\b|FROM\b|EXISTS\b)\w+\s*"
    r"\([^()]*\bORDER BY\b",
    "newer formats of dates (3.44, 3.46)": r"(?-i:%[eFgGIklpPRTuUV])",
    "numbers with _ (3.46)": r"\b\d+_\d",
    "RAISE with an expression (3.47)": r"\bRAISE\s*\(\s*\w+\s*,(?!\s*'[^']*'\s*\))",
}
FUNCTIONS = (
    r"abs|avg|changes|char|coalesce|count|date|datetime|glob|group_concat|hex|ifnull|instr|julianday"
    r"|last_insert_rowid|length|like|lower|ltrim|max|min|nullif|printf|quote|random|randomblob"
    r"|replace|round|rtrim|strftime|substr|sum|time|total|total_changes|trim|typeof|unicode|upper"
    r"|zeroblob"
)
"""Those of 3.30 that no build lacks."""

NO_FUNCTION = (
    r"and|as|cast|check|exists|from|in|key|not|on|or|over|raise|unique|values|when|where|_sync\w*"
)
"""What else may stand before a parenthesis: keywords, and names of ours."""


def newer(sql: str) -> list[str]:
    """What a statement uses that SQLite 3.30 lacks."""
    bare = re.sub(r'"[^"]*"', "_sync", sql)
    flags = re.IGNORECASE | re.DOTALL
    found = [what for what, pattern in NEWER.items() if re.search(pattern, bare, flags)]
    called = re.findall(r"\b(\w+)\s*\(", bare)
    known = f"{FUNCTIONS}|{NO_FUNCTION}"
    return [*found, *(name for name in called if not re.fullmatch(known, name, flags))]


def test_what_is_stored_uses_nothing_newer_than_sqlite_3_30(pair):
    p = pair(*FAMILY, "CREATE TABLE code (name TEXT COLLATE NOCASE, n REAL, PRIMARY KEY (name, n))")
    stored = {o[1]: o[3] for o in p.device.schema() if o[1].startswith("_sync") and o[3]}
    kinds = {o[0] for o in p.device.schema() if o[1].startswith("_sync")}
    assert kinds == {"table", "index", "view", "trigger"}
    assert len(stored) == 3 * 9 + 2 * 10 + 6  # the keys of two are mapped: one index more
    assert {name: newer(sql) for name, sql in stored.items() if newer(sql)} == {}


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO _sync VALUES (1) RETURNING k",
        "UPDATE t SET v = u.v FROM u",
        "CREATE TABLE _sync (k) STRICT",
        "CREATE TABLE _sync (k, g AS (k + 1))",
        "SELECT iif(a, b, c)",
        "SELECT a ->> 'b'",
        "SELECT a IS NOT DISTINCT FROM b",
        "WITH x AS NOT MATERIALIZED (SELECT 1) SELECT 1",
        "SELECT 1 FROM a RIGHT JOIN b ON 1",
        "SELECT max(k)\n  FROM t HAVING 1",
        "SELECT group_concat(k ORDER BY k) FROM t",
        "SELECT strftime('%F', k)",
        "SELECT julianday('now', 'subsec')",
        "SELECT datetime(k, 'auto')",
        "SELECT 1_000",
        "SELECT RAISE(ABORT, 'no ' || k)",
        "INSERT INTO _sync VALUES (1) ON CONFLICT (k) DO NOTHING ON CONFLICT DO UPDATE SET k = 1",
        "SELECT unixepoch()",
        "SELECT substring ('a', 1)",
        "SELECT row_id(1.0)",
    ],
)
def test_what_is_newer_is_noticed(sql):
    assert newer(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT k FROM (SELECT k FROM t ORDER BY k) AS x GROUP BY k HAVING max(k) > 0",
        "SELECT row_number() OVER (ORDER BY k) AS n, strftime('%Y-%m-%dT%H:%M:%fZ', k) FROM t",
        "SELECT RAISE(ABORT, 'no')",
    ],
)
def test_what_is_not_newer_is_not_noticed(sql):
    assert set(newer(sql)) <= {"row_number"}
