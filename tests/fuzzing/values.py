"""The values that scripts write: few, so that they meet, and of each kind that is easily lost."""

VALUES = (
    None, 0, 1, 2, 3, -1, 1.0, 1.5, 0.0, -0.0, 1e15, 0.1, 9007199254740993,
    -9223372036854775808, float("inf"), float("-inf"),
    "", "1", "1.0", " 1", "01", "a", "A", "a ", "b", "é", "É", "a\0b", "2020-01-01",
    b"", b"a", b"1", b"\x00\xff",
)  # fmt: skip


def literal(value: object) -> str:
    """A value as SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return {float("inf"): "9e999", float("-inf"): "-9e999"}.get(value, repr(value))
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if isinstance(value, str):
        parts = ["'" + part.replace("'", "''") + "'" for part in value.split("\0")]
        return parts[0] if len(parts) == 1 else f"({' || char(0) || '.join(parts)})"
    return str(value)
