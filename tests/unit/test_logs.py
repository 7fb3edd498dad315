"""Logs: a line a message, for people and for machines, and never a secret in one."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from syncsession_server import logs

LOCAL = "hunter2secret"
TOKEN = f"sst_{'aB3-_' * 8}"


@contextmanager
def logging_to(log_format: str) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger of our own, and what it has written."""
    stream, logger = io.StringIO(), logging.getLogger("syncsession_test")
    handler = logs.handler(stream, log_format)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield logger, stream
    finally:
        logger.removeHandler(handler)
        handler.close()


def test_a_json_line_is_one_object_with_the_message_the_values_and_the_ids():
    with logging_to("json") as (logger, stream), logs.about(request_id="r1", tenant_id="acme"):
        logger.warning("%s waits\nlong", "commit", extra={"seconds": 0.5, "rows": 3})
    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "commit waits\nlong",
        "level": "warning",
        "logger": "syncsession_test",
        "seconds": 0.5,
        "rows": 3,
        "request_id": "r1",
        "tenant_id": "acme",
    }


def test_a_text_line_is_readable_and_stays_one_line():
    with logging_to("text") as (logger, stream), logs.about(tenant_id="acme"):
        logger.info("two\nlines\x1b[31m", extra={"path": "/a b", "name_of": 'x"\n', "rows": 3})
    time, rest = stream.getvalue().split(" ", 1)
    assert time.endswith("Z")
    assert rest == (
        r"INFO syncsession_test: two\nlines\x1b[31m "
        r'path="/a b" name_of="x\"\n" rows=3 tenant_id=acme' + "\n"
    )


def test_what_is_logged_after_is_about_nothing_any_more():
    with logging_to("json") as (logger, stream):
        with logs.about(tenant_id="acme"):
            pass
        logger.info("later")
    assert "tenant_id" not in json.loads(stream.getvalue())


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_traceback_is_logged_without_the_values_of_variables(log_format):
    def identify(token: str) -> None:
        raise ZeroDivisionError("a fault")

    with logging_to(log_format) as (logger, stream):
        try:
            identify(LOCAL)
        except ZeroDivisionError:
            logger.exception("it failed")
    assert "ZeroDivisionError: a fault" in stream.getvalue()
    assert "in identify" in stream.getvalue()
    assert LOCAL not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"Authorization: Bearer {TOKEN}", TOKEN),
        ("{'Authorization': 'bearer aaa.bbb'}", "aaa.bbb"),
        (f"token is {TOKEN}.", TOKEN),
        ("claims of eyJhbGciOiJ9.eyJzdWIiOiIx.c2ln", "eyJzdWIiOiIx"),
        ("mysql://sync:hunter2secret@db/rows", "hunter2secret"),
        ("mysql://sync:hunter@2secret@db/rows", "2secret"),
    ],
)
def test_a_secret_that_a_message_quotes_is_not_logged(log_format, text, secret):
    with logging_to(log_format) as (logger, stream):
        logger.error(text, extra={"also": text})
        try:
            raise ValueError(text)
        except ValueError:
            logger.exception("quoted")
    assert secret not in stream.getvalue()
    assert stream.getvalue().count("***") == 3


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_everything_that_the_process_says_goes_through_it(monkeypatch, log_format):
    root, stream = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr("sys.stderr", stream)
    logging.captureWarnings(False)
    try:
        logs.configure("warning", log_format)
        logging.getLogger("aiohttp.server").warning("of a library")
        logging.getLogger("asyncio").info("too little to tell")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("of Python", stacklevel=1)
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = before
        root.setLevel(level)
    assert [w in stream.getvalue() for w in ("of a library", "of Python", "too little")] == [
        True,
        True,
        False,
    ]
