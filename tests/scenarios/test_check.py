"""`check`: what it says of real files, with which exit code, and that it is true."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support import CHINOOK, SECONDS, Device, World, everyone_syncs

from syncsession_client.cli import main
from syncsession_client.protocol.errors import (
    BadRequest,
    OutsideReference,
    UnsyncableValue,
)
from syncsession_client.protocol.tables import MOST_COLUMNS, MOST_NAME


def make(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as db:
        for sql in statements:
            db.execute(sql)
        db.commit()
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def check(path: Path, *options: str) -> tuple[int, dict]:
    """The exit code, and what is printed as JSON."""
    result = run("check", path, "--json", *options)
    assert result.exit_code in (0, 1, 2), result.output
    return result.exit_code, json.loads(result.stdout)


def codes(checked: dict) -> dict[str, list[str]]:
    """The codes of each table that has any."""
    found = {t["name"]: [f["code"] for f in t["findings"]] for t in checked["tables"]}
    return {name: listed for name, listed in found.items() if listed}


def findings(checked: dict, table: str) -> list[dict]:
    (found,) = (t["findings"] for t in checked["tables"] if t["name"] == table)
    return found


@pytest.fixture
def app(tmp_path: Path):
    """Makes a database of these statements."""
    return lambda *statements: make(tmp_path / "app.db", *statements)


ALBUM = "CREATE TABLE album (id INTEGER PRIMARY KEY, title TEXT)"
PHOTO = "CREATE TABLE photo (id INTEGER PRIMARY KEY, album_id INTEGER)"
LOOSE = "CREATE TABLE loose (v)"


# What it says


def test_a_database_as_it_should_be_is_green():
    code, checked = check(CHINOOK)
    assert (code, checked["verdict"], codes(checked)) == (0, "green", {})
    assert len(checked["tables"]) == 11
    assert checked["init"] == ["syncsession-client", "init", str(CHINOOK)]


def test_the_references_of_a_database_are_found_where_they_are_not_declared(tmp_path):
    """Chinook without its foreign keys: every one of them is found, and nothing else.

    SupportRepId only says that it points somewhere, and its values are 3, 4 and 5: any table.
    """
    path, declared = tmp_path / "app.db", set()
    with closing(sqlite3.connect(CHINOOK)) as db, closing(sqlite3.connect(path)) as bare:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = db.execute(f"PRAGMA table_info([{name}])").fetchall()
            key = [c[1] for c in sorted(columns, key=lambda c: c[5]) if c[5]]
            typed = ", ".join(f"[{c[1]}] {c[2]}" for c in columns)
            bare.execute(f"CREATE TABLE [{name}] ({typed}, PRIMARY KEY ({', '.join(key)}))")
            rows = db.execute(f"SELECT * FROM [{name}]").fetchall()
            marks = ", ".join("?" * len(columns))
            bare.executemany(f"INSERT INTO [{name}] VALUES ({marks})", rows)
            for fk in db.execute(f"PRAGMA foreign_key_list([{name}])"):
                declared.add(f"--ref {name}.{fk[3]}={fk[2]}")
        bare.commit()
    code, checked = check(path)
    suggested = {f["way_out"] for t in checked["tables"] for f in t["findings"]}
    assert (code, len(declared)) == (1, 11)
    (unsure,) = suggested - declared
    assert unsure.startswith("--ref Customer.SupportRepId=MediaType or --ref")
    assert (
        declared - suggested
        == {"--ref Customer.SupportRepId=Employee"}
        < set(unsure.removesuffix(", whichever it is").split(" or "))
    )


def test_the_way_out_leads_out(app):
    path = app(
        ALBUM,
        PHOTO,
        LOOSE,
        "CREATE TABLE mixed (id INT PRIMARY KEY)",
        "INSERT INTO mixed VALUES ('a-key-of-text')",
    )
    code, checked = check(path)
    assert code == 2
    assert codes(checked) == {
        "photo": ["undeclared_reference"],
        "loose": ["no_primary_key"],
        "mixed": ["mixed_key"],
    }
    command = checked["init"]
    assert command == [
        *("syncsession-client", "init", str(path), "--exclude", "loose"),
        *("--ref", "photo.album_id=album", "--key", "mixed=global"),
    ]
    code, again = check(path, *command[3:])
    assert (code, codes(again), again["left_out"]) == (0, {}, ["loose"])
    assert sorted(again["init"]) == sorted(command)


def test_everything_that_is_found_has_a_stable_form(app):
    path = app(
        "CREATE TABLE tag (id INTEGER PRIMARY KEY, name TEXT UNIQUE)",
        "INSERT INTO tag (name) VALUES ('a')",
        "CREATE VIRTUAL TABLE search USING fts5 (name)",
    )
    code, checked = check(path)
    assert code == 1
    assert checked == {
        "database": str(path),
        "verdict": "amber",
        "is_initialized": False,
        "tables": [
            {
                "name": "tag",
                "verdict": "amber",
                "is_synced": False,
                "key": "local",
                "rows": 1,
                "findings": [
                    {
                        "level": "amber",
                        "code": "unique_collision",
                        "reason": "UNIQUE (name): two devices can each make a row with the same "
                        "values; the later one becomes the earlier one where keys are local, and "
                        "is refused where not",
                        "way_out": "choose on the server: syncsession-server policy set tag merge "
                        "(or reject) --unique name",
                        "columns": ["name"],
                        "flags": [],
                    }
                ],
            }
        ],
        "left_out": [],
        "findings": [
            {
                "level": "note",
                "code": "virtual_tables",
                "reason": "virtual tables are not synced, and what only they hold stays on this "
                "device: search (fts5)",
                "way_out": "",
                "columns": [],
                "flags": [],
            }
        ],
        "init": ["syncsession-client", "init", str(path)],
    }


def test_people_read_words_and_no_colours_where_there_is_no_terminal(app):
    path = app(ALBUM, PHOTO, LOOSE)
    result = run("check", path)
    assert result.exit_code == 2
    assert result.stdout.splitlines() == [
        "green  album  0 rows, local key",
        "amber  photo  0 rows, local key",
        "       album_id looks like a reference to album that is not declared (by its name; it has "
        "no values yet); on another device its integers may be those of other rows "
        "[undeclared_reference]",
        "       -> --ref photo.album_id=album",
        "red    loose  0 rows",
        "       it has no primary key, so nothing identifies its rows [no_primary_key]",
        "       -> rebuild it with one, as in CREATE TABLE ... (id INTEGER PRIMARY KEY, ...), or "
        "--exclude loose",
        "",
        f"{path} is red: 3 tables: 1 green, 1 amber, 1 red",
        f"To set it up as it stands: syncsession-client init {path} --exclude loose --ref "
        "photo.album_id=album",
    ]


def test_a_database_without_tables_is_red(app):
    code, checked = check(app("PRAGMA user_version = 1"))
    assert (code, checked["tables"], checked["init"]) == (2, [], None)
    assert [f["code"] for f in checked["findings"]] == ["no_tables"]


def test_where_every_table_is_red_there_is_nothing_to_set_up(app):
    code, checked = check(app(LOOSE))
    assert (code, checked["init"]) == (2, None)


def test_named_tables_are_judged_alone(app):
    path = app(ALBUM, LOOSE)
    code, checked = check(path, "--table", "ALBUM")
    assert (code, [t["name"] for t in checked["tables"]]) == (0, ["album"])
    assert checked["init"][3:] == ["--table", "album"]


KINDS = {
    "a text with a broken letter": (
        ["CREATE TABLE t (id TEXT PRIMARY KEY, a, b)"],
        ["INSERT INTO t VALUES ('x', CAST(x'4ae972' AS TEXT), 'ü'), ('y', 'ü', x'e9')"],
        [("not_utf8", ["a"])],
    ),
    "half of a surrogate pair": (
        ["CREATE TABLE t (id TEXT PRIMARY KEY, a)"],
        ["INSERT INTO t VALUES ('x', CAST(x'eda080' AS TEXT))"],
        [("not_utf8", ["a"])],
    ),
    "numbered text keys": (
        ["CREATE TABLE t (no TEXT PRIMARY KEY)"],
        ["INSERT INTO t VALUES ('R-09'), ('R-10'), ('R-11'), ('other')"],
        [("counter_key", ["no"])],
    ),
    "integers in a key of no type": (
        ["CREATE TABLE t (k PRIMARY KEY)"],
        ["INSERT INTO t VALUES (1), (2), (3)"],
        [("counter_key", ["k"])],
    ),
    "uuid keys": (
        ["CREATE TABLE t (k TEXT PRIMARY KEY, u TEXT UNIQUE)"],
        ["INSERT INTO t SELECT hex(randomblob(16)), lower(hex(randomblob(16)))"] * 3,
        [],
    ),
    "random integers": (
        ["CREATE TABLE t (id INTEGER PRIMARY KEY)"],
        ["INSERT INTO t VALUES (-5577006791947779410), (8674665223082153551)"],
        [("key_looks_global", ["id"])],
    ),
    "a partial UNIQUE": (
        [
            "CREATE TABLE t (id INTEGER PRIMARY KEY, u, d)",
            "CREATE UNIQUE INDEX one ON t (u) WHERE d",
        ],
        [],
        [("unique_collision", ["u"])],
    ),
    "rows that reference nothing": (
        [
            "CREATE TABLE p (id INTEGER PRIMARY KEY)",
            "CREATE TABLE t (id INTEGER PRIMARY KEY, p REFERENCES p)",
        ],
        ["INSERT INTO t VALUES (1, 7), (2, NULL)"],
        [("orphans", ["p"])],
    ),
    "keys kept as text": (
        [
            "CREATE TABLE p (id INTEGER PRIMARY KEY)",
            "CREATE TABLE t (id INTEGER PRIMARY KEY, p_id TEXT)",
        ],
        ["INSERT INTO p VALUES (7), (9)", "INSERT INTO t VALUES (1, '7'), (2, '9'), (3, '')"],
        [("undeclared_reference", ["p_id"])],
    ),
    "empty texts for none": (
        [
            "CREATE TABLE p (id INTEGER PRIMARY KEY)",
            "CREATE TABLE t (id INTEGER PRIMARY KEY, p_id TEXT)",
        ],
        ["INSERT INTO t VALUES (1, '')"],
        [("undeclared_reference", ["p_id"])],
    ),
    "zeros and -1 for none": (
        [
            "CREATE TABLE p (id INTEGER PRIMARY KEY)",
            "CREATE TABLE t (id INTEGER PRIMARY KEY, p_id INTEGER)",
        ],
        ["INSERT INTO t VALUES (1, 0), (2, -1)"],
        [("undeclared_reference", ["p_id"])],
    ),
    "16 bytes": (
        ["CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB UNIQUE)"],
        ["INSERT INTO t VALUES (1, randomblob(16)), (2, randomblob(16)), (3, NULL)"],
        [],
    ),
    "15 bytes": (
        ["CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB UNIQUE)"],
        ["INSERT INTO t VALUES (1, randomblob(16)), (2, randomblob(15))"],
        [("unique_collision", ["b"])],
    ),
    "uuids beside a table with integers": (
        [
            "CREATE TABLE p (id INTEGER PRIMARY KEY)",
            "CREATE TABLE t (id INTEGER PRIMARY KEY, p_id TEXT)",
        ],
        ["INSERT INTO p VALUES (7)", "INSERT INTO t VALUES (1, hex(randomblob(16)))"],
        [],
    ),
    "values alone": (
        [
            "CREATE TABLE p (id INTEGER PRIMARY KEY)",
            "CREATE TABLE t (id INTEGER PRIMARY KEY, owner INTEGER, size INTEGER)",
        ],
        [
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30) "
            "INSERT INTO p SELECT i * 7 FROM n",
            "INSERT INTO t SELECT id / 7, id, id + 1 FROM p",
        ],
        [("undeclared_reference", ["owner"])],
    ),
}


@pytest.mark.parametrize("case", KINDS)
def test_what_is_in_the_rows_is_seen(app, case):
    schema, rows, expected = KINDS[case]
    _, checked = check(app(*schema, *rows))
    found = findings(checked, "t")
    assert [(f["code"], f["columns"]) for f in found] == expected
    is_partial = case == "a partial UNIQUE"
    assert any("(index one, partial)" in f["reason"] for f in found) is is_partial


def test_names_of_every_kind_are_taken(app):
    names = ["two words", 'a "quoted" name', "[brackets]", "select", "größe", "a;b--c", "x.y"]
    quoted = ['"' + n.replace('"', '""') + '"' for n in names]
    path = app(
        *(f"CREATE TABLE {q} ({q} INTEGER PRIMARY KEY, v UNIQUE, w REFERENCES {q})" for q in quoted)
    )
    code, checked = check(path)
    assert (code, [t["name"] for t in checked["tables"]]) == (1, names)


# Triggers and search indexes

POST = "CREATE TABLE post (id TEXT PRIMARY KEY, body TEXT)"
SEARCH = "CREATE VIRTUAL TABLE search USING fts5 (body, content='post')"
KEEP = (
    "CREATE TRIGGER keep AFTER INSERT ON post BEGIN "
    "INSERT INTO search (rowid, body) VALUES (new.rowid, new.body); END"
)
AUDIT = "CREATE TABLE audit (id TEXT PRIMARY KEY)"
NOTE_IT = "CREATE TRIGGER note_it AFTER INSERT ON post BEGIN INSERT INTO audit VALUES (new.id); END"
REFUSE = "CREATE TRIGGER refuse BEFORE DELETE ON post BEGIN SELECT RAISE(ABORT, 'no'); END"
FOREIGN = (
    "CREATE TRIGGER own AFTER INSERT ON post BEGIN INSERT INTO audit VALUES (own_function()); END"
)


@pytest.mark.parametrize(
    ("schema", "options", "expected"),
    [
        ([SEARCH, KEEP], [], ("note", "triggers_fire")),
        ([SEARCH], [], ("amber", "index_not_kept")),
        ([SEARCH, KEEP, REFUSE], [], ("amber", "triggers_silent")),
        ([AUDIT, NOTE_IT], [], ("note", "triggers_silent")),
        ([AUDIT, NOTE_IT], ["--exclude", "audit"], ("amber", "triggers_fire")),
        ([REFUSE], [], ("note", "triggers_silent")),
        ([AUDIT, FOREIGN], [], ("amber", "triggers_silent")),
    ],
)
def test_what_the_applications_triggers_will_do_is_told(app, schema, options, expected):
    _, checked = check(app(POST, *schema), *options)
    (found,) = findings(checked, "post")
    assert (found["level"], found["code"]) == expected


# That it is true

MANY = ", ".join(f"c{n}" for n in range(MOST_COLUMNS))


def test_what_it_lets_through_is_taken_by_init_and_by_the_server(world: World, monkeypatch):
    device = world.bare(
        "app.db",
        ALBUM.replace("album", "check_album"),
        "CREATE TABLE check_photo (id INTEGER PRIMARY KEY, check_album_id INTEGER, u TEXT UNIQUE)",
        "INSERT INTO check_album VALUES (3, 'red')",
        "INSERT INTO check_photo VALUES (1, 3, 'x')",
        LOOSE,
        "CREATE TABLE loose_child (id INTEGER PRIMARY KEY, r INTEGER REFERENCES loose (v))",
        "CREATE TABLE loose_grandchild (id INTEGER PRIMARY KEY, r REFERENCES loose_child)",
        f"CREATE TABLE {'x' * (MOST_NAME + 1)} (id INTEGER PRIMARY KEY)",
        "CREATE TABLE holes (id TEXT PRIMARY KEY)",
        "INSERT INTO holes VALUES (NULL)",
    )
    code, checked = check(device.path)
    assert code == 2
    monkeypatch.setenv("SYNCSESSION_TOKEN", world.token)
    result = run(*checked["init"][1:], "--server", world.server.url)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert device.sync().pushed.rows == 2
    other = device.clone("other.db")
    assert other.rows("SELECT check_album_id FROM check_photo") == [(3,)]


@pytest.mark.parametrize(
    ("sql", "code", "error"),
    [
        (
            f"CREATE TABLE {'y' * (MOST_NAME + 1)} (id INTEGER PRIMARY KEY)",
            "name_length",
            BadRequest,
        ),
        (
            f"CREATE TABLE many (id TEXT PRIMARY KEY, {MANY})",
            "too_many_columns",
            BadRequest,
        ),
    ],
)
def test_what_it_says_that_a_server_refuses_is_refused(world: World, sql, code, error):
    device = world.bare("app.db", sql)
    assert [*codes(check(device.path)[1]).values()] == [[code]]
    with pytest.raises(error):
        device.init().sync()


def test_text_that_is_not_utf8_stops_a_push_as_it_says(world: World):
    device = world.bare(
        "app.db",
        "CREATE TABLE check_latin (id TEXT PRIMARY KEY, v)",
        "INSERT INTO check_latin VALUES ('x', CAST(x'e9' AS TEXT))",
    )
    assert codes(check(device.path)[1]) == {"check_latin": ["not_utf8"]}
    with pytest.raises(UnsyncableValue):
        device.init().sync()


def test_a_reference_to_a_table_that_cannot_take_part_stops_init_as_it_says(world: World):
    device = world.bare("app.db", LOOSE, "CREATE TABLE c (id TEXT PRIMARY KEY, r REFERENCES loose)")
    assert codes(check(device.path)[1])["c"] == ["outside_reference"]
    with pytest.raises(OutsideReference):
        device.init()


def test_unique_values_of_two_devices_collide_as_it_says(world: World):
    schema = "CREATE TABLE check_tag (id INTEGER PRIMARY KEY, name TEXT UNIQUE)"
    one, two = (world.bare(name, schema) for name in ("one.db", "two.db"))
    assert codes(check(one.path)[1]) == {"check_tag": ["unique_collision"]}
    for device in (one, two):
        device.init().execute("INSERT INTO check_tag (name) VALUES ('red')")
    everyone_syncs(one, two)
    assert (
        one.rows("SELECT * FROM check_tag") == two.rows("SELECT * FROM check_tag") == [(1, "red")]
    )
    partial = "CREATE UNIQUE INDEX check_one ON check_note (name) WHERE name > ''"
    note = "CREATE TABLE check_note (id INTEGER PRIMARY KEY, name TEXT)"
    three, four = (world.bare(name, note, partial) for name in ("three.db", "four.db"))
    assert codes(check(three.path)[1]) == {"check_note": ["unique_collision"]}
    for device in (three, four):
        device.init().execute("INSERT INTO check_note (name) VALUES ('red'), (NULL)")
    everyone_syncs(three, four)
    for device in (three, four):
        assert device.rows("SELECT name FROM check_note ORDER BY 1") == [(None,), (None,), ("red",)]
        assert "check_note" in device.sync().warnings[0]


def test_keys_that_are_no_integers_change_on_other_devices_as_it_says(world: World):
    device = world.bare(
        "app.db",
        "CREATE TABLE check_mixed (id INT PRIMARY KEY)",
        "INSERT INTO check_mixed VALUES ('text')",
    )
    assert codes(check(device.path)[1]) == {"check_mixed": ["mixed_key"]}
    device.init().sync()
    assert device.clone("other.db").rows("SELECT typeof(id) FROM check_mixed") == [("integer",)]


# A database that is set up


def test_a_database_that_is_set_up_is_checked_with_what_it_was_set_up_with(world: World):
    device = world.bare("app.db", ALBUM, PHOTO)
    assert check(device.path)[0] == 1
    device.init(references=(("photo", "album_id", "album"),))
    code, checked = check(device.path)
    assert (code, checked["is_initialized"], checked["init"]) == (0, True, None)
    assert [t["is_synced"] for t in checked["tables"]] == [True, True]


def test_a_table_that_came_later_is_told_with_the_way_to_take_it_in(world: World):
    device = world.bare("app.db", ALBUM).init()
    device.execute(PHOTO, LOOSE)
    code, checked = check(device.path)
    assert code == 2
    assert {t["name"]: t["is_synced"] for t in checked["tables"]} == {
        "album": True,
        "photo": False,
        "loose": False,
    }
    assert checked["init"][3:] == ["--table", "photo", "--ref", "photo.album_id=album"]
    assert check(device.path, *checked["init"][3:])[0] == 0


def test_a_flag_that_comes_too_late_is_not_given(world: World):
    device = world.bare("app.db", ALBUM, PHOTO).init()
    _, checked = check(device.path)
    (found,) = findings(checked, "photo")
    assert (found["flags"], checked["init"]) == ([], None)
    assert found["way_out"].endswith("so run uninstall before init")
    result = run("check", device.path, "--ref", "photo.album_id=album")
    assert result.exit_code == 3
    assert "[already_initialized]" in result.stderr


def test_a_table_whose_name_begins_as_ours_do_is_told_before_init(app):
    code, checked = check(app(ALBUM, "CREATE TABLE _sync_own (id INTEGER PRIMARY KEY)"))
    assert (code, [f["code"] for f in checked["findings"]]) == (1, ["reserved_name"])


# Where it fails


def failing(*arguments: object) -> str:
    result = run("check", *arguments)
    assert (result.exit_code, result.stdout) == (3, "")
    return result.stderr


def test_what_cannot_be_checked_is_told_from_a_verdict(app, tmp_path):
    assert "[no_such_file]" in failing(tmp_path / "no.db")
    (tmp_path / "text.db").write_text("dear diary\n" * 100)
    assert "[not_a_database]" in failing(tmp_path / "text.db")
    path = app(ALBUM)
    assert "there is no table 'gone'" in failing(path, "--table", "gone")
    assert "[unsyncable]" in failing(
        make(path, "CREATE TABLE word (id TEXT PRIMARY KEY)"), "--key", "word=local"
    )


def test_wrong_usage_is_told_from_a_verdict(app):
    assert "No such option" in failing(app(ALBUM), "--no-such-option")
    assert "Missing argument" in failing()
    assert "is not TABLE=global" in failing(app(), "--key", "album=other")
    assert run("check", "--help").exit_code == 0


def test_the_exit_code_is_that_of_the_process(app):
    for schema, expected in ((ALBUM, 0), (PHOTO, 1), (LOOSE, 2)):
        path = app(schema)
        done = subprocess.run(
            [sys.executable, "-m", "syncsession_client", "check", str(path)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert (done.returncode, done.stderr) == (expected, "")


# That it writes nothing


def listing(directory: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in directory.iterdir() if not p.name.endswith("-shm")}


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_it_leaves_everything_as_it_is(app, journal, tmp_path):
    app(f"PRAGMA journal_mode = {journal}", ALBUM, POST, SEARCH, KEEP)
    before = listing(tmp_path)
    assert check(tmp_path / "app.db")[0] == 0
    assert listing(tmp_path) == before


def test_it_leaves_a_wal_as_it_is_that_a_killed_program_left(app, tmp_path):
    path = app("PRAGMA journal_mode = wal", ALBUM)
    code = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1]); "
        "db.execute('CREATE TABLE loose (v)'); db.commit(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=SECONDS)
    before = listing(tmp_path)
    assert len(before["app.db-wal"]) > 0
    code, checked = check(path)
    assert codes(checked) == {"loose": ["no_primary_key"]}  # it stands in the WAL only
    assert listing(tmp_path) == before


def test_it_sees_what_was_committed_while_a_program_writes(app):
    path = app("PRAGMA journal_mode = wal", ALBUM)
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("INSERT INTO album VALUES (1, 'red')")
        writer.commit()
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO album VALUES (2, 'green')")
        code, checked = check(path)
        assert (code, checked["tables"][0]["rows"]) == (0, 1)
        writer.commit()
    assert check(path)[1]["tables"][0]["rows"] == 2


def test_a_file_that_may_only_be_read_is_checked():
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        path = make(directory / "app.db", LOOSE)
        path.chmod(0o444)
        directory.chmod(0o755)
        # root may write everything, so the command becomes somebody who may not, when all that it
        # imports is there
        command = f"c.main(['check', {str(path)!r}], standalone_mode=False)"
        become = "os.getuid() or os.setuid(65534)"
        code = f"import os, sys, syncsession_client.cli as c; {command}; {become}"
        done = subprocess.run(
            [sys.executable, "-c", f"{code}; print('now'); sys.exit({command})"],
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert (done.returncode, done.stderr) == (2, "")
        assert "no_primary_key" in done.stdout.split("now")[1]


def test_a_copy_of_a_synced_database_is_checked_like_it(world: World, tmp_path):
    device = world.chinook("music.db")
    shutil.copy(device.path, tmp_path / "copy.db")
    code, checked = check(Device(tmp_path / "copy.db", "", "").path)
    assert (code, checked["is_initialized"], codes(checked)) == (0, True, {})
