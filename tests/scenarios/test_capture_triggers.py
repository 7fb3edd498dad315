"""The application's own triggers beside ours."""

import pytest
from schemas import KEYS


def test_an_applications_own_triggers_see_what_they_saw_before(pair):
    p = pair(
        "CREATE TABLE t (k INTEGER PRIMARY KEY, v)",
        "CREATE TABLE audit (n INTEGER PRIMARY KEY, what, key, rowid_then, changes_then)",
        "CREATE TRIGGER a AFTER INSERT ON t BEGIN INSERT INTO audit VALUES (NULL, 'i', new.k, "
        "last_insert_rowid(), changes()); END",
        "CREATE TRIGGER b BEFORE UPDATE ON t BEGIN INSERT INTO audit VALUES (NULL, 'u', old.k, "
        "last_insert_rowid(), changes()); END",
        "CREATE TRIGGER c AFTER DELETE ON t BEGIN INSERT INTO audit VALUES (NULL, 'd', old.k, "
        "last_insert_rowid(), changes()); END",
        "CREATE TRIGGER d BEFORE INSERT ON t WHEN new.v = 'skip' BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TRIGGER e AFTER INSERT ON t WHEN new.v = 'undo' "
        "BEGIN SELECT RAISE(ABORT, 'no'); END",
        "CREATE VIEW w AS SELECT k, v FROM t",
        "CREATE TRIGGER f INSTEAD OF INSERT ON w BEGIN INSERT INTO t VALUES (new.k, new.v); END",
    )
    p.run(
        "INSERT INTO t VALUES (41, 0)",
        "INSERT INTO t VALUES (42, 0), (7, 0)",
        "UPDATE t SET v = 1 WHERE k < 42",
        "INSERT INTO t VALUES (50, 'skip'), (51, 0)",
        "INSERT INTO t VALUES (60, 'undo')",
        "INSERT INTO w VALUES (70, 0)",
        "DELETE FROM t WHERE k = 41",
    )
    assert p.dirty("t") == [(7, 0), (42, 0), (51, 0), (70, 0)]
    assert len(p.dirty("audit")) == p.twin.value("SELECT count(*) FROM audit")


@KEYS
def test_an_edit_that_a_trigger_of_the_application_calls_off_is_not_captured(pair, schema):
    p = pair(
        schema,
        *(
            f"CREATE TRIGGER no_{event} BEFORE {event} ON t BEGIN SELECT RAISE(IGNORE); END"
            for event in ("INSERT", "UPDATE", "DELETE")
        ),
        "DROP TRIGGER no_INSERT",
        "INSERT INTO t VALUES (1, 'a')",
        "CREATE TRIGGER no_INSERT BEFORE INSERT ON t BEGIN SELECT RAISE(IGNORE); END",
    )
    p.settle("t")
    p.run(
        "INSERT INTO t VALUES (2, 0)", "UPDATE t SET v = 1", "UPDATE t SET k = 3", "DELETE FROM t"
    )
    assert len(p.twin.rows("SELECT * FROM t")) == 1
    assert p.device.value("SELECT count(*) FROM _sync_t_log") == 0
    assert p.dirty("t") == []


# Which trigger fires first is not defined; as SQLite is, the one that was made last.
AGAIN = {
    "deletes what was inserted": (
        "CREATE TRIGGER again AFTER INSERT ON t WHEN new.w = 'go' "
        "BEGIN DELETE FROM t WHERE k = new.k; END",
        "INSERT INTO t VALUES (9, 9, 'go')",
        [],
    ),
    "inserts what was deleted": (
        "CREATE TRIGGER again AFTER DELETE ON t "
        "BEGIN INSERT INTO t VALUES (old.k, old.v, 'back'); END",
        "DELETE FROM t WHERE k = 1",
        [(1, 0, 1, "back")],
    ),
    "updates what was inserted": (
        "CREATE TRIGGER again AFTER INSERT ON t "
        "BEGIN UPDATE t SET w = new.w || '!' WHERE k = new.k; END",
        "INSERT INTO t VALUES (9, 9, 'go')",
        [(9, 0, 9, "go!")],
    ),
    "updates what was updated": (
        "CREATE TRIGGER again AFTER UPDATE OF v ON t "
        "BEGIN UPDATE t SET w = new.v WHERE k = new.k; END",
        "UPDATE t SET v = 5 WHERE k = 1",
        [(1, 0, 5, 5)],
    ),
}


