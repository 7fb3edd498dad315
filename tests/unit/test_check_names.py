"""What the name of a column says of the table that it may reference."""

import pytest

from syncsession_client.checkup.names import (
    is_of_own_table,
    likeness,
    points,
    points_to_many,
    words,
)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("customer_id", ("customer", "id")),
        ("CustomerId", ("customer", "id")),
        ("customerID", ("customer", "id")),
        ("IDCustomer", ("id", "customer")),
        ("Customer Id", ("customer", "id")),
        ("customer-id", ("customer", "id")),
        ("customerid", ("customerid",)),
        ("größe_id", ("größe", "id")),
        ("_", ()),
    ],
)
def test_a_name_is_made_of_words_whatever_its_style(name, parts):
    assert words(name) == parts


@pytest.mark.parametrize(
    ("column", "table", "rank"),
    [
        ("customer_id", "customer", 0),
        ("customer_id", "customers", 0),
        ("customers_id", "customer", 0),
        ("customerid", "Customers", 0),
        ("CUSTOMER_ID", "customers", 0),
        ("CustomerId", "Customer", 0),
        ("customer", "customers", 0),
        ("id_customer", "customers", 0),
        ("fk_customer_id", "customers", 0),
        ("customer_fk", "customers", 0),
        ("customer_key", "customers", 0),
        ("category_id", "categories", 0),
        ("movie_id", "movies", 0),
        ("warehouse_id", "warehouses", 0),
        ("box_id", "boxes", 0),
        ("status_id", "statuses", 0),
        ("address_id", "addresses", 0),
        ("person_id", "people", 0),
        ("child_id", "children", 0),
        ("invoicelineid", "InvoiceLine", 0),
        ("order_id", "shop_orders", 1),
        ("order_id", "tblOrders", 1),
        ("billing_customer_id", "customers", 2),
        ("created_user_id", "auth_user", 3),
        ("customer_id", "orders", None),
        ("billing_customer", "customers", None),
        ("paid", "pa_table", None),
        ("id", "customers", None),
        ("", "customers", None),
        ("title", "titles", 0),
    ],
)
def test_a_column_is_like_a_table_or_not(column, table, rank):
    assert likeness(column, table) == rank


def test_some_names_say_that_the_column_points_somewhere():
    names = ("author_id", "AuthorId", "fk_author", "author_ref", "author", "paid", "id", "grid")
    assert [points(n) for n in names] == [True] * 4 + [False] * 4


def test_some_names_say_that_there_are_several_keys():
    assert [points_to_many(n) for n in ("track_ids", "trackIds", "track_id", "ids")] == [
        *(True, True, False, False)
    ]


def test_some_names_are_for_another_row_of_the_same_table():
    names = ("parent_id", "ReportsTo", "reply_to_id", "parent", "apparent", "customer_id", "")
    assert [is_of_own_table(n) for n in names] == [True] * 4 + [False] * 3
