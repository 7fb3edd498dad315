"""Which columns look like references that are not declared, and to which table."""

import pytest

from syncsession_client.checkup.facts import MOST_ROWS, KeyFacts, Sample
from syncsession_client.checkup.findings import Finding
from syncsession_client.checkup.references import (
    judge,
    numbered_parents,
    suspects,
    worth_asking,
)
from syncsession_client.protocol.tables import Column, Reference, Table


def table(name: str, *columns: str, key: str = "id", kind: str = "local", references=()) -> Table:
    """Columns are `name` or `name type`; the key comes first."""
    described = [Column(key, "integer" if kind == "local" else "text")] if key else []
    for text in columns:
        column, _, affinity = text.partition(" ")
        described.append(Column(column, affinity or "integer"))
    keys = (key,) if key else tuple(c.name for c in described[:2])
    return Table(name, kind, keys, tuple(described), references=tuple(references))


CUSTOMER, TAG = table("customer", "name text"), table("tag", "name text")
DENSE = {"customer": 100, "tag": 100}


def sample(usable: int, others: int = 0, near=DENSE, **found: int) -> Sample:
    """Values 1 to 100; `found` of them by table."""
    return Sample(usable, others, 1, 100, {"customer": 0, "tag": 0} | found, near)


def findings(child: Table, of: Sample, *parents: Table) -> list[Finding]:
    tables = [*(parents or (CUSTOMER, TAG)), child]
    found = suspects(tables, numbered_parents(tables), [t.name for t in tables])
    judged = (judge(s, of) for s in found if s.table == child.name)
    return [f for f in judged if f]


def flags(child: Table, of: Sample, *parents: Table) -> list[tuple[str, ...]]:
    return [f.flags for f in findings(child, of, *parents)]


ORDER = table("orders", "customer_id")
REF = ("--ref", "orders.customer_id=customer")


def test_a_name_that_fits_is_enough_where_there_are_no_values_yet():
    assert flags(ORDER, sample(0)) == [REF]


def test_values_that_are_mostly_keys_there_agree_with_the_name():
    assert flags(ORDER, sample(10, customer=5)) == [REF]
    assert flags(ORDER, sample(10, customer=4)) == []


def test_the_reason_gives_the_numbers():
    (found,) = findings(ORDER, sample(10, customer=9))
    assert found.code == "undeclared_reference"
    assert "looks like a reference to customer that is not declared (9 of 10 values" in found.reason
    assert found.way_out == "--ref orders.customer_id=customer"


def test_values_that_are_no_integers_are_no_keys_of_a_table_with_integers():
    assert flags(ORDER, sample(0, others=10)) == []


def test_a_declared_or_given_reference_is_known():
    reference = Reference(("customer_id",), "customer", ("id",))
    assert flags(table("orders", "customer_id", references=[reference]), sample(0)) == []


def test_a_column_named_after_a_table_with_global_keys_is_not_one_of_another_table():
    parent = table("customer", kind="global")
    assert findings(ORDER, sample(10, tag=10), parent, TAG) == []
    assert len(findings(table("orders", "client_id"), sample(10, tag=10), parent, TAG)) == 1


def test_a_table_whose_key_is_the_key_of_a_numbered_one_counts_as_such():
    extension = Table("customer", "global", ("id",), (Column("id", "integer", row_id_of="base"),))
    assert flags(ORDER, sample(10, customer=10), extension, table("base")) == [REF]


@pytest.mark.parametrize("column", ["customer integer", "customer blob"])
def test_a_column_named_as_a_table_needs_nearly_all_values(column):
    child = table("orders", column)
    ref = [("--ref", "orders.customer=customer")]
    assert flags(child, sample(0)) == ref
    assert flags(child, sample(10, customer=9)) == ref
    assert flags(child, sample(10, customer=8)) == []


def test_a_text_column_named_as_a_table_is_a_name_until_it_holds_integers():
    child = table("orders", "customer text")
    assert flags(child, sample(0)) == []
    assert flags(child, sample(10, customer=10)) == [("--ref", "orders.customer=customer")]


def test_the_table_of_which_more_values_are_keys_is_the_one():
    parents = table("shop_customer"), table("web_customer")
    of = Sample(10, 0, 1, 100, {"shop_customer": 6, "web_customer": 10})
    assert flags(ORDER, of, *parents) == [("--ref", "orders.customer_id=web_customer")]


def test_where_several_tables_fit_alike_all_are_named_and_none_is_taken():
    parents = table("shop_customer"), table("web_customer")
    (found,) = findings(ORDER, Sample(0, 0), *parents)
    assert found.flags == ()
    assert found.way_out == (
        "--ref orders.customer_id=shop_customer or --ref orders.customer_id=web_customer, "
        "whichever it is"
    )


