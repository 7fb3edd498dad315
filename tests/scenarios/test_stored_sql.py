"""What is stored in the application's file must load in every SQLite since 3.30."""

import re

import pytest
from schemas import FAMILY

NEWER = {
    "RETURNING": r"\bRETURNING\b",
    "UPDATE … FROM": r"\bUPDATE\b[^;]*\bSET\b[^;]*\bFROM\b",
    "IS DISTINCT FROM": r"\bIS\s+(NOT\s+)?DISTINCT\b",
    "STRICT": r"\bSTRICT\b",
    "generated columns": r"\bGENERATED\b|\bSTORED\b|\bVIRTUAL\b|\w\s+AS\s*\((?!\s*SELECT)",
    "-> and ->>": r"->",
    "RIGHT and FULL joins": r"\b(RIGHT|FULL)\s+(OUTER\s+)?JOIN\b",
    "MATERIALIZED": r"\bMATERIALIZED\b",
    "newer functions": r"\b(iif|if|unixepoch|format|concat|concat_ws|string_agg|octet_length"
    r"|timediff|unhex|json_\w+|jsonb\w*|ceil|floor|ln|log|exp|pow|power|sqrt|trunc|sign|subtype)\s*\(",
    "newer modifiers": r"subsec|auto\b|julianday'\s*\)|'ceiling'|'floor'",
    "numbers with _": r"\b\d+_\d",
    "functions of ours": r"\b(uuid7|row_digest|row_part|digest_of_parts)\b",
}


def test_what_is_stored_uses_nothing_newer_than_sqlite_3_30(pair):
    p = pair(*FAMILY, "CREATE TABLE code (name TEXT COLLATE NOCASE, n REAL, PRIMARY KEY (name, n))")
    stored = {o[1]: o[3] for o in p.device.schema() if o[1].startswith("_sync") and o[3]}
    kinds = {o[0] for o in p.device.schema() if o[1].startswith("_sync")}
    assert kinds == {"table", "index", "view", "trigger"}
    assert len(stored) == 3 * 9 + 2 * 10 + 3  # the keys of two are mapped: one index more
    for name, sql in stored.items():
        bare = re.sub(r'"[^"]*"', "name", sql)
        for what, pattern in NEWER.items():
            assert not re.search(pattern, bare, re.IGNORECASE), f"{name} uses {what}: {sql}"


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1) RETURNING k",
        "UPDATE t SET v = u.v FROM u",
        "CREATE TABLE t (k) STRICT",
        "CREATE TABLE t (k, g AS (k + 1))",
        "SELECT iif(a, b, c)",
        "SELECT a ->> 'b'",
        "SELECT a IS NOT DISTINCT FROM b",
        "WITH x AS NOT MATERIALIZED (SELECT 1) SELECT 1",
        "SELECT uuid7()",
    ],
)
def test_what_is_newer_is_noticed(sql):
    assert any(re.search(pattern, sql, re.IGNORECASE) for pattern in NEWER.values())
