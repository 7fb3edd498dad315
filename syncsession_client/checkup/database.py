"""One database and its tables: reading what the rules want to know, and asking them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from .. import schema_changes, triggers
from ..identity import (
    Choices,
    Registration,
    SyncTable,
    all_references,
    arrange,
    chosen,
    plan,
    undeclared,
)
from ..protocol.tables import MOST_TABLES, Reference, Table, folded
from ..schema import SchemaObject
from ..setup import check_same_choices
from ..store import DeviceStore
from . import cautions, firing, references, refusals
from .facts import Sample, TableFacts, count_orphans, look_up, read_sample, read_tables
from .findings import CheckedTable, Checkup, Finding, listed

_MODULE = re.compile(r"\bUSING\s+(\w+)", re.IGNORECASE)
_CONTENT = re.compile(r"""\bcontent\s*=\s*(?:'([^']+)'|"([^"]+)"|(\w+))""", re.IGNORECASE)


def check_up(path: Path, choices: Choices) -> Checkup:
    """What `init` with these choices would meet, table by table; the file stays as it is.

    Raises:
        UnknownName, Unsyncable: the choices name what is not there, or what cannot be.
        AlreadyInitialized: sync is installed with other choices.
    """
    with DeviceStore(path, read_only=True) as store, store.read():
        return _Database(store, choices).checkup()


class _Database:
    """A database whose tables are being judged, in one read transaction."""

    def __init__(self, store: DeviceStore, choices: Choices) -> None:
        self.store = store
        self.objects = store.objects()
        self.is_initialized = store.is_initialized()
        self.synced = {t.name: t for t in _synced(store)} if self.is_initialized else {}
        self.given = choices
        self.choices = self._with_known(choices)
        self.found = store.found_tables()
        self.wanted = chosen(self.found, self.choices)
        self.facts = read_tables(store, self.wanted)
        self.findings: dict[str, list[Finding]] = {n: list(self._refused(n)) for n in self.wanted}
        self._rule_out_children()
        self.able = [name for name, findings in self.findings.items() if not findings]
        self.tables = {t.name: t for t in self._planned()}

    def checkup(self) -> Checkup:
        """The findings about every table, and about all of it."""
        self._look_at_references()
        self._look_at_triggers()
        for name, table in self.tables.items():
            self.findings[name] += self._look_at(self.facts[name], table)
        checked = tuple(self._checked(name) for name in self.wanted)
        return Checkup(
            database=str(self.store.path),
            is_initialized=self.is_initialized,
            tables=checked,
            left_out=tuple(name for name in self.found if name not in self.wanted),
            findings=tuple(self._of_all()),
            init=self._init(checked),
        )

    def _with_known(self, choices: Choices) -> Choices:
        """The choices, with those that the tables were set up with."""
        known = {folded(name): table for name, table in self.synced.items()}
        check_same_choices(self.store, known, choices)
        return Choices(
            tables=(*self.synced, *choices.tables) if choices.tables else (),
            exclude=choices.exclude,
            keys={n: t.table.key_kind for n, t in self.synced.items()} | dict(choices.keys),
            references=undeclared(self.synced.values()) + choices.references,
        )

    def _refused(self, name: str) -> Iterator[Finding]:
        return refusals.refused(self.facts[name])

    def _rule_out_children(self) -> None:
        refs = {n: all_references(t, self.choices, self.found) for n, t in self.wanted.items()}
        out = [name for name, findings in self.findings.items() if findings]
        left_out = set(self.found) - set(self.wanted)
        for name, finding in refusals.outside(refs, out, left_out).items():
            self.findings[name].append(finding)

    def _planned(self) -> tuple[Table, ...]:
        if not self.able:
            return ()
        return plan(self.found, replace(self.choices, tables=tuple(self.able), exclude=())).tables

    def _look_at_references(self) -> None:
        parents = references.numbered_parents(self.tables.values())
        for suspect in references.suspects(list(self.tables.values()), parents, self.found):
            sample = self._sample(suspect, parents)
            finding = references.judge(suspect, sample)
            if finding:
                self.findings[suspect.table].append(finding)

    def _sample(self, suspect: references.Suspect, parents: Mapping[str, str]) -> Sample:
        table, column = self.found[suspect.table], suspect.column
        sample = read_sample(self.store, table, column)
        keys = {name: self.facts[name].key for name in parents}
        asked = [(n, parents[n]) for n in references.worth_asking(suspect, sample, keys)]
        return look_up(self.store, table, column, sample, asked) if asked else sample

    def _look_at(self, facts: TableFacts, table: Table) -> Iterator[Finding]:
        found = self.findings[table.name]
        suspected = frozenset(name for f in found for name in f.columns)
        yield from cautions.noteworthy(facts, table, self.choices, suspected)
        yield from cautions.generated(
            facts, table, references.numbered_parents(self.tables.values())
        )
        yield from cautions.broken(table, self._orphans(table), self.found)

    def _orphans(self, table: Table) -> dict[Reference, int]:
        return {
            r: count_orphans(self.store, self.found[table.name], r)
            for r in table.references
            if r.declared and r.parent_columns and _is_found_fast(r, self.tables.get(r.parent))
        }

    def _look_at_triggers(self) -> None:
        part = frozenset(map(folded, self._taking_part()))
        virtual = {folded(o.name): o for o in self._virtual()}
        found = triggers.of_tables(self.store, _as_synced(self.tables))
        for name, its in found.items():
            self.findings[name].append(firing.silent_or_not(its, part, frozenset(virtual)))
        for index, content in _contents(virtual):
            for name in (n for n in self.tables if folded(n) == content):
                written = found[name].writes if name in found else frozenset()
                if written is not None and folded(index) not in written:
                    self.findings[name].append(firing.unkept(index))

    def _taking_part(self) -> list[str]:
        """The tables that are synced, or will be after `init` with the choices as given."""
        if not self.is_initialized:
            return self.able
        named = {folded(name) for name in (*self.synced, *self.given.tables)}
        return [name for name in self.able if folded(name) in named]

    def _virtual(self) -> list[SchemaObject]:
        return [o for o in self.objects if o.type == "virtual" and not o.is_ours]

    def _checked(self, name: str) -> CheckedTable:
        facts, table = self.facts[name], self.tables.get(name)
        findings = self.findings[name]
        return CheckedTable(
            name=name,
            is_synced=name in self.synced,
            key=table.key_kind if table else None,
            rows=None if facts.found.fault else facts.rows,
            findings=tuple(map(_too_late, findings) if name in self.synced else findings),
        )

    def _of_all(self) -> Iterator[Finding]:
        if not self.wanted:
            yield Finding("red", "no_tables", "there is no table to sync", "create one first")
        if len(self.able) > MOST_TABLES:
            yield Finding(
                "red",
                "too_many_tables",
                f"{len(self.able)} tables would take part, and a server takes {MOST_TABLES}",
                "choose some with --table, or leave some out with --exclude",
            )
        ours = [o.name for o in self.objects if o.type == "table" and o.is_ours]
        if ours and not self.is_initialized:
            yield Finding(
                "amber",
                "reserved_name",
                f"{listed(ours)} is left alone: names of tables that sync adds begin so",
                "give it another name, if it is the application's",
            )
        yield from _not_synced(self.objects)

    def _init(self, checked: tuple[CheckedTable, ...]) -> tuple[str, ...] | None:
        """The command that sets the tables up which can take part, with the flags suggested."""
        new = [t for t in checked if t.verdict != "red" and not t.is_synced]
        if not new:
            return None
        flags: list[str] = []
        if self.is_initialized or self.given.tables:
            flags += [part for t in new for part in ("--table", t.name)]
        else:
            out = [t.name for t in checked if t.verdict == "red"]
            flags += [part for name in (*self.given.exclude, *out) for part in ("--exclude", name)]
        for name, kind in self.given.keys.items():
            flags += ["--key", f"{name}={kind}"]
        for child, column, parent in self.given.references:
            flags += ["--ref", f"{child}.{column}={parent}"]
        flags += [part for t in new for f in t.findings for part in f.flags]
        return ("syncsession-client", "init", str(self.store.path), *flags)


