"""The main job on a real database: 11 tables, 15,607 rows, every key an INTEGER PRIMARY KEY."""

import pytest
from support import CHINOOK, Device, World, everyone_syncs

TABLES = {
    "Album": "AlbumId",
    "Artist": "ArtistId",
    "Customer": "CustomerId",
    "Employee": "EmployeeId",
    "Genre": "GenreId",
    "Invoice": "InvoiceId",
    "InvoiceLine": "InvoiceLineId",
    "MediaType": "MediaTypeId",
    "Playlist": "PlaylistId",
    "PlaylistTrack": "PlaylistId, TrackId",
    "Track": "TrackId",
}

ADD_INVOICE = (
    "INSERT INTO Invoice (InvoiceId, CustomerId, InvoiceDate, Total) "
    "VALUES (413, {customer}, '2026-11-22 00:00:00', {total})"
)
ADD_LINE = (
    "INSERT INTO InvoiceLine (InvoiceLineId, InvoiceId, TrackId, UnitPrice, Quantity) "
    "VALUES ({line}, 413, {track}, 0.99, {quantity})"
)
INVOICES = (
    "SELECT i.CustomerId, i.Total, l.TrackId, l.UnitPrice, l.Quantity FROM Invoice AS i "
    "JOIN InvoiceLine AS l USING (InvoiceId) WHERE i.InvoiceId > 412 ORDER BY 1, 3"
)


@pytest.fixture
def pair(world: World) -> tuple[Device, Device]:
    """Two devices with the whole database."""
    phone = world.chinook("phone.db")
    assert phone.sync().pushed.rows == 15607
    return phone, phone.clone("laptop.db")


def content(device: Device) -> dict[str, list[tuple]]:
    return {
        name: device.rows(f"SELECT * FROM {name} ORDER BY {key}") for name, key in TABLES.items()
    }


def test_a_clone_holds_every_row_of_every_table_with_the_same_keys(pair):
    phone, laptop = pair
    original = Device(CHINOOK, "", "")
    assert content(laptop) == content(phone) == content(original)
    assert laptop.orphans() == []


def test_a_clone_has_the_tables_and_indexes_of_the_first_device(pair):
    phone, laptop = pair
    application = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE '\\_sync%' "
    application += "ESCAPE '\\' AND sql IS NOT NULL ORDER BY type, name"
    assert laptop.rows(application) == phone.rows(application)


def test_two_devices_create_invoice_413_offline_and_both_keep_it_with_its_own_lines(pair):
    phone, laptop = pair
    phone.execute(
        ADD_INVOICE.format(customer=1, total=2.97),
        ADD_LINE.format(line=2241, track=1, quantity=1),
        ADD_LINE.format(line=2242, track=2, quantity=2),
    )
    laptop.execute(
        ADD_INVOICE.format(customer=2, total=0.99),
        ADD_LINE.format(line=2241, track=3, quantity=1),
    )
    everyone_syncs(phone, laptop)
    expected = [(1, 2.97, 1, 0.99, 1), (1, 2.97, 2, 0.99, 2), (2, 0.99, 3, 0.99, 1)]
    assert phone.rows(INVOICES) == laptop.rows(INVOICES) == expected
    # Neither application ever saw a key of its own change under it.
    assert phone.rows("SELECT CustomerId FROM Invoice WHERE InvoiceId = 413") == [(1,)]
    assert laptop.rows("SELECT CustomerId FROM Invoice WHERE InvoiceId = 413") == [(2,)]
    assert phone.value("SELECT count(*) FROM Invoice") == 414
    assert laptop.value("SELECT count(*) FROM Invoice") == 414
    assert phone.orphans() == laptop.orphans() == []


def test_edits_and_deletes_reach_the_other_device(pair):
    phone, laptop = pair
    phone.execute(
        "UPDATE Track SET UnitPrice = 1.29, Composer = NULL WHERE TrackId = 1",
        "DELETE FROM PlaylistTrack WHERE PlaylistId = 1 AND TrackId = 3402",
        "DELETE FROM InvoiceLine WHERE InvoiceId = 1",
        "DELETE FROM Invoice WHERE InvoiceId = 1",
        "UPDATE Employee SET ReportsTo = NULL WHERE EmployeeId = 8",
    )
    laptop.execute(
        "INSERT INTO Genre VALUES (26, 'Polka')",
        "UPDATE Track SET GenreId = 26 WHERE TrackId = 2",
        "INSERT INTO PlaylistTrack VALUES (2, 2)",
    )
    everyone_syncs(phone, laptop)
    assert content(phone) == content(laptop)
    assert phone.rows("SELECT GenreId FROM Track WHERE TrackId = 2") == [(26,)]
    assert laptop.rows("SELECT * FROM Invoice WHERE InvoiceId = 1") == []
    assert laptop.rows("SELECT * FROM PlaylistTrack WHERE TrackId = 3402 AND PlaylistId = 1") == []
    assert phone.orphans() == laptop.orphans() == []


def test_an_employee_and_the_one_who_reports_to_it_arrive_together(pair):
    phone, laptop = pair
    phone.execute(
        "INSERT INTO Employee (EmployeeId, LastName, FirstName) VALUES (9, 'Boss', 'A')",
        "INSERT INTO Employee (EmployeeId, LastName, FirstName, ReportsTo) "
        "VALUES (10, 'Clerk', 'B', 9)",
    )
    laptop.execute(
        "INSERT INTO Employee (EmployeeId, LastName, FirstName) VALUES (9, 'Other', 'C')"
    )
    everyone_syncs(laptop, phone)
    reports = (
        "SELECT e.LastName, b.LastName FROM Employee AS e JOIN Employee AS b "
        "ON b.EmployeeId = e.ReportsTo WHERE e.LastName = 'Clerk'"
    )
    assert phone.rows(reports) == laptop.rows(reports) == [("Clerk", "Boss")]


def test_a_sync_with_nothing_to_do_moves_nothing(pair):
    phone, laptop = pair
    for device in (phone, laptop, phone):
        result = device.sync()
        assert (result.pushed.rows, result.pulled.rows) == (0, 0)
