"""Row batches: MessagePack, whose nil, int64, float64, str and bin are SQLite's storage classes."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

Value = None | int | float | str | bytes
Row = Sequence[Value]

META = 4
"""A row begins with its session, modified_at_utc, modified_by_user_id and is_deleted."""


class Batch(msgspec.Struct, frozen=True):
    """Rows of one table, in the order in which they apply.

    A row is `[session, modified_at_utc, modified_by_user_id, is_deleted, *key, *columns]`. On a
    push, `session` is the one that the edit was based on (nil: the server never saw the row); on a
    pull, the one that wrote the row. `is_deleted` is 0 or 1; of a deleted row only the key counts.
    """

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    rows: list[Any]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Batch)


def encode(batch: Batch) -> bytes:
    """The batch as MessagePack, named fields, rows as arrays."""
    return _encoder.encode(batch)


def decode(payload: bytes) -> Batch:
    """The inverse of `encode`; the values of the rows are not looked at.

    Raises:
        msgspec.DecodeError: the bytes are not a batch.
    """
    return _decoder.decode(payload)


def pack(values: Row) -> bytes:
    """A row's values as MessagePack, the same bytes for the same values and storage classes."""
    return _encoder.encode(values)


def digest_of(packed: bytes) -> bytes:
    """8 bytes over what `pack` returned.

    MessagePack tells 1, 1.0 and '1', 0.0 and -0.0, text and blob apart, so the digest does too.
    """
    return hashlib.blake2b(packed, digest_size=8).digest()
