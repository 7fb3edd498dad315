"""Compressed bodies: zstd where both sides have it, gzip or nothing else."""

import gzip
import io
import zlib
from typing import NamedTuple

import zstandard

from .errors import BadRequest, TooLarge

ENCODINGS = ("zstd", "gzip", "identity")
"""What this side reads and writes, best first."""

UNPACKED_LIMIT = 1 << 30
"""Bytes that a batch may have unpacked: SQLite's own limit on one value, about."""

_LEVEL = 1  # 400 MB/s and a ratio of 2.65 on rows; higher levels cost more than the network saves


class Payload(NamedTuple):
    """A body as it travels and is kept."""

    encoding: str
    data: bytes


def compress(data: bytes, encoding: str) -> bytes:
    """`data` in one of ENCODINGS."""
    if encoding == "zstd":
        return zstandard.ZstdCompressor(level=_LEVEL).compress(data)
    if encoding == "gzip":
        return gzip.compress(data, compresslevel=_LEVEL)
    return data


def decompress(data: bytes, encoding: str, limit: int) -> bytes:
    """The inverse of `compress`, of at most `limit` bytes whatever the data claims.

    Raises:
        TooLarge: it unpacks to more than `limit` bytes.
        BadRequest: the data is not in that encoding, or the encoding is not one of ENCODINGS.
    """
    if encoding not in ENCODINGS:
        raise BadRequest(
            f"unknown Content-Encoding {encoding!r}; use one of {', '.join(ENCODINGS)}"
        )
    try:
        if encoding == "zstd" and 0 <= zstandard.frame_content_size(data) <= limit:
            return zstandard.ZstdDecompressor().decompress(data, max_output_size=limit)
        unpacked = _reader(data, encoding).read(limit + 1)
    except (zstandard.ZstdError, zlib.error, OSError, EOFError) as error:
        raise BadRequest(f"the body is not {encoding}: {error}") from error
    if len(unpacked) > limit:
        raise TooLarge(f"the body unpacks to more than {limit} bytes; send smaller batches")
    return unpacked


def choose(accepted: str) -> str:
    """The best of ENCODINGS that an Accept-Encoding header names; `identity` when none is."""
    named = {part.split(";")[0].strip().lower() for part in accepted.split(",")}
    return next((encoding for encoding in ENCODINGS if encoding in named), "identity")


def _reader(data: bytes, encoding: str) -> io.BufferedIOBase | zstandard.ZstdDecompressionReader:
    source = io.BytesIO(data)
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().stream_reader(source)
    if encoding == "gzip":
        return gzip.GzipFile(fileobj=source)
    return source
