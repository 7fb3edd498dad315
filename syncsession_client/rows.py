"""Statements about a table's rows as they travel, for whoever pushes, applies or compares them."""

from .statements import load

ROWS = load("client/rows.sql.j2")
