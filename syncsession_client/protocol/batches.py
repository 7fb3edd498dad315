"""Row batches: MessagePack, whose nil, int64, float64, str and bin are SQLite's storage classes."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec
from xxhash import xxh3_64_digest

Row = tuple[Any, ...]
"""Values that are None, int (of 64 bits), float, str or bytes."""

META = 4
"""A row begins with its session, modified_at_utc, modified_by_user_id and is_deleted."""


LOST_KEY = ("row_key",)
LOST_COLUMNS = ("row", "kind", "policy", "outcome", "winner", "decided_at_utc")
"""What a batch of versions that lost holds: the key and the row as images (None: a deletion), what
was done on both sides, who won. Session, time and user are those of the session that decided it and
of the version that lost."""


MERGED_KEY = ("from_key",)
MERGED_COLUMNS = ("to_key",)
"""What a batch of rows that became others holds: both keys as images."""


class Batch(msgspec.Struct, frozen=True):
    """Rows of one table, in the order in which they apply.

    A row is `[session, modified_at_utc, modified_by_user_id, is_deleted, *key, *columns]`. On a
    push, `session` is the one that the edit was based on (nil: the server never saw the row); on a
    pull, the one that wrote the row. `is_deleted` is 0 or 1; of a deleted row only the key counts.
    """

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    rows: list[Row]


BATCH_BYTES = 4 << 20
"""A batch is closed when its values pass this, however few its rows."""

_STEP = 50
_LARGE = 1 << 16  # bytes of a row

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


def take(rows: Iterator[Row], most: int, most_bytes: int = BATCH_BYTES) -> list[Row]:
    """The next rows for one batch: at most `most`, and fewer where their values are large.

    Empty when there are no more. Rows are read a few at a time, the first and large ones one by
    one, so that memory holds little more than `most_bytes`.
    """
    taken: list[Row] = []
    size, step = 0, 1
    while size < most_bytes and (part := list(islice(rows, min(step, most - len(taken))))):
        part_size = len(_encoder.encode(part))
        size += part_size
        taken += part
        step = min(2 * step, _STEP) if part_size < len(part) * _LARGE else 1
    return taken


def parts(rows: list[Row], most_bytes: int = BATCH_BYTES) -> Iterator[list[Row]]:
    """Rows that `take` gave, apart where large ones came after small ones: each part has one row,
    or no more than `most_bytes`.
    """
    if len(_encoder.encode(rows)) <= most_bytes:
        yield rows
        return
    part: list[Row] = []
    size = 0
    for row in rows:
        row_size = len(_encoder.encode(row))
        if part and size + row_size > most_bytes:
            yield part
            part, size = [], 0
        part.append(row)
        size += row_size
    yield part


def digests(rows: Iterable[Row]) -> list[bytes]:
    """8 bytes over each row's values: equal when value and storage class of each are the same.

    MessagePack tells 1, 1.0 and '1', 0.0 and -0.0, text and blob apart, so a digest does too. It
    guards against accidents, not enemies: who could forge one may write the row anyway.
    """
    encode = _encoder.encode
    return [xxh3_64_digest(encode(row)) for row in rows]


def encode_values(values: Row) -> bytes:
    """Values as MessagePack: equal where each is the same, and of the same storage class."""
    return _encoder.encode(values)


def digest(*values: Any) -> bytes:
    """The digest of one row."""
    return xxh3_64_digest(_encoder.encode(values))