def test_a_name_that_says_only_that_it_points_is_judged_by_the_values():
    child = table("orders", "author_id")
    (found,) = findings(child, sample(3, customer=3, tag=2))
    assert found.flags == ("--ref", "orders.author_id=customer")
    (found,) = findings(child, sample(3, customer=3, tag=3))
    assert (found.flags, "customer or tag" in found.reason) == ((), True)
    assert findings(child, sample(3, customer=2)) == []


def test_such_a_name_without_values_is_told_if_it_takes_integers():
    (found,) = findings(table("orders", "author_id"), sample(0))
    assert (found.code, found.flags) == ("undeclared_reference", ())
    assert findings(table("orders", "author_id text"), sample(0)) == []


def test_values_alone_tell_where_it_cannot_be_chance():
    child = table("orders", "owner")
    half = DENSE | {"customer": 50}
    assert flags(child, sample(40, near=half, customer=40)) == [("--ref", "orders.owner=customer")]
    assert flags(child, sample(40, near=half, customer=39)) == []
    assert flags(child, sample(4, near={"customer": 0}, customer=4)) == []


def test_small_numbers_are_no_references_because_some_table_has_such_keys():
    assert flags(table("orders", "quantity"), sample(40, customer=40, tag=40)) == []


def test_a_table_with_more_keys_than_are_counted_proves_nothing():
    assert Sample(9, 0, 1, 10**9, {}, {"t": MOST_ROWS}).chance("t") == 1.0
    assert Sample(9, 0, 1, 10**9, {}, {"t": MOST_ROWS - 1}).chance("t") < 1e-20


KEYS = {
    "orders": KeyFacts(50, 0, 1, 999),
    "large": KeyFacts(500, 0, 1, 999),
    "gaps": KeyFacts(50, 0, 1, 999),
    "dense": KeyFacts(999, 0, 1, 999),
    "few": KeyFacts(9, 0, 1, 999),
    "low": KeyFacts(50, 0, 1, 50),
    "empty": KeyFacts(),
}


def asked(column: str, usable: int) -> tuple[str, ...]:
    parents = [table(name) for name in KEYS if name != "orders"]
    tables = [*parents, table("orders", column)]
    (suspect,) = (s for s in suspects(tables, numbered_parents(tables)) if s.column == column)
    return worth_asking(suspect, Sample(usable, 0, 1, 100), KEYS)


def test_values_are_looked_up_where_all_may_be_found_in_the_smallest_tables_first():
    assert asked("author_id", 20) == ("orders", "gaps", "large", "dense")
    assert asked("author_id", 0) == ()


def test_values_alone_are_looked_up_where_that_could_tell_something():
    assert asked("owner", 20) == ("gaps", "large")
    assert asked("owner", 4) == ()


def test_the_table_of_the_name_is_asked_whatever_it_holds():
    assert asked("low_id", 20) == ("low", "gaps", "large")
    assert asked("low_id", 4) == ("low",)


def test_a_parent_id_is_of_the_same_table():
    child = table("folder", "parent_id")
    of = Sample(3, 0, 1, 9, {"folder": 3}, {"folder": 9})
    assert flags(child, of, TAG) == [("--ref", "folder.parent_id=folder")]
    assert flags(child, Sample(0, 0), TAG) == [("--ref", "folder.parent_id=folder")]


def test_a_parent_id_is_of_a_table_parent_where_there_is_one():
    assert flags(table("child_of", "parent_id"), Sample(0, 0), table("parent")) == [
        ("--ref", "child_of.parent_id=parent")
    ]


def test_the_key_of_a_table_is_no_reference_to_itself():
    own = table("customer", key="customer_id")
    assert findings(own, sample(9, customer=9), TAG) == []
    assert findings(table("t"), sample(9, near={}, customer=9, tag=9)) == []


def test_a_key_named_after_another_table_is_a_reference_to_it():
    child = table("profile", key="customer_id")
    assert flags(child, sample(9, customer=9)) == [("--ref", "profile.customer_id=customer")]


def test_a_part_of_a_key_is_worse():
    child = table("basket", "customer_id", "tag_id", key="", kind="global")
    found = findings(child, sample(9, customer=9, tag=9))
    assert [f.flags[1] for f in found] == ["basket.customer_id=customer", "basket.tag_id=tag"]
    assert all("rows of two devices would be taken for one" in f.reason for f in found)


def test_a_pair_of_type_and_id_cannot_be_named_by_one_reference():
    child = table("note", "item_type text", "item_id")
    (found,) = findings(child, sample(2, customer=1))
    assert (found.code, found.columns) == ("polymorphic_reference", ("item_id", "item_type"))
    assert findings(child, sample(0, others=2)) == []


def test_a_list_of_keys_in_one_value_is_told():
    (found,) = findings(table("note", "tag_ids text"), sample(0, others=2))
    assert (found.code, found.flags) == ("embedded_references", ())
    assert findings(table("note", "other_ids text"), sample(0, others=2)) == []


def test_nothing_is_suspected_where_no_table_has_numbers_of_its_own():
    only = table("t", "other_id", kind="global")
    assert suspects([only], numbered_parents([only])) == []
