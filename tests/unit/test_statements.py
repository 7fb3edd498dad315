"""SQL by name: files load, the statements of the client compile, any name can be quoted.

The statements of the server compile in test_dialects.py.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import jinja2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syncsession_client.statements import Statements, load, quote, root

FILES = sorted(p.relative_to(root()).as_posix() for p in root().rglob("*.sql*"))
PLAIN = [path for path in FILES if path.endswith(".sql")]
CLIENT = [path for path in PLAIN if path.startswith("client/")]
TEMPLATES = [path for path in FILES if path.endswith(".j2")]
COMPLETE = ("PRAGMA", "BEGIN", "COMMIT", "ROLLBACK", "VACUUM")
"""How statements begin that EXPLAIN does not take, or that have nothing to name."""

identifiers = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20
)
checked = settings(deadline=None, max_examples=100, derandomize=True, database=None)


def statements() -> Iterator[tuple[str, str]]:
    """(file, name) of every statement of the client that is no template."""
    for path in CLIENT:
        yield from ((path, name) for name in load(path))


class Anything(dict):
    """NULL for every parameter."""

    def __missing__(self, _: str) -> None:
        return None


def test_there_are_files_of_both_kinds_on_both_sides():
    assert {p.split("/")[0] for p in PLAIN} == {p.split("/")[0] for p in TEMPLATES}


@pytest.mark.parametrize("path", FILES)
def test_every_file_loads_and_has_a_statement_for_each_name(path):
    loaded = load(path)
    names = list(loaded)
    assert names
    assert len(set(names)) == len(names)
    assert dir(loaded) == sorted(names)
    text = (root() / path).read_text(encoding="utf-8")
    assert text.count("-- name: ") == len(names)
    for name in names:
        made = getattr(loaded, name)
        assert callable(made) if path in TEMPLATES else made.strip()
        assert getattr(loaded, name) is made


@pytest.mark.parametrize("path", PLAIN)
def test_a_statement_has_neither_its_comments_nor_its_end(path):
    loaded = load(path)
    for name in loaded:
        sql = getattr(loaded, name)
        assert not sql.endswith(";")
        assert "--" not in sql


@pytest.mark.parametrize(("path", "name"), list(statements()))
def test_a_statement_compiles(path, name):
    sql = getattr(load(path), name)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        make_tables(db)
        if sql.startswith(("CREATE", "DROP")):
            with closing(sqlite3.connect(":memory:")) as empty:
                if not sql.startswith("CREATE TABLE"):
                    make_tables(empty)
                empty.execute(sql)
        elif sql.startswith(COMPLETE):
            assert sqlite3.complete_statement(sql + ";")
            assert ";" not in sql
        else:
            assert db.execute(f"EXPLAIN {sql}", Anything()).fetchall()


def make_tables(db: sqlite3.Connection) -> None:
    """The tables that the client's statements name."""
    for path in CLIENT:
        loaded = load(path)
        for name in loaded:
            sql = getattr(loaded, name)
            if sql.startswith("CREATE TABLE"):
                db.execute(sql)


@checked
@given(identifiers)
@example('"')
@example('""')
@example("'; --")
@example("select")
@example("")
@example("[a]")
def test_a_quoted_name_is_that_name_to_sqlite(name):
    with closing(sqlite3.connect(":memory:")) as db:
        assert db.execute(f"SELECT 1 AS {quote(name)}").description[0][0] == name


@checked
@given(identifiers.filter(lambda name: not name.lower().startswith("sqlite_")))
def test_a_table_of_a_quoted_name_has_that_name(name):
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"CREATE TABLE {quote(name)} ({quote('c' + name)})")
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [(name,)]
        assert db.execute(f"SELECT * FROM {quote(name)}").description[0][0] == "c" + name


@checked
@given(identifiers, identifiers)
def test_a_name_with_nul_is_refused(before, after):
    with pytest.raises(ValueError, match="NUL"):
        quote(f"{before}\0{after}")


