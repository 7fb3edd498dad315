"""The rules of a check: what is red, what is amber, and what changes nothing."""

from dataclasses import replace

import click
import pytest

from syncsession_client.checkup import cautions, firing, refusals
from syncsession_client.checkup.facts import KeyFacts, Numbering, TableFacts, UniqueIndex
from syncsession_client.checkup.findings import CheckedTable, Checkup, Finding, worst
from syncsession_client.checkup.text import lines
from syncsession_client.identity import Choices, plan
from syncsession_client.protocol.tables import MOST_COLUMNS, MOST_NAME, Reference
from syncsession_client.schema import FoundTable, SchemaObject, read
from syncsession_client.triggers import TableTriggers
from syncsession_server.settings import Settings


def found(*schema: str) -> dict[str, FoundTable]:
    names = [sql.split("(")[0].split()[-1] for sql in schema]
    return read(SchemaObject("table", n, n, s) for n, s in zip(names, schema, strict=True))


def facts(sql: str = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)", **known) -> TableFacts:
    (table,) = found(sql).values()
    return TableFacts(table, **known)


def red(of: TableFacts) -> list[str]:
    return [f.code for f in refusals.refused(of)]


def amber(of: TableFacts, suspected=(), **choices) -> list[str]:
    chosen = Choices(**choices)
    (table,) = plan({of.found.name: of.found}, chosen).tables
    return [f.code for f in cautions.noteworthy(of, table, chosen, frozenset(suspected))]


# Red


def test_a_table_with_a_key_and_nothing_else_to_say_is_green():
    assert red(facts(rows=9, key=KeyFacts(9, 0, 1, 9))) == []
    assert amber(facts(rows=9, key=KeyFacts(9, 0, 1, 9))) == []


@pytest.mark.parametrize(
    ("of", "code"),
    [
        (facts("CREATE TABLE t (v)"), "no_primary_key"),
        (facts("CREATE TABLE t (v TEXT COLLATE own PRIMARY KEY)"), "application_only"),
        (facts("CREATE TABLE t (k TEXT PRIMARY KEY)", null_keys=2), "null_key"),
        (facts(not_utf8=("v",)), "not_utf8"),
        (facts(f"CREATE TABLE {'t' * (MOST_NAME + 1)} (k TEXT PRIMARY KEY)"), "name_length"),
        (facts(f"CREATE TABLE t ({'c' * (MOST_NAME + 1)} TEXT PRIMARY KEY)"), "name_length"),
        (facts('CREATE TABLE t (k TEXT PRIMARY KEY, "")'), "name_length"),
    ],
)
def test_a_table_that_cannot_take_part_is_red_with_a_way_out(of, code):
    (finding,) = refusals.refused(of)
    assert (finding.level, finding.code) == ("red", code)
    assert f"--exclude {of.found.name}" in finding.way_out


def test_as_many_columns_as_a_server_takes_are_taken():
    columns = ", ".join(f"c{n}" for n in range(MOST_COLUMNS - 1))
    assert red(facts(f"CREATE TABLE t (k TEXT PRIMARY KEY, {columns})")) == []
    assert red(facts(f"CREATE TABLE t (k TEXT PRIMARY KEY, {columns}, more)")) == [
        "too_many_columns"
    ]


def test_a_name_of_the_length_that_a_server_takes_is_taken():
    assert red(facts(f"CREATE TABLE {'t' * MOST_NAME} ({'é' * MOST_NAME} TEXT PRIMARY KEY)")) == []


def test_the_rows_with_null_in_a_key_can_be_listed_as_it_says():
    (finding,) = refusals.refused(
        facts('CREATE TABLE t (a, "b c", PRIMARY KEY (a, "b c"))', null_keys=1)
    )
    assert finding.reason.startswith("1 row has NULL")
    assert 'SELECT * FROM "t" WHERE "a" IS NULL OR "b c" IS NULL' in finding.way_out