@pytest.mark.parametrize("made", ["before init", "after init"])
@pytest.mark.parametrize("what", AGAIN)
@pytest.mark.parametrize("key", ["TEXT", "INTEGER"])
def test_a_row_that_a_trigger_writes_again_is_sent_as_it_is(pair, what, made, key):
    trigger, statement, expected = AGAIN[what]
    schema = (
        f"CREATE TABLE t (k {key} PRIMARY KEY, v UNIQUE, w)",
        "INSERT INTO t VALUES (1, 1, 0), (2, 2, 0), (3, 3, 0)",
    )
    p = pair(*schema, *([trigger] if made == "before init" else []))
    p.agree()
    p.run(*([trigger] if made == "after init" else []), statement)
    # REPLACE removes a row that no trigger saw: the counts alone would not show a row too many.
    p.run("REPLACE INTO t VALUES (7, 3, 'new')")
    assert [r for r in p.sent("t") if r[0] not in (3, 7, "3", "7")] == [
        (str(k) if key == "TEXT" else k, *rest) for k, *rest in expected
    ]


@pytest.mark.parametrize("made", ["before init", "after init"])
def test_a_key_that_a_trigger_writes_in_another_way_is_sent_as_it_is(pair, made):
    trigger = (
        "CREATE TRIGGER again AFTER INSERT ON t "
        "BEGIN UPDATE t SET k = upper(new.k) WHERE k = new.k; END"
    )
    schema = "CREATE TABLE t (k TEXT PRIMARY KEY COLLATE NOCASE, v)"
    p = pair(schema, *([trigger] if made == "before init" else []))
    p.agree()
    p.run(*([trigger] if made == "after init" else []), "INSERT INTO t VALUES ('a', 1)")
    assert p.sent("t") == [("A", 0, 1)]


LEDGER = (
    "CREATE TABLE account (id TEXT PRIMARY KEY, balance INT DEFAULT 0, entries INT DEFAULT 0)",
    "CREATE TABLE entry (id INTEGER PRIMARY KEY, account TEXT REFERENCES account, amount INT)",
    "CREATE TABLE day (account TEXT, day INT, total INT, PRIMARY KEY (account, day))",
    "INSERT INTO account (id) VALUES ('a'), ('b'), ('c')",
)
KEEPING = (
    "CREATE TRIGGER opens BEFORE INSERT ON entry BEGIN "
    "INSERT OR IGNORE INTO account (id) VALUES (new.account); END",
    "CREATE TRIGGER counts BEFORE INSERT ON entry BEGIN "
    "UPDATE account SET entries = entries + 1 WHERE id = new.account; END",
    "CREATE TRIGGER adds AFTER INSERT ON entry BEGIN "
    "UPDATE account SET balance = balance + new.amount WHERE id = new.account; "
    "INSERT OR REPLACE INTO day VALUES (new.account, new.id % 7, new.amount); END",
    "CREATE TRIGGER corrects AFTER UPDATE OF amount ON entry BEGIN "
    "UPDATE account SET balance = balance + new.amount - old.amount WHERE id = new.account; END",
    "CREATE TRIGGER closes BEFORE DELETE ON account BEGIN "
    "DELETE FROM day WHERE account = old.id; DELETE FROM entry WHERE account = old.id; END",
)


@pytest.mark.parametrize("made", ["before init", "after init"])
@pytest.mark.parametrize("recursive", ["OFF", "ON"])
def test_what_a_trigger_writes_to_other_synced_tables_is_sent(pair, made, recursive):
    p = pair(*LEDGER, *(KEEPING if made == "before init" else ()))
    p.agree()
    p.pragmas = (f"recursive_triggers = {recursive}",)
    p.run(
        *(KEEPING if made == "after init" else ()),
        "INSERT INTO entry VALUES (1, 'a', 5), (2, 'new', 7), (8, 'a', 1)",
        "UPDATE entry SET amount = 6 WHERE id = 1",
        "INSERT OR REPLACE INTO entry VALUES (2, 'new', 8)",
        "INSERT OR IGNORE INTO entry VALUES (1, 'b', 5)",
        "INSERT INTO entry VALUES (1, 'b', 5)",
    )
    assert [row[:2] for row in p.sent("account")] == [("a", 0), ("b", 0), ("new", 0)]
    assert p.sent("day") == [("a", 1, 0, 1), ("new", 2, 0, 8)]
    p.agree()
    p.run("DELETE FROM account WHERE id = 'a'", "DELETE FROM account WHERE id = 'c'")
    assert p.sent("account") == [("a", 1), ("c", 1)]
    assert p.sent("entry") == [(1, 1), (8, 1)]
    assert p.sent("day") == [("a", 1, 1)]


