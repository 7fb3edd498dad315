"""The control messages that a device sends, checked at the door."""

from collections.abc import Mapping
from typing import Any

import msgspec
from marshmallow import Schema, ValidationError, fields, post_load, validate

from syncsession_client.protocol.errors import BadRequest
from syncsession_client.protocol.session_set import SessionSet
from syncsession_client.protocol.tables import MOST_COLUMNS, MOST_NAME, MOST_TABLES, Table

_AFFINITIES = ("integer", "real", "text", "blob", "numeric")
_COLLATIONS = ("BINARY", "NOCASE", "RTRIM")
_MOST_ROWS = 10**12
_MOST_DEFAULT = 1000
_INT64 = range(-(2**63), 2**63)


def _no_nul(name: str) -> None:
    if "\0" in name:
        raise ValidationError("A name cannot hold NUL.")


def _is_literal(value: Any) -> None:
    is_integer = type(value) is int and value in _INT64
    is_text = type(value) is str and len(value) <= _MOST_DEFAULT
    if not (value is None or is_integer or is_text or type(value) is float):
        raise ValidationError("A default is a number of 64 bits, or a short text.")


def _name() -> fields.String:
    return fields.String(required=True, validate=[validate.Length(1, MOST_NAME), _no_nul])


def _names(*, least: int = 0) -> fields.List[str]:
    inner = fields.String(validate=[validate.Length(1, MOST_NAME), _no_nul])
    return fields.List(inner, validate=validate.Length(least, MOST_COLUMNS))


def _text() -> fields.String:
    return fields.String(validate=validate.Length(max=1_000_000))


def _sessions(**options: Any) -> fields.List[Any]:
    pair: fields.Field[Any] = fields.List(
        fields.Integer(strict=True), validate=validate.Length(equal=2)
    )
    return fields.List(pair, validate=validate.Length(max=100_000), **options)


def _session_set(ranges: list[list[int]] | None, name: str) -> SessionSet | None:
    try:
        return None if ranges is None else SessionSet.from_wire(ranges)
    except ValueError as error:
        raise ValidationError(str(error), name) from error


class ColumnSchema(Schema):
    """One column of a described table."""

    name = _name()
    affinity = fields.String(required=True, validate=validate.OneOf(_AFFINITIES))
    collation = fields.String(validate=validate.OneOf(_COLLATIONS))
    row_id_of = fields.String(allow_none=True, validate=[validate.Length(1, MOST_NAME), _no_nul])
    not_null = fields.Boolean()
    default = fields.Raw(allow_none=True, validate=_is_literal)


class UniqueKeySchema(Schema):
    """Columns of a described table that are unique together."""

    columns = _names(least=1)
    collations = fields.List(
        fields.String(validate=validate.OneOf(_COLLATIONS)),
        required=True,
        validate=validate.Length(1, MOST_COLUMNS),
    )


class ReferenceSchema(Schema):
    """One reference of a described table."""

    columns = _names(least=1)
    parent = _name()
    parent_columns = _names()
    on_delete = fields.String(validate=validate.Length(max=16))
    on_update = fields.String(validate=validate.Length(max=16))
    declared = fields.Boolean()


class TableSchema(Schema):
    """A described table."""

    name = _name()
    key_kind = fields.String(required=True, validate=validate.OneOf(("global", "local")))
    key = _names(least=1)
    columns = fields.List(
        fields.Nested(ColumnSchema), required=True, validate=validate.Length(1, MOST_COLUMNS)
    )
    references = fields.List(fields.Nested(ReferenceSchema), validate=validate.Length(max=1000))
    unique = fields.List(_names(), validate=validate.Length(max=1000))
    sql = _text()
    indexes = fields.List(_text(), validate=validate.Length(max=1000))
    here = fields.Nested(lambda: TableSchema(exclude=("here",)))
    unique_keys = fields.List(fields.Nested(UniqueKeySchema), validate=validate.Length(max=1000))

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> Table:
        """The table itself."""
        return msgspec.convert(data, Table)


class TablesSchema(Schema):
    """PUT /v1/tables: what a device's database holds."""

    tables = fields.List(
        fields.Nested(TableSchema), required=True, validate=validate.Length(1, MOST_TABLES)
    )


class PushTableSchema(Schema):
    """How much of one table a session carries."""

    name = _name()
    rows = fields.Integer(required=True, strict=True, validate=validate.Range(0, _MOST_ROWS))
    batches = fields.Integer(required=True, strict=True, validate=validate.Range(1, 10**6))


class PushSchema(Schema):
    """PUT /v1/push/{session}: begin a push."""

    tables = fields.List(
        fields.Nested(PushTableSchema), required=True, validate=validate.Length(1, MOST_TABLES)
    )
    processed = _sessions(load_default=None)

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """The sessions as a set."""
        return data | {"processed": _session_set(data["processed"], "processed")}


class ProcessedSchema(Schema):
    """Tables that have the same processed set."""

    tables = fields.List(_name(), required=True, validate=validate.Length(1, MOST_TABLES))
    sessions = _sessions(required=True)
    anew = fields.Boolean(load_default=False)

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """The sessions as a set."""
        return data | {"sessions": _session_set(data["sessions"], "sessions")}


class PullSchema(Schema):
    """PUT /v1/pull/{pull}: begin a pull."""

    processed = fields.List(
        fields.Nested(ProcessedSchema), required=True, validate=validate.Length(1, MOST_TABLES)
    )


def check(schema: Schema, body: bytes) -> dict[str, Any]:
    """The message, checked and converted.

    Raises:
        BadRequest: it is not JSON, or not of this shape; the message names each fault.
    """
    try:
        loaded: dict[str, Any] = schema.load(msgspec.json.decode(body))
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: {error}") from error
    except ValidationError as error:
        raise BadRequest("; ".join(_faults(error.messages))) from error
    return loaded


def _faults(messages: Any, path: str = "") -> list[str]:
    if isinstance(messages, Mapping):
        return [
            fault
            for key, inner in messages.items()
            for fault in _faults(inner, f"{path}.{key}" if path else str(key))
        ]
    return [f"{path}: {message}" for message in messages]
