"""An edit at any moment of a sync is in the session or still dirty, and pushed once."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import Device, Server, World, everyone_syncs, serving

from syncsession_client import apply, pull, push
from syncsession_client.engine import SyncEngine
from syncsession_client.status import read_status
from syncsession_client.transport import Transport
from syncsession_server.settings import Settings

ITEM = "CREATE TABLE item (id TEXT PRIMARY KEY, v)"
INVOICE = "CREATE TABLE invoice (id INTEGER PRIMARY KEY, v)"

EARLY: dict[str, tuple[Any, str, bool]] = {
    "before the fold": (SyncEngine, "_push", False),
    "before sealing": (push, "seal", False),
}
LATE: dict[str, tuple[Any, str, bool]] = {
    "between sealing and upload": (Transport, "begin_push", False),
    "during the upload": (Transport, "send_batch", False),
    "before the commit": (Transport, "commit_push", False),
    "when the commit is known": (Transport, "commit_push", True),
    "before the acknowledgement": (push, "acknowledge", False),
    "after the acknowledgement": (push, "acknowledge", True),
    "before the pull": (Transport, "begin_pull", False),
    "when the pull has begun": (pull, "begin", True),
    "during the download": (Transport, "get_batch", True),
    "before the transaction that applies": (apply, "_stage", True),
}
MOMENTS = EARLY | LATE
"""Where the edits are made: the function, and whether when it is done."""

KINDS = {"update": 10, "delete": 20, "key": 30, "REPLACE": 40}
"""What is done to three rows of each table, and where their integers begin."""

STATES = {"in flight": 1, "clean": 2, "comes": 3}
"""What a row is before: edited and not pushed yet, pushed by both, edited on the other device."""

EDITS = (
    "INSERT INTO item VALUES ('insert', 'edit'), ('insert on both', 'edit')",
    "INSERT INTO invoice VALUES (51, 'edit'), (53, 'edit')",
    "UPDATE item SET v = 'edit' WHERE id LIKE 'update%'",
    "UPDATE invoice SET v = 'edit' WHERE id / 10 = 1",
    "DELETE FROM item WHERE id LIKE 'delete%'",
    "DELETE FROM invoice WHERE id / 10 = 2",
    "UPDATE item SET id = 'moved ' || id WHERE id LIKE 'key%'",
    "UPDATE invoice SET id = id + 100 WHERE id / 10 = 3",
    "REPLACE INTO item SELECT id, 'edit' FROM item WHERE id LIKE 'REPLACE%'",
    "REPLACE INTO invoice SELECT id, 'edit' FROM invoice WHERE id / 10 = 4",
)

SEALED = 2 * len(KINDS)
"""Rows that are in flight."""

CHANGED = 2 + 2 + 6 + 6 + 6 + 6
"""Rows that the edits change for others: a global key that changes is two, a local one none."""

CHANGED_OF_SEALED = 7
"""Of those in flight; that with another local key is pushed for its value."""

PROGRAM = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30)
for sql in sys.argv[2:]:
    db.execute(sql)
db.commit()
"""


@pytest.fixture(scope="module")
def holding_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that holds every pull, so that its batches have to be asked for."""
    database = f"sqlite:///{tmp_path_factory.mktemp('moments') / 'server.db'}"
    settings = Settings(database=database, migrate=True, pull_shared_table_threshold=0)
    with serving(settings) as server:
        yield server


def update(device: Device, state: str, value: str) -> None:
    device.execute(
        f"UPDATE item SET v = '{value}' WHERE id LIKE '% {state}'",
        f"UPDATE invoice SET v = '{value}' WHERE id % 10 = {STATES[state]}",
    )


@pytest.fixture
def devices(holding_server: Server, tmp_path: Path) -> tuple[Device, Device]:
    """Two devices: the first has rows to push, the second has pushed some."""
    world = World(holding_server, tmp_path)
    a = world.device("a.db", ITEM, INVOICE)
    rows = [(f"{k} {s}", m + n) for k, m in KINDS.items() for s, n in STATES.items()]
    a.put("INSERT INTO item VALUES (?, 0)", [(name,) for name, _ in rows])
    a.put("INSERT INTO invoice VALUES (?, 0)", [(number,) for _, number in rows])
    a.sync()
    b = a.clone("b.db")
    update(b, "comes", "b")
    b.execute("INSERT INTO item VALUES ('insert on both', 'b')")
    b.execute("INSERT INTO invoice VALUES (53, 'b')")
    b.sync()
    update(a, "in flight", "a")
    return a, b


def edit_at(
    monkeypatch, moment: str, device: Device, *, is_folded: bool = False
) -> list[set[tuple]]:
    """A program of its own edits, the first time that the moment comes; the rows after that.

    Somebody may ask for the status too, and so fold the log in the middle of the sync.
    """
    owner, name, is_after = MOMENTS[moment]
    work: Callable[..., Any] = getattr(owner, name)
    lock, after = threading.Lock(), []

    def edit() -> None:
        with lock:
            if not after:
                subprocess.run([sys.executable, "-c", PROGRAM, device.path, *EDITS], check=True)
                after.append(contents(device))
                if is_folded:
                    read_status(device.path)

    def hooked(*args: Any, **options: Any) -> Any:
        if not is_after:
            edit()
        result = work(*args, **options)
        if is_after:
            edit()
        return result

    monkeypatch.setattr(owner, name, hooked)
    return after


def contents(device: Device) -> set[tuple]:
    return set(device.rows("SELECT id, v FROM item UNION ALL SELECT id, v FROM invoice"))


def check(device: Device, edited: set[tuple]) -> None:
    """All edits stand: what is there, what is gone, and which integers rows have."""
    here = contents(device)
    assert here >= edited
    ids = {row[0] for row in here}
    assert not {i for i in ids if str(i).startswith(("delete", "key"))}
    assert not {i for i in ids if isinstance(i, int) and i // 10 in (2, 3)}
    assert ids >= {131, 132, 133}


@pytest.mark.parametrize("is_folded", [False, True], ids=["in the log", "folded"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_edits_at_any_moment_are_pushed_once_and_not_overwritten(
    devices, monkeypatch, moment, is_folded
):
    a, b = devices
    with monkeypatch.context() as patch:
        made = edit_at(patch, moment, a, is_folded=is_folded)
        first = a.sync()
    edited = {(i, v) for i, v in made[0] if v == "edit" or str(i).startswith("moved ")}
    assert len(edited) == 2 + 2 + 6 + 3 + 6
    check(a, edited)
    second = a.sync()
    expected = CHANGED + SEALED - (CHANGED_OF_SEALED if moment in EARLY else 0)
    assert first.pushed.rows + second.pushed.rows == expected
    assert a.sync().pushed.session is None
    everyone_syncs(b, a)
    assert a.identities() == b.identities()
    check(a, edited)