@pytest.mark.parametrize("made", ["before init", "after init"])
def test_what_a_trigger_that_sets_itself_off_writes_is_sent(pair, made):
    trigger = (
        "CREATE TRIGGER fills AFTER INSERT ON t WHEN new.k < 5 BEGIN "
        "INSERT INTO t VALUES (new.k + 1, new.v || '+'); END"
    )
    p = pair("CREATE TABLE t (k INTEGER PRIMARY KEY, v)", *([trigger] * (made == "before init")))
    p.agree()
    p.pragmas = ("recursive_triggers = ON",)
    p.run(*([trigger] * (made == "after init")), "INSERT INTO t VALUES (2, 'v')")
    assert p.sent("t") == [(2, 0, "v"), (3, 0, "v+"), (4, 0, "v++"), (5, 0, "v+++")]


VIEW = (
    "CREATE VIEW w AS SELECT k AS name, upper(v) AS shouted FROM t WHERE v IS NOT NULL",
    "CREATE TRIGGER w_i INSTEAD OF INSERT ON w BEGIN "
    "INSERT INTO t VALUES (new.name, lower(new.shouted)); END",
    "CREATE TRIGGER w_u INSTEAD OF UPDATE ON w BEGIN "
    "UPDATE t SET k = new.name, v = lower(new.shouted) WHERE k = old.name; END",
    "CREATE TRIGGER w_d INSTEAD OF DELETE ON w BEGIN "
    "UPDATE t SET v = NULL WHERE k = old.name AND v = 'keep'; "
    "DELETE FROM t WHERE k = old.name AND v IS NOT NULL; END",
)


@pytest.mark.parametrize("made", ["before init", "after init"])
@KEYS
def test_what_is_written_through_a_view_is_sent(pair, schema, made):
    rows = "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'keep'), (4, 'd')"
    p = pair(schema, rows, *(VIEW if made == "before init" else ()))
    p.agree()
    p.run(
        *(VIEW if made == "after init" else ()),
        "INSERT INTO w VALUES (9, 'NEW'), (8, 'NEWER')",
        "INSERT INTO w VALUES (9, 'NEW')",
        "INSERT OR REPLACE INTO w VALUES (1, 'AGAIN')",
        "UPDATE w SET shouted = 'LOUD' WHERE name = 2",
        "UPDATE w SET name = 7 WHERE name = 8",
        "DELETE FROM w WHERE name IN (3, 4)",
    )
    sent = [(int(key), *rest) for key, *rest in p.sent("t")]
    live = [(1, 0, "again"), (2, 0, "loud"), (3, 0, None), (4, 1), (7, 0, "newer"), (9, 0, "new")]
    assert sent == live


SEARCHED = (
    "CREATE TABLE post (id INTEGER PRIMARY KEY, body TEXT)",
    "CREATE VIRTUAL TABLE search USING fts5 (body, content='post', content_rowid='id')",
    "CREATE TRIGGER post_ai AFTER INSERT ON post BEGIN "
    "INSERT INTO search (rowid, body) VALUES (new.id, new.body); END",
    "CREATE TRIGGER post_ad AFTER DELETE ON post BEGIN "
    "INSERT INTO search (search, rowid, body) VALUES ('delete', old.id, old.body); END",
    "CREATE TRIGGER post_au AFTER UPDATE ON post BEGIN "
    "INSERT INTO search (search, rowid, body) VALUES ('delete', old.id, old.body); "
    "INSERT INTO search (rowid, body) VALUES (new.id, new.body); END",
)


@pytest.mark.parametrize("made", ["before init", "after init"])
def test_a_table_with_a_search_index_is_sent_and_the_index_is_not(pair, made):
    before = SEARCHED if made == "before init" else SEARCHED[:1]
    p = pair(*before, "INSERT INTO post VALUES (1, 'red apple'), (2, 'green pear')")
    p.agree()
    p.pragmas = ("recursive_triggers = ON",)  # without it REPLACE leaves such an index wrong
    p.run(
        *SEARCHED[len(before) :],
        "INSERT INTO search (search) VALUES ('rebuild')",
        "INSERT INTO post (body) VALUES ('blue plum'), ('red plum')",
        "UPDATE post SET body = 'yellow pear' WHERE id = 2",
        "UPDATE post SET id = 20 WHERE id = 2",
        "REPLACE INTO post VALUES (1, 'brown apple')",
        "DELETE FROM post WHERE body = 'blue plum'",
        "SELECT rowid FROM search WHERE search MATCH 'pear OR red OR apple' ORDER BY rowid",
        "INSERT INTO search (search) VALUES ('integrity-check')",
        "INSERT INTO search (search) VALUES ('optimize')",
        "SELECT * FROM search_data",
    )
    # The trigger writes within REPLACE, which then cannot be told from a deletion and an insertion.
    assert p.sent("post") == [
        *((1, 0, "brown apple"), (1, 1)),
        *((20, 0, "yellow pear"), (4, 0, "red plum")),
    ]
    log = "SELECT count(*) FROM sqlite_master WHERE name LIKE '\\_sync\\_search%' ESCAPE '\\'"
    assert p.device.value(log) == 0