def test_what_references_a_table_that_is_out_is_out_too_and_so_on():
    references = {
        "child": (Reference(("p",), "parent", ("id",)),),
        "grandchild": (Reference(("c",), "child", ("id",)),),
        "friend": (Reference(("f",), "friend", ("id",)),),
        "parent": (),
    }
    out = refusals.outside(references, ["parent"], [])
    assert set(out) == {"child", "grandchild"}
    assert out["child"].reason == "it references parent, which cannot take part"
    assert out["grandchild"].way_out == "see to child first, or --exclude grandchild"
    left = refusals.outside(references, [], ["parent"])
    assert left["child"].reason == "it references parent, which is left out"
    assert left["child"].way_out == "take parent in, or --exclude child"


# Keys


def integers(count: int, lowest: int, highest: int) -> TableFacts:
    return facts(rows=count, key=KeyFacts(count, 0, lowest, highest))


@pytest.mark.parametrize(
    ("of", "is_odd"),
    [
        (integers(0, 0, 0), False),
        (integers(1, 10**15, 10**15), False),
        (integers(2, 1, 2), False),
        (integers(2, 1, 2**31), True),
        (integers(2, -(2**31), 5), True),
        (integers(9, 1, 10**6), False),
        (integers(10, 1, 10**6), True),
        (integers(1000, 1, 1000 * 999), False),
        (integers(1000, -1, 1000), False),
    ],
)
def test_integers_that_no_counting_gives_look_global(of, is_odd):
    assert (amber(of) == ["key_looks_global"]) is is_odd


def test_what_the_user_has_said_is_not_asked_again():
    assert amber(integers(10, 1, 10**15), keys={"T": "global"}) == []


def test_a_key_that_is_no_integer_in_a_column_for_integers_is_told_with_the_flag():
    of = facts("CREATE TABLE t (id INT PRIMARY KEY)", rows=3, key=KeyFacts(2, 0, 1, 2))
    (table,) = plan({"t": of.found}, Choices()).tables
    (finding,) = cautions.noteworthy(of, table, Choices(), frozenset())
    assert (finding.code, finding.flags) == ("mixed_key", ("--key", "t=global"))
    assert finding.reason.startswith("1 row has no integer in id")


TEXT_KEY = "CREATE TABLE t (no TEXT PRIMARY KEY)"


@pytest.mark.parametrize(
    ("numbering", "codes"),
    [
        (None, []),
        (Numbering(2, 1, 2), []),
        (Numbering(3, 1, 3), ["counter_key"]),
        (Numbering(3, 101, 106), ["counter_key"]),
        (Numbering(3, 101, 107), []),
    ],
)
def test_text_keys_that_count_up_collide(numbering, codes):
    assert amber(facts(TEXT_KEY, rows=9, numbering=numbering)) == codes


COUNTED = "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)"


def test_integers_that_sqlite_gives_out_are_not_the_same_everywhere():
    assert amber(facts(COUNTED)) == []
    assert amber(facts(COUNTED), keys={"t": "global"}) == ["counter_key"]
    quoted = "CREATE TABLE t (id INTEGER PRIMARY KEY, \"AUTOINCREMENT\" DEFAULT 'AUTOINCREMENT')"
    assert amber(facts(quoted), keys={"t": "global"}) == []


PAIR = "CREATE TABLE t (year INTEGER, no INTEGER, PRIMARY KEY (year, no))"


def test_a_key_of_numbers_only_collides_unless_a_part_is_a_reference():
    assert amber(facts(PAIR)) == ["counter_key"]
    assert amber(facts(PAIR), suspected=["no"]) == []
    assert amber(facts(PAIR.replace("no INTEGER", "no TEXT"))) == []
    assert amber(facts(PAIR.replace("no INTEGER", "no INTEGER REFERENCES t"))) == []


def test_a_key_of_real_numbers_is_odd():
    assert amber(facts("CREATE TABLE t (at REAL PRIMARY KEY)")) == ["real_key"]
    assert amber(facts("CREATE TABLE t (at PRIMARY KEY)", rows=1, key=KeyFacts(0, 1))) == [
        "real_key"
    ]


# UNIQUE


def unique(*columns: str | None, sql="CREATE TABLE t (id INTEGER PRIMARY KEY, u, v)", **known):
    return facts(sql, uniques=(UniqueIndex("ix", columns),), **known)


