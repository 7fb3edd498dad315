"""The image of a row: JSON that SQL can query, and from which every value comes back."""

import json
import math
import sqlite3
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from odd_values import SPECIAL

from syncsession_client.protocol import images
from syncsession_client.protocol.batches import digest

VALUES = st.one_of(
    st.sampled_from(SPECIAL),
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
)


@given(st.lists(VALUES, max_size=5))
@example([1, 1.0, "1", b"1", None, -0.0, math.inf, -math.inf, 2**63 - 1, -(2**63), 5e-324])
@example(["", "\0", "\U0001f600", "NaN", '{"blob": "00"}', b""])
def test_every_value_comes_back_as_what_it_is(values):
    names = [f"c{n}" for n in range(len(values))]
    image = images.encode(names, values)
    assert json.loads(image).keys() == set(names)
    found = images.decode(image)
    assert list(found) == names
    assert digest(*found.values()) == digest(*values)


@pytest.mark.parametrize("value", [7, 7.5, 1.0, "it's", 2**53 + 1, None])
def test_sqlite_reads_the_values_out_of_an_image(value):
    with closing(sqlite3.connect(":memory:")) as db:
        image = images.encode(["a column"], [value])
        assert db.execute("SELECT json_extract(?, '$.a column')", [image]).fetchall() == [(value,)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"\x00\xff", "x'00ff'"),
        (math.inf, "inf"),
        ("é", '"é"'),
        (None, "null"),
        ("a" * 200, '"' + "a" * 78 + "…"),
    ],
)
def test_a_person_reads_a_value_in_one_short_line(value, text):
    (plain,) = images.shown(["c"], [value]).values()
    assert images.told(plain) == text


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_an_image_may_be_put_together_by_its_parts(values):
    names = [f'column "{n}"' for n in range(len(values))]
    parts = zip(images.labels(names), map(images.encode_value, values), strict=True)
    made = "".join(f"{label}{value}" for label, value in parts)
    assert f"{made}}}" == images.encode(names, values)


def test_a_value_that_is_too_large_is_told_by_its_length():
    image = images.encode(["a", "b", "c", "d"], ["x" * 100, b"y" * 49, 7, "z" * 98], 100)
    left_out = images.LeftOut
    assert images.decode(image) == {"a": left_out(100), "b": left_out(49), "c": 7, "d": "z" * 98}
