"""What a row was, as JSON that SQL can query and from which every value comes back exactly.

An object by column. An integer has no point and a real one has; a BLOB is `{"blob": "00ff"}`, a
real that JSON has no number for is `{"real": "inf"}`. A value that is too large to be kept is
`{"left_out": 1000}`, with its length.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_PLAIN = frozenset({str, int, type(None)})
_is_finite = math.isfinite
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True)
class LeftOut:
    """Stands for a value that an image was not to hold: its length, in characters or bytes."""

    length: int


def encode(columns: Sequence[str], values: Iterable[Any], most: int | None = None) -> str:
    """The image of a row: its columns, and their values in the same order.

    Of a text or BLOB whose part of the image would be more than `most` bytes, only the length.
    """
    if most is not None:
        values = [LeftOut(len(v)) if _size(v) > most else v for v in values]
    return _encode(shown(columns, values)).decode()


def shown(columns: Sequence[str], values: Iterable[Any]) -> dict[str, Any]:
    """The image before it is text."""
    plain = [
        v if type(v) in _PLAIN or (type(v) is float and _is_finite(v)) else _shown(v)
        for v in values
    ]
    return dict(zip(columns, plain, strict=True))


def encode_value(value: Any) -> str:
    """What stands for a value in an image."""
    return _encode(_shown(value)).decode()


def labels(columns: Sequence[str]) -> list[str]:
    """What stands before each value, for who puts an image together by itself; `}` ends it."""
    names = [_encode(name).decode() for name in columns]
    return [f"{',' if n else '{'}{name}:" for n, name in enumerate(names)]


def decode(image: str | bytes) -> dict[str, Any]:
    """The inverse of `encode`.

    Raises:
        msgspec.DecodeError: the text is not an object.
    """
    found = _decode(image)
    return dict(zip(found, values(found.values()), strict=True))


def values(plain: Iterable[Any]) -> Iterator[Any]:
    """The inverse of what `shown` makes of values."""
    return map(_value, plain)


def told(plain: Any, most: int = 80) -> str:
    """What a person reads of a value that `shown` made; at most so many characters."""
    match plain:
        case {"blob": digits}:
            text = f"x'{digits}'"
        case {"real": name}:
            text = str(name)
        case _:
            text = json.dumps(plain, ensure_ascii=False)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _size(value: Any) -> int:
    return len(_encode(_shown(value))) if isinstance(value, str | bytes) else 0


def _shown(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"blob": value.hex()}
    if isinstance(value, LeftOut):
        return {"left_out": value.length}
    if isinstance(value, float) and not math.isfinite(value):
        return {"real": str(value)}
    return value


def _value(shown: Any) -> Any:
    match shown:
        case {"blob": digits}:
            return bytes.fromhex(digits)
        case {"real": name}:
            return float(name)
        case {"left_out": length}:
            return LeftOut(length)
    return shown
