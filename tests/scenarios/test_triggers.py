"""The application's own triggers, when a pull is applied."""

from support import World, everyone_syncs

POST = "CREATE TABLE post (id TEXT PRIMARY KEY, body TEXT)"
SEARCH = (
    "CREATE VIRTUAL TABLE post_search USING fts5 (body, content='post')",
    "CREATE TRIGGER post_ai AFTER INSERT ON post BEGIN "
    "INSERT INTO post_search (rowid, body) VALUES (new.rowid, new.body); END",
    "CREATE TRIGGER post_ad AFTER DELETE ON post BEGIN "
    "INSERT INTO post_search (post_search, rowid, body) "
    "VALUES ('delete', old.rowid, old.body); END",
    "CREATE TRIGGER post_au AFTER UPDATE ON post BEGIN "
    "INSERT INTO post_search (post_search, rowid, body) VALUES ('delete', old.rowid, old.body); "
    "INSERT INTO post_search (rowid, body) VALUES (new.rowid, new.body); END",
)
ACCOUNT = "CREATE TABLE account (id TEXT PRIMARY KEY, balance INTEGER)"
ENTRY = "CREATE TABLE entry (id TEXT PRIMARY KEY, account TEXT REFERENCES account, amount INTEGER)"
BALANCE = (
    "CREATE TRIGGER entry_ai AFTER INSERT ON entry BEGIN "
    "UPDATE account SET balance = balance + new.amount WHERE id = new.account; END"
)


def found(device, word: str) -> list[str]:
    sql = "SELECT p.id FROM post_search AS s JOIN post AS p ON p.rowid = s.rowid "
    return [row[0] for row in device.rows(f"{sql} WHERE s.body MATCH '{word}' ORDER BY 1")]


def test_a_search_index_kept_by_triggers_knows_the_rows_that_were_pulled(world: World):
    a = world.device("a.db", POST, *SEARCH)
    b = world.device("b.db", POST, *SEARCH)
    a.execute("INSERT INTO post VALUES ('1', 'red apple'), ('2', 'green pear')")
    a.sync()
    b.pull()
    assert b.dirty("post") == []  # ours were suppressed while the application's ran
    assert found(b, "pear") == ["2"]
    a.execute("UPDATE post SET body = 'red pear' WHERE id = '1'", "DELETE FROM post WHERE id = '2'")
    everyone_syncs(a, b)
    assert (found(b, "apple"), found(b, "pear")) == ([], ["1"])
    b.execute("INSERT INTO post_search (post_search) VALUES ('integrity-check')")
    assert b.dirty("post") == []


def test_a_trigger_that_writes_to_a_synced_table_does_not_count_twice(world: World):
    a = world.device("a.db", ACCOUNT, ENTRY, BALANCE)
    b = world.device("b.db", ACCOUNT, ENTRY, BALANCE)
    a.execute("INSERT INTO account VALUES ('x', 0)")
    everyone_syncs(a, b)
    a.execute("INSERT INTO entry VALUES ('e1', 'x', 5), ('e2', 'x', 7)")
    everyone_syncs(a, b)
    assert a.rows("SELECT * FROM account") == b.rows("SELECT * FROM account") == [("x", 12)]
    assert b.dirty("account") == []
    b.execute("INSERT INTO entry VALUES ('e3', 'x', 1)")
    everyone_syncs(b, a)
    assert a.rows("SELECT balance FROM account") == [(13,)]


def test_a_trigger_that_refuses_rows_does_not_block_a_pull(world: World):
    memo = "CREATE TABLE memo (id TEXT PRIMARY KEY, v)"
    refuse = (
        "CREATE TRIGGER memo_bi BEFORE INSERT ON memo WHEN new.v > 9 BEGIN "
        "SELECT RAISE(ABORT, 'too large'); END"
    )
    a = world.device("a.db", memo)
    b = world.device("b.db", memo, refuse)
    a.execute("INSERT INTO memo VALUES ('x', 10)")
    everyone_syncs(a, b)
    assert b.rows("SELECT * FROM memo") == [("x", 10)]
