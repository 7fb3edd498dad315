"""Values that one database or another does not take for what they are."""

import math
from typing import Any

TEXTS = [
    *("", " ", "a", "A", "a ", " a", "é", "É", "e\u0301", "ß", "🎻", "\U0010ffff", "\ufeff"),
    *("NULL", "null", "\\N", "\\", "\\\\", "\\t", "\t", "\n", "\r\n", "\\\n", "\b", "\x1a", "\x1f"),
    *("\0", "a\0", "a\0b", "a\0c", "A\0b", "'", '"', "`", "%s", "%(a)s", ",", "[]", "{}", "\uffff"),
    "x" * 300,
    *("0", "-0", "1", "01", "+1", " 1", "1 ", "1_0", "٣", "1.0", "1.50", ".5", "5.", "0x10", "1e5"),
    *("1e+22", "1E+22", "1e-07", "-0.0", "inf", "-inf", "nan", "Infinity", "2026-01-31", "12:30"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "9" * 40, "true"),
]
NUMBERS = [
    *(0, 1, -1, 10, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 0.0, -0.0, 1.0, -1.0, 0.1, 1.5, 1e5),
    *(1e15, 1e16, 1e22, 1e-7, 5e-324, 1e308, math.nextafter(math.inf, 0), 2.0**53, 2.0**63),
    *(-(2.0**63), 2.0**64, math.inf, -math.inf),
]
BLOBS = [b"", b"\0", b"a", b"A", b"\xfd\xfe\xff", b"\\N", b"NULL", bytes(range(256)), b"\xff" * 300]
SPECIAL: list[Any] = [*TEXTS, *NUMBERS, *BLOBS]
"""None of them is NULL, and none equal in value and class."""