def test_a_unique_value_can_be_made_on_two_devices():
    assert amber(unique("u")) == ["unique_collision"]
    assert amber(unique("u", "v")) == ["unique_collision"]
    assert amber(unique(None)) == ["unique_collision"]


def test_rows_that_differ_in_their_key_cannot_collide_where_the_key_is_part_of_it():
    assert amber(unique("u", "ID")) == []
    pair = "CREATE TABLE t (a TEXT, b TEXT, u, PRIMARY KEY (a, b))"
    assert amber(unique("u", "b", "a", sql=pair)) == []
    assert amber(unique("u", "b", sql=pair)) == ["unique_collision"]


def test_values_that_are_made_to_be_unique_do_not_collide():
    assert amber(unique("u", made=frozenset("u"))) == []
    assert amber(unique("u", "v", made=frozenset("v"))) == []
    named = "CREATE TABLE t (id INTEGER PRIMARY KEY, row_uuid, content_hash)"
    assert amber(unique("row_uuid", sql=named)) == []
    hashes = frozenset(["content_hash"])
    assert amber(unique("content_hash", sql=named, made=hashes)) == ["unique_collision"]


def test_a_partial_index_and_one_of_an_expression_are_named():
    of = facts(uniques=(UniqueIndex("one", ("v",), True), UniqueIndex("low", ("v", None))))
    (table,) = plan({"t": of.found}, Choices()).tables
    found = cautions.noteworthy(of, table, Choices(), frozenset())
    reasons = [f.reason.split(":")[0] for f in found]
    assert reasons == ["UNIQUE (v) (index one, partial)", "UNIQUE of an expression (index low)"]


@pytest.mark.parametrize(
    ("definition", "replaces"),
    [
        ("u UNIQUE ON CONFLICT REPLACE", True),
        ("u unique  on\nconflict /* so */ replace", True),
        ('u, "v w", UNIQUE (u, "v w") ON CONFLICT REPLACE', True),
        ("u NOT NULL ON CONFLICT REPLACE, UNIQUE (u)", False),
        ("u UNIQUE, v DEFAULT 'UNIQUE ON CONFLICT REPLACE'", False),
        ("u UNIQUE -- UNIQUE ON CONFLICT REPLACE\n", False),
    ],
)
def test_a_unique_that_replaces_is_noted(definition, replaces):
    of = unique("u", sql=f"CREATE TABLE t (id INTEGER PRIMARY KEY, {definition})")
    assert ("unique_replaces" in amber(of)) is replaces


# Rows, references


def test_a_row_larger_than_a_server_takes_is_told():
    assert Settings().max_body_bytes == cautions.SERVER_TAKES
    assert amber(facts(largest_row=cautions.SERVER_TAKES)) == []
    assert amber(facts(largest_row=cautions.SERVER_TAKES + 1)) == ["large_row"]


def test_references_to_nothing_are_told():
    tables = found(
        "CREATE TABLE p (id INTEGER PRIMARY KEY)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, p REFERENCES P, q REFERENCES gone (id))",
    )
    child = plan(tables, Choices()).tables[-1]
    (reference,) = (r for r in child.references if r.parent == "p")
    codes = [f.code for f in cautions.broken(child, {reference: 0}, tables)]
    assert codes == ["missing_parent"]
    (_, orphans) = cautions.broken(child, {reference: 2}, tables)
    assert (orphans.code, orphans.columns) == ("orphans", ("p",))
    assert orphans.reason == "2 rows have a p that is in no row of p"


def test_a_reference_in_a_generated_column_cannot_be_translated():
    tables = found(
        "CREATE TABLE p (id INTEGER PRIMARY KEY)",
        "CREATE TABLE t (id TEXT PRIMARY KEY, d, p INTEGER AS (d + 1) REFERENCES p)",
    )
    child = plan(tables, Choices()).tables[-1]
    of = TableFacts(tables["t"])
    assert [f.code for f in cautions.generated(of, child, ["p"])] == ["generated_reference"]
    assert list(cautions.generated(of, child, [])) == []


