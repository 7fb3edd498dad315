"""What the application's own triggers do when a pull is applied, and what follows. No I/O.

Which fire is decided in `syncsession_client.triggers`; why: docs/explanation/shadow-tables.md.
"""

from ..triggers import TableTriggers
from .facts import CHECK
from .findings import Finding, listed


def silent_or_not(found: TableTriggers, synced: frozenset[str], virtual: frozenset[str]) -> Finding:
    """Whether the application's triggers on a table fire when a pull is applied, and what follows.

    `synced` and `virtual` are names of tables in lower case.
    """
    which = f"its trigger{'s' * (len(found.names) > 1)} {listed(found.names)}"
    verb = "" if len(found.names) > 1 else "s"
    writes = sorted(found.writes or ())
    beside = [name for name in writes if name not in synced]
    within = [name for name in writes if name in synced]
    if found.fire(synced):
        return _firing(which, verb, beside, virtual)
    silent = f"{which} stay{verb} silent when rows of other devices are applied"
    if found.writes is None:
        return Finding(
            "amber",
            "triggers_silent",
            f"{silent}: SQLite cannot compile all of them outside the application",
            "what they keep up beside the synced tables, bring up to date after a pull that "
            "brought rows",
        )
    why = "one may refuse rows (RAISE)" if found.may_refuse else f"{listed(within)} is synced"
    if beside:
        return Finding(
            "amber",
            "triggers_silent",
            f"{silent}, as {why}; so {listed(beside)} does not hear of those rows",
            f"bring {listed(beside)} up to date after each pull that brought rows"
            f"{_rebuild(beside, virtual)}",
        )
    comes = f", and what they write to {listed(within)} comes with the pull" if within else ""
    return Finding("note", "triggers_silent", f"{silent}, as {why}{comes}")


def _firing(which: str, verb: str, beside: list[str], virtual: frozenset[str]) -> Finding:
    reason = (
        f"{which} fire{verb} when rows of other devices are applied, too: what they write, to "
        f"{listed(beside)}, is not synced"
    )
    if virtual.issuperset(beside):
        return Finding("note", "triggers_fire", reason)
    return Finding(
        "amber",
        "triggers_fire",
        reason,
        f"nothing, if {listed(beside)} is to hold every device's rows; else sync it too, and "
        "they stay silent",
    )


def _rebuild(names: list[str], virtual: frozenset[str]) -> str:
    indexes = [name for name in names if name in virtual]
    return f" ({CHECK.rebuild(name=indexes[0])})" if indexes else ""


def unkept(index: str) -> Finding:
    """A search index over a table that no trigger keeps up."""
    return Finding(
        "amber",
        "index_not_kept",
        f"{index} indexes it, and no trigger keeps that up: it does not hear of rows that a pull "
        "brings",
        f"rebuild it after each pull that brought rows: {CHECK.rebuild(name=index)}",
    )
