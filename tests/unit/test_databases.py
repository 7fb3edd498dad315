"""Database URLs: what they name, and that no message about one holds its password."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncsession_client.protocol.errors import InvalidSetting
from syncsession_server.databases import MysqlUrl, SqliteUrl, parse

HIDDEN = "hunter2secret"


def mysql(**parts) -> MysqlUrl:
    usual = {"host": "db", "port": 3306, "user": "sync", "password": "", "name": "rows"}
    return MysqlUrl(**usual | parts)


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("sqlite:///rows.db", SqliteUrl("rows.db")),
        ("sqlite:////var/lib/rows.db", SqliteUrl("/var/lib/rows.db")),
        ("sqlite:///50%25 ?#.db", SqliteUrl("50%25 ?#.db")),
        ("mysql://sync@db/rows", mysql()),
        ("mariadb://sync@db/rows", mysql()),
        ("mysql://sync:pw@db:3307/rows", mysql(password="pw", port=3307)),
        ("mysql://s%40x:p%3A%2F%40%25@db/r%C3%A4", mysql(user="s@x", password="p:/@%", name="rä")),
        ("mysql://sync:a:b@db/rows", mysql(password="a:b")),
        ("mysql://sync@[::1]:3306/rows", mysql(host="::1")),
        (
            "mysql://sync@/rows?unix_socket=/run/my%20sql.sock",
            mysql(host="localhost", unix_socket="/run/my sql.sock"),
        ),
        ("mysql://sync@db/rows?tls=required", mysql(tls="required")),
        ("mysql://sync@db/rows?tls=verify-full", mysql(tls="verify-full")),
        ("mysql://sync@db/rows?tls_ca=/ca.pem", mysql(tls="verify-full", tls_ca="/ca.pem")),
        (
            "mysql://sync@db/rows?tls=required&tls_cert=c.pem&tls_key=k.pem",
            mysql(tls="required", tls_cert="c.pem", tls_key="k.pem"),
        ),
    ],
)
def test_a_url_names_what_it_says(url, meant):
    assert parse(url) == meant


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "must be sqlite:///path or mysql"),
        (f"postgres://sync:{HIDDEN}@db/rows", "must be sqlite:///path or mysql"),
        (f"sync:{HIDDEN}@db/rows", "must be sqlite:///path or mysql"),
        ("sqlite://rows.db", "must be sqlite:///path or mysql"),
        ("sqlite:///", "names no file"),
        ("sqlite:///a\0b", "names no file"),
        (f"mysql://:{HIDDEN}@db/rows", "names no user"),
        ("mysql://db/rows", "names no user"),
        (f"mysql://sync:{HIDDEN}@/rows", "names no host"),
        (f"mysql://sync:{HIDDEN}@db", "must name one database"),
        (f"mysql://sync:{HIDDEN}@db/", "must name one database"),
        (f"mysql://sync:{HIDDEN}@db/rows/more", "must name one database"),
        (f"mysql://sync:{HIDDEN}@db:0/rows", "has port 0"),
        (f"mysql://sync:{HIDDEN}@db:99999/rows", "host or port that cannot be read"),
        (f"mysql://sync:{HIDDEN}@db:x/rows", "host or port that cannot be read"),
        (f"mysql://sync:{HIDDEN}@[db/rows", "host or port that cannot be read"),
        (f"mysql://sync:{HIDDEN}℀@db/rows", "host or port that cannot be read"),
        (f"mysql://sync:a/{HIDDEN}@db/rows", "host or port that cannot be read"),
        (f"mysql://sync:1/{HIDDEN}@db/rows", "names no user"),
        (f"mysql://sync:1#{HIDDEN}@db/rows", "has a # in it"),
        (f"mysql://sync:1?{HIDDEN}@db/rows", "each once and not empty"),
        (f"mysql://sync:{HIDDEN}%@db/rows", "password that is not percent-encoded"),
        (f"mysql://sync:{HIDDEN}%ff@db/rows", "password that is not percent-encoded"),
        (f"mysql://sync:{HIDDEN}%00@db/rows", "password that is not percent-encoded"),
        (f"mysql://sync:{HIDDEN} @db/rows", "holds a space"),
        (f"mysql://sync:{HIDDEN}\n@db/rows", "holds a space or a control character"),
        (f"mysql://s%zz:{HIDDEN}@db/rows", "user that is not percent-encoded"),
        (f"mysql://sync:{HIDDEN}@db/r%zz", "name of the database that is not percent-encoded"),
        (f"mysql://sync:{HIDDEN}@db/rows?charset=utf8", "unix_socket, tls, tls_ca"),
        (f"mysql://sync:{HIDDEN}@db/rows?tls=off&tls=off", "each once and not empty"),
        (f"mysql://sync:{HIDDEN}@db/rows?tls=", "each once and not empty"),
        (f"mysql://sync:{HIDDEN}@db/rows?tls=maybe", "another tls than off, required, verify-full"),
        (f"mysql://sync:{HIDDEN}@db/rows?tls=required&tls_ca=a", "tls=verify-full only"),
        (f"mysql://sync:{HIDDEN}@db/rows?tls_ca=a&tls_cert=b", "come together"),
        (f"mysql://sync:{HIDDEN}@db/rows?tls_cert=a&tls_key=b", "has a tls_cert, which is of use"),
        (f"mysql://sync:{HIDDEN}@db/rows?unix_socket=/s&tls=required", "TLS on a unix_socket"),
    ],
)
def test_what_is_wrong_with_a_url_is_told_without_its_password(url, told):
    with pytest.raises(InvalidSetting) as caught:
        parse(url)
    assert told in str(caught.value)
    shown = f"{caught.value!r} {caught.value.__cause__!r}"
    assert HIDDEN not in shown
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(st.text(max_size=40))
def test_no_url_whatever_is_more_than_an_invalid_setting(text):
    for url in (text, f"mysql://{text}", f"mysql://u:p@h/n?{text}", f"sqlite:///{text}"):
        try:
            parse(url)
        except InvalidSetting:
            continue


def test_a_label_tells_databases_apart_and_holds_no_password():
    found = parse(f"mysql://s%40x:{HIDDEN}@[::1]:3307/rows?tls=required")
    assert found.label == "mysql://s%40x@[::1]:3307/rows"
    assert HIDDEN not in repr(found)
    assert parse("sqlite:////rows.db").label == "/rows.db"