# Triggers

SYNCED, VIRTUAL = frozenset(["post", "account"]), frozenset(["search"])


def fired(*writes: str, may_refuse=False) -> tuple[str, str]:
    triggers = TableTriggers(("post_ai",), frozenset(writes), may_refuse)
    finding = firing.silent_or_not(triggers, SYNCED, VIRTUAL)
    return finding.level, finding.code


def test_triggers_that_write_to_what_is_not_synced_fire():
    assert fired("audit") == ("amber", "triggers_fire")
    assert fired("audit", "search") == ("amber", "triggers_fire")


def test_a_search_index_that_is_kept_up_needs_no_look():
    assert fired("search") == ("note", "triggers_fire")


def test_triggers_stay_silent_where_what_they_write_comes_with_the_pull():
    assert fired("account") == ("note", "triggers_silent")
    assert fired(may_refuse=True) == ("note", "triggers_silent")


def test_what_silent_triggers_no_longer_keep_up_is_told():
    triggers = TableTriggers(("post_ai", "post_bu"), frozenset(["account", "search"]), False)
    finding = firing.silent_or_not(triggers, SYNCED, VIRTUAL)
    assert (finding.level, finding.code) == ("amber", "triggers_silent")
    assert "triggers post_ai, post_bu stay silent" in finding.reason
    assert """INSERT INTO "search" ("search") VALUES ('rebuild')""" in finding.way_out
    assert fired("audit", may_refuse=True) == ("amber", "triggers_silent")


def test_triggers_that_cannot_be_compiled_are_told():
    finding = firing.silent_or_not(TableTriggers(("x",), None, False), SYNCED, VIRTUAL)
    assert (finding.level, finding.code) == ("amber", "triggers_silent")


# Verdicts and lines

NOTE, AMBER, RED = (Finding(level, "code", f"{level} reason") for level in ("note", "amber", "red"))


def test_the_worst_finding_makes_the_verdict_and_a_note_changes_nothing():
    assert [worst(fs) for fs in ([], [NOTE], [NOTE, AMBER], [RED, AMBER])] == [
        *("green", "green", "amber", "red")
    ]


def checkup(*tables: CheckedTable, **known) -> Checkup:
    fields = {"left_out": (), "findings": (), "init": None} | known
    return Checkup("app.db", False, tables, **fields)


def test_the_verdict_of_a_database_is_its_worst():
    good = CheckedTable("good", False, "local", 1, ())
    assert checkup().verdict == checkup(good).verdict == "green"
    assert checkup(good, replace(good, findings=(RED,))).verdict == "red"
    assert checkup(good, findings=(AMBER,)).verdict == "amber"


def test_people_read_one_line_a_table_with_the_reasons_beneath():
    tables = (
        CheckedTable("gone", False, None, None, (RED,)),
        CheckedTable("b", True, "global", 1, ()),
        CheckedTable("look", False, "local", 2, (NOTE, replace(AMBER, way_out="do so"))),
    )
    printed = list(
        lines(checkup(*tables, left_out=("cache",), init=("syncsession-client", "init", "a b.db")))
    )
    assert printed[0].startswith("\x1b[32mgreen")
    assert [click.unstyle(line) for line in printed] == [
        "green  b     1 row, global key, synced",
        "amber  look  2 rows, local key",
        "       amber reason [code]",
        "       -> do so",
        "       note: note reason [code]",
        "red    gone",
        "       red reason [code]",
        "",
        "app.db is red: 3 tables: 1 green, 1 amber, 1 red",
        "Left out by the options: cache",
        "To set it up as it stands: syncsession-client init 'a b.db'",
    ]


def test_lines_are_wrapped_on_a_terminal():
    finding = replace(AMBER, reason="many words " * 20, way_out="--exclude a-table-with-hyphens")
    printed = list(lines(checkup(CheckedTable("t", False, "local", 1, (finding,))), width=60))
    beneath = [line for line in printed if line.startswith("       ")]
    assert len(beneath) > 4
    assert max(map(len, beneath)) <= 60
