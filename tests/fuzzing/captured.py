"""What capture says of a database, against what is in it.

It plays the server that acknowledges every push, remembers what it was sent, and gives it back
where sync asks for all of a table. Then what it knows must be what the tables hold (nothing is
missed), and whatever is sent must differ from what it knew (nothing is invented).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import identities

from syncsession_client import push, reconcile
from syncsession_client.apply import apply
from syncsession_client.identity import SyncTable
from syncsession_client.outbox import Outbox
from syncsession_client.progress import silent
from syncsession_client.protocol import batches, bodies
from syncsession_client.protocol.batches import META, Row
from syncsession_client.protocol.tables import folded
from syncsession_client.pull import PullAnswer, PulledBatch
from syncsession_client.statements import quote
from syncsession_client.store import DeviceStore

from .programs import shown

TAG = "tag"
"""A column of which the programs give each row that they insert another value, and never change."""

_BATCH_ROWS = 3

Key = tuple[str, ...]


@dataclass(frozen=True)
class _Known:
    """A row as the server has it: its session, its key on the wire, its values by their columns."""

    session: int
    key: Row
    values: Mapping[str, Any]

    def shown(self, table: SyncTable) -> dict[str, str]:
        """Its values for the columns that the table has now. A key that is not made here may change
        without becoming another, so it is one of them.
        """
        return _shown(table, self.key, [self.values.get(name) for name in table.values])


class Peer:
    """The server's side: for each table, the rows that were sent to it and not deleted.

    `keeps_tags` says that no statement has let one row take the place of another (REPLACE).
    """

    def __init__(self, path: Path) -> None:
        self.keeps_tags = True
        self._path = path
        self._known: dict[str, dict[Key, _Known]] = {}
        self._unsure: set[str] = set()  # tables of which digests have been forgotten
        self._tags: dict[str, dict[Any, bytes]] = {}
        self._schema_version = -1
        self._sessions = 0

    def sync(self, *, pull: bool) -> set[str]:
        """Let sync look at the file and push what is dirty; then compare. Only a pull can tell what
        was edited in a table whose columns have changed meanwhile. The synced tables.

        Raises:
            AssertionError: capture is wrong.
        """
        with DeviceStore(self._path) as store, Outbox(self._path) as outbox:
            self._refresh(store)
            self._push(store, outbox)
            if pull:
                self._pull(store)
                self._push(store, outbox)  # what the pull has shown to be an edit
            anew = store.tables_anew()
            with store.read():
                for table in store.tables():
                    if table.name not in anew:
                        self._compare(store, table)
                    self._compare_tags(store, table)
                self._schema_version = store.schema_version()
            assert not self._push(store, outbox), "a second push in a row sends something"
            return {t.name for t in store.tables()}

    def _refresh(self, store: DeviceStore) -> None:
        """As an engine begins; the columns that are new are new to the server too."""
        with store.write():
            reconcile.refresh(store, allow_mass_delete=True)
            reconcile.log_filled(store, {t.wire_name: t.values for t in store.tables()})
        self._unsure |= store.tables_anew()

    def _push(self, store: DeviceStore, outbox: Outbox) -> bool:
        """Seal, take what is sent, acknowledge; whether anything was sent."""
        with store.write():
            reconcile.bring_up_to_date(store, allow_mass_delete=True)
        tables = store.tables()
        outgoing = push.seal(store, outbox, tables, batch_rows=_BATCH_ROWS)
        if outgoing is None:
            return False
        outcome = None
        if outbox.outgoing_tables():
            self._sessions += 1
            outcome = {"number": self._sessions, "corrected": False}
            by_name = {t.wire_name: t for t in tables}
            for number, name, _ in outbox.outgoing_numbers():
                payload = bodies.decompress(
                    outbox.payload(number), push.SEALED, bodies.UNPACKED_LIMIT
                )
                for row in batches.decode(payload).rows:
                    self._take(by_name[name], row)
        push.acknowledge(store, outbox, tables, outgoing, outcome)
        return outcome is not None

    def _take(self, table: SyncTable, row: Row) -> None:
        known = self._known.setdefault(table.wire_name, {})
        first = META + len(table.identity)
        wire_key, values = row[META:first], row[first + int(table.is_local) :]
        key = _key(table, wire_key)
        before = known.get(key)
        if row[META - 1]:
            assert before is not None, f"{table.name}: a tombstone of {key}, which was never sent"
            del known[key]
            return
        is_same = before is not None and before.shown(table) == _shown(table, wire_key, values)
        assert not is_same or table.name in self._unsure, f"{table.name}: {key} has not changed"
        merged = {
            **(before.values if before else {}),
            **dict(zip(table.values, values, strict=True)),
        }
        known[key] = _Known(self._sessions, wire_key, merged)

    def _pull(self, store: DeviceStore) -> None:
        """Give back all rows of the tables that sync asks for anew."""
        names = store.tables_anew()
        asked = [t for t in store.tables() if t.name in names]
        listed = [PulledBatch(n, t.wire_name, len(self._rows(t))) for n, t in enumerate(asked, 1)]
        answer = PullAnswer("", [[1, self._sessions]] if self._sessions else [], listed)
        with closing(self._downloaded(listed, asked)) as downloaded:
            apply(store, store.tables(), answer, downloaded, report=silent)

    def _downloaded(
        self, listed: list[PulledBatch], tables: list[SyncTable]
    ) -> Iterator[tuple[PulledBatch, bodies.Payload]]:
        for one, table in zip(listed, tables, strict=True):
            batch = batches.Batch(
                table.wire_name, table.wire_key, table.wire_columns, self._rows(table)
            )
            yield one, bodies.Payload("identity", batches.encode(batch))

    def _rows(self, table: SyncTable) -> list[Row]:
        hint = (None,) if table.is_local else ()
        return [
            (row.session, None, None, 0, *row.key, *hint, *map(row.values.get, table.values))
            for row in self._known.get(table.wire_name, {}).values()
        ]

    def _compare(self, store: DeviceStore, table: SyncTable) -> None:
        known = self._known.get(table.wire_name, {})
        here = {
            _key(table, key): _shown(table, key, values) for key, values in identities(store, table)
        }
        sent = {key: row.shown(table) for key, row in known.items()}
        assert sent == here, f"{table.name}: sent {sent}, and it holds {here}"
        is_keyed = " AND ".join(f"{quote(name)} IS NOT NULL" for name in table.key)
        count = store.count(f"SELECT count(*) FROM {quote(table.name)} WHERE {is_keyed}")
        assert count == len(here), f"{table.name}: {count} rows, and {len(here)} are known"

    def _compare_tags(self, store: DeviceStore, table: SyncTable) -> None:
        """A row that has its tag still is known by the same row_id still."""
        if not table.is_local or TAG not in table.values:
            return
        found = store.rows(
            f"SELECT a.{TAG}, r.row_id FROM {quote(table.name)} AS a JOIN {quote(table.rows)} AS r"
            f" ON r.key_1 = a.{quote(table.key[0])} AND r.is_deleted = 0 WHERE a.{TAG} IS NOT NULL"
        )
        before, now = self._tags.get(table.wire_name, {}), dict(found)
        self._tags[table.wire_name] = now
        if self._schema_version != store.schema_version():
            return  # nobody saw what happened while triggers were missing
        for tag, row_id in now.items():
            assert before.get(tag, row_id) == row_id, f"{table.name}: another row_id of tag {tag}"
        if self.keeps_tags:
            tags = {row_id: tag for tag, row_id in now.items()}
            for tag, row_id in before.items():
                same = tags.get(row_id, tag) == tag
                assert same, f"{table.name}: tag {tags.get(row_id)} has the row_id of tag {tag}"


def _key(table: SyncTable, key: Row) -> Key:
    """The same for keys that are equal under the collations of the table."""
    if table.is_local:
        return shown(key)
    return tuple(
        _canonical(value, column.collation)
        for value, column in zip(key, table.key_columns, strict=True)
    )


def _canonical(value: Any, collation: str) -> str:
    if isinstance(value, str) and collation == "NOCASE":
        return repr(folded(value))
    if isinstance(value, str) and collation == "RTRIM":
        return repr(value.rstrip(" "))
    if isinstance(value, float) and value.is_integer():
        return repr(int(value))
    return repr(value)


def _shown(table: SyncTable, key: Row, values: Sequence[Any]) -> dict[str, str]:
    """Keys are known by their places: a key column that is renamed is the same key."""
    names = [] if table.is_local else [f"key {i}" for i in range(len(table.key))]
    row = values if table.is_local else (*key, *values)
    return dict(zip([*names, *table.values], shown(row), strict=True))