@pytest.mark.parametrize("path", TEMPLATES)
def test_a_template_with_a_variable_that_is_not_given_raises(path):
    loaded, raised = load(path), 0
    for name in loaded:
        body = loaded._bodies[name]
        if "{{" in body or "{%" in body:
            with pytest.raises(jinja2.UndefinedError):
                getattr(loaded, name)()
            raised += 1
    assert raised


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Makes statements of a text."""

    def write(text: str, name: str = "some.sql.j2", **options: Any) -> Statements:
        (tmp_path / name).write_text(text, encoding="utf-8")
        monkeypatch.setattr("syncsession_client.statements.root", lambda: tmp_path)
        return load(name, **options)

    return write


@pytest.mark.parametrize(
    "body",
    [
        "SELECT {{ x|q }}",
        "SELECT {{ x }}",
        "SELECT 1{% for c in x %}, {{ c|q }}{% endfor %}",
        "SELECT 1{% if x %}, 2{% endif %}",
        "SELECT {{ 'a' ~ x }}",
    ],
)
def test_a_variable_that_is_not_given_raises_wherever_it_stands(written, body):
    made = written(f"-- name: one\n{body};\n")
    with pytest.raises(jinja2.UndefinedError):
        made.one()
    assert made.one(x="a").startswith("SELECT")


def test_an_attribute_of_a_variable_that_is_not_there_raises(written):
    made = written("-- name: one\nSELECT {{ t.missing|q }};\n")
    with pytest.raises(jinja2.UndefinedError):
        made.one(t="a text")


def test_a_name_goes_into_a_template_as_one_name(written):
    made = written("{% macro m(x) %}{{ x|q }}{% endmacro %}\n-- name: one\nSELECT {{ m(x) }};\n")
    assert made.one(x='a"; DROP TABLE t; --') == 'SELECT "a""; DROP TABLE t; --"'
    assert made.one(x="{{ 7 * 7 }}") == 'SELECT "{{ 7 * 7 }}"'


@pytest.mark.parametrize(
    "name", ["a\n-- b\nc", "a\n\nb", "a\n  \nb", "a\r\nb", "a\u2028b", "a\x0bb", "a\n", "end;"]
)
def test_a_name_of_several_lines_stays_whole(written, name):
    made = written("-- name: one\nSELECT 1 AS {{ x|q }};\n")
    with closing(sqlite3.connect(":memory:")) as db:
        assert db.execute(made.one(x=name)).description[0][0] == name


def test_a_name_that_no_statement_has_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"client/state\.sql has no statement 'nothing'"):
        _ = load("client/state.sql").nothing


# Parameters


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT :a, :b_2, f(:a)", "SELECT %(a)s, %(b_2)s, f(%(a)s)"),
        ("VALUES (?, ?)", "VALUES (%s, %s)"),
        ("SELECT :a % 5 %:a", "SELECT %(a)s %% 5 %%%(a)s"),
        ("SELECT 'it''s :a? 5%', :a", "SELECT 'it''s :a? 5%%', %(a)s"),
        ("SELECT '', ':a', ''':a', :a", "SELECT '', ':a', ''':a', %(a)s"),
        ("""SELECT '":a', :a, '"'""", """SELECT '":a', %(a)s, '"'"""),
        ('SELECT ":a ? ""%""", ?', 'SELECT ":a ? ""%%""", %s'),
        ("""SELECT "':a", :a, "'\"""", """SELECT "':a", %(a)s, "'\""""),
        (r"SELECT '\t', '\\', :a", r"SELECT '\t', '\\', %(a)s"),
        ("SELECT '12:30', @@version", "SELECT '12:30', @@version"),
    ],
)
@pytest.mark.parametrize("name", ["some.sql", "some.sql.j2"])
def test_parameters_become_those_of_another_driver(written, name, sql, expected):
    text = f"-- name: one\n{sql};\n"
    for options, wanted in (({"pyformat": True}, expected), ({}, sql)):
        made = written(text, name, **options).one
        assert (made() if name.endswith(".j2") else made) == wanted


def test_a_driver_puts_values_where_they_belong_and_leaves_names_as_they_are(written):
    macro = "{% macro m(x) %}, {{ x|q }}{% endmacro %}\n"
    text = macro + "-- name: one\nSELECT {{ x|q }}, PARAMETER, '%'{{ m(x) }};\n"
    named = written(text.replace("PARAMETER", ":a"), pyformat=True).one
    placed = written(text.replace("PARAMETER", "?"), pyformat=True).one

    @checked
    @given(identifiers)
    @example("%")
    @example("%s")
    @example("%(a)s")
    @example("100%%")
    @example("?")
    @example(":a")
    @example("'")
    @example("\":a, '")
    @example("\\")
    def agree(name: str) -> None:
        quoted = quote(name)
        assert named(x=name) % {"a": "1"} == f"SELECT {quoted}, 1, '%', {quoted}"
        assert placed(x=name) % ("1",) == f"SELECT {quoted}, 1, '%', {quoted}"

    agree()


def test_a_name_is_itself_to_a_driver_that_is_given_no_values(written):
    render = written("-- name: one\nSELECT {{ x|q }};\n", pyformat=True).one

    @checked
    @given(identifiers)
    @example("%(a)s %s :a ? %")
    def agree(name: str) -> None:
        assert render(x=name) % {} == f"SELECT {quote(name)}"

    agree()