def _synced(store: DeviceStore) -> list[SyncTable]:
    """The synced tables under the names that they have now, before a sync has seen these."""
    return [t for t in arrange(schema_changes.look(store).registrations) if not t.is_missing]


def _is_found_fast(reference: Reference, parent: Table | None) -> bool:
    """Whether the columns that a reference points to have an index."""
    columns = tuple(map(folded, reference.parent_columns))
    indexed = (parent.key, *parent.unique) if parent else ()
    return columns in [tuple(map(folded, names)) for names in indexed]


def _as_synced(tables: Mapping[str, Table]) -> list[SyncTable]:
    return arrange(Registration(table, f"_sync_{name}") for name, table in tables.items())


def _contents(virtual: Mapping[str, SchemaObject]) -> Iterator[tuple[str, str]]:
    """(virtual table, the table that it indexes, in lower case) of each that has one."""
    for found in virtual.values():
        match = _CONTENT.search(found.sql)
        if match:
            yield found.name, folded(next(filter(None, match.groups())))


def _too_late(finding: Finding) -> Finding:
    """A finding about a table that is set up: flags are for tables that are not."""
    if not finding.flags:
        return finding
    way_out = f"{finding.way_out}; sync is installed without it, so run uninstall before init"
    return replace(finding, way_out=way_out, flags=())


def _not_synced(objects: list[SchemaObject]) -> Iterator[Finding]:
    virtual = [o for o in objects if o.type == "virtual" and not o.is_ours]
    views = [o.name for o in objects if o.type == "view" and not o.is_ours]
    if virtual:
        names = [f"{o.name} ({m[1]})" if (m := _MODULE.search(o.sql)) else o.name for o in virtual]
        yield Finding(
            "note",
            "virtual_tables",
            f"virtual tables are not synced, and what only they hold stays on this device: "
            f"{listed(names)}",
        )
    if views:
        yield Finding("note", "views", f"views hold no rows, and are left alone: {listed(views)}")
