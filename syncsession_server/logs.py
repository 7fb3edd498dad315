"""Logs: one line a message on stderr, for people or as JSON, with the ids of what it is about.

Modules log by `logging.getLogger(__name__)`, values in `extra`; `about` says what the lines inside
it are about. Without `configure` they end where the program's own logging sends them.
"""

import json
import logging
import re
import sys
from contextlib import AbstractContextManager
from typing import Any, TextIO

import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.stdlib import ExtraAdder, ProcessorFormatter

Event = structlog.typing.EventDict

_SECRETS = re.compile(
    r"""(?ix)
    (\bbearer\s+)[^\s"',;]+         # a token where it travels
    | (\bsst_)[\w-]+                # one of ours anywhere
    | (\beyJ)[\w-]+\.[\w-]+\.[\w-]* # a JSON web token anywhere
    | (://[^\s/:@]*:)[^\s"']+(?=@)  # the password of a URL
    """
)
_BARE = re.compile(r"[^\s\"'=\\\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def configure(level: str, log_format: str) -> None:
    """Send everything that this process logs, Python's warnings too, to stderr."""
    logging.captureWarnings(True)
    logging.basicConfig(level=level.upper(), handlers=[handler(sys.stderr, log_format)], force=True)


def handler(stream: TextIO, log_format: str) -> logging.Handler:
    """What writes `text` or `json` lines to a stream, secrets left out."""
    made = logging.StreamHandler(stream)
    made.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[
                ExtraAdder(),
                merge_contextvars,
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[
                ProcessorFormatter.remove_processors_meta,
                # Not rich's and not structlog's own: those show local variables, tokens among them.
                structlog.processors.format_exc_info,
                {"json": _as_json, "text": _as_text}[log_format],
                _without_secrets,
            ],
        )
    )
    return made


def about(**ids: str) -> AbstractContextManager[None]:
    """What is logged inside is about these; tasks that are begun inside take them along."""
    return bound_contextvars(**ids)


def _as_json(_: Any, __: str, event: Event) -> str:
    return json.dumps(event, default=repr, ensure_ascii=False)


def _as_text(_: Any, __: str, event: Event) -> str:
    """`time LEVEL logger: message key=value …`, and a traceback below."""
    head = (event.pop(name) for name in ("timestamp", "level", "logger"))
    time, level, logger = (str(part) for part in head)
    trace = event.pop("exception", None)
    message = _one_line(str(event.pop("event")))
    values = [f"{name}={_value(value)}" for name, value in event.items()]
    line = " ".join([time, level.upper(), f"{logger}:", message, *values])
    return f"{line}\n{trace}" if trace else line


def _one_line(text: str) -> str:
    """The text with what could begin another line, or steer a terminal, written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)


def _without_secrets(_: Any, __: str, line: Any) -> str:
    """The last look: nothing logs a secret, and a driver's error may yet quote one."""
    return _SECRETS.sub(lambda found: f"{next(filter(None, found.groups()))}***", line)
