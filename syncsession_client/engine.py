"""SyncEngine: one database file and one server, in step. The caller owns retries."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from . import clone, copies, held_back, pull, push, reconcile, rejects, schema_changes
from .apply import Pulled, apply
from .defaults import BATCH_ROWS, MOST_BATCH_ROWS, PUSH_STATUS_TIMEOUT
from .fold import fold
from .lock import SyncLock
from .outbox import Outbox, Outgoing
from .progress import Cancellation, Cancelled, Progress, Report, silent
from .protocol.batches import BATCH_BYTES
from .protocol.errors import (
    AlreadyExists,
    BadRequest,
    BatchDamaged,
    CopiedDevice,
    ForbiddenModifier,
    NotWritable,
    ServerRestored,
    SessionExpired,
    SessionFailed,
    SessionState,
    SyncError,
    TooLarge,
    TryLater,
    Unappliable,
    UnknownPull,
    UnknownSession,
    UnknownTable,
    Unsyncable,
    WrongTenant,
)
from .protocol.kill_points import point
from .protocol.session_set import SessionSet
from .protocol.tables import Table, to_json
from .pull import Download
from .push import Pushed
from .store import STATE, DeviceStore
from .transport import Transport
from .wire_names import described, distinct

_SEAL_ANEW = (
    BadRequest,
    ForbiddenModifier,
    ServerRestored,
    SessionState,
    TooLarge,
    UnknownSession,
    UnknownTable,
)
"""Refusals after which the session cannot be committed any more: its rows are dirty still."""

_FOLDS = 5
"""How often a push folds anew because a program has written in the moment before it sealed."""

MOST_REFUSALS = 5
"""How often a row is refused in one sync. A second time takes a program that edits it meanwhile;
more takes one that does so just between a refusal and the next seal, each time.
"""


@dataclass(frozen=True)
class Synced:
    """What a sync did. `warnings` are sentences for a person; `is_offline` where a coordinator did
    not sync, since there was no network.
    """

    pushed: Pushed = field(default_factory=Pushed)
    pulled: Pulled = field(default_factory=Pulled)
    warnings: tuple[str, ...] = ()
    is_offline: bool = False


class SyncEngine:
    """Opens a database and a connection to its server on entry, and closes both on exit.

    One process syncs a file at a time; any number may write to it meanwhile.

    Example:
        with SyncEngine(Path("app.db"), token=token) as engine:
            print(engine.synchronize().pulled.rows)

    `batch_rows` is 1 to 10,000. `push_status_timeout` is how many seconds a push waits for the
    outcome of its session once the server has all of it; then StillCommitting is raised, and the
    next sync waits again. `is_locked`: the caller holds the SyncLock of the database.

    Raises, from every method:
        TryLater: the server or the file cannot be had now; the same call may succeed later.
        SyncError: anything else that is the matter; see docs/reference/errors.md.
    """

    def __init__(
        self,
        database: Path,
        *,
        token: str,
        server: str | None = None,
        batch_rows: int = BATCH_ROWS,
        push_status_timeout: float = PUSH_STATUS_TIMEOUT,
        allow_mass_delete: bool = False,
        report: Report = silent,
        cancellation: Cancellation | None = None,
        is_disposable: bool = False,
        is_locked: bool = False,
    ) -> None:
        if not 1 <= batch_rows <= MOST_BATCH_ROWS:
            raise ValueError(f"batch_rows is {batch_rows}: use 1 to {MOST_BATCH_ROWS}")
        if not push_status_timeout > 0:
            raise ValueError(f"push_status_timeout is {push_status_timeout}: use more than 0")
        self._is_disposable = is_disposable
        self._is_locked = is_locked
        self._database = database
        self._token = token
        self._server = server
        self._batch_rows = batch_rows
        self._push_status_timeout = push_status_timeout
        self._allow_mass_delete = allow_mass_delete
        self._report = report
        self._cancellation = cancellation or Cancellation()
        self._warnings: list[str] = []
        self._batch_bytes = BATCH_BYTES  # less once the server has not taken so many
        self._refused: Counter[tuple[str, bytes]] = Counter()  # rows, in this sync
        self._began_at: Any = None
        self._lost: int | None = None  # a session of ours that went with the sidecar

    def __enter__(self) -> "SyncEngine":
        with ExitStack() as stack:
            self._store = stack.enter_context(
                DeviceStore(self._database, is_disposable=self._is_disposable)
            )
            state = self._store.state()
            if not self._is_locked:
                stack.enter_context(SyncLock(self._database, "sync"))
            self._outbox = stack.enter_context(Outbox(self._database))
            server = self._server or state.server_url
            self._transport = stack.enter_context(Transport(server, self._token, state.device_id))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def synchronize(self) -> Synced:
        """Push what is dirty, then pull what other devices committed."""
        with self._reporting():
            earlier = self._prepare()
            kept = self._finish_pull()
            caught_up, pushed = self._push_as_oneself()
            pulled = _pulled(_pulled(kept, caught_up), self._pull())
            return self._done(_pushed(earlier, pushed), pulled)

    def push(self) -> Synced:
        """Push what is dirty; a file that turns out to be a copy of another's pulls first."""
        with self._reporting():
            earlier = self._prepare()
            caught_up, pushed = self._push_as_oneself()
            return self._done(_pushed(earlier, pushed), caught_up)

    def pull(self) -> Synced:
        """Pull what other devices committed."""
        with self._reporting():
            earlier = self._prepare()
            kept = self._finish_pull()
            return self._done(earlier, _pulled(kept, self._pull()))

    def fold(self) -> None:
        """Empty the log into the shadow rows, as a sync does first; this takes no server."""
        with self._store.write():
            self._follow_schema()
            fold(self._store, self._store.tables())

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Report a cancellation, and name the database and tenant that the server refuses."""
        try:
            yield
        except Cancelled:
            self._report(Progress("cancelled"))
            raise
        except WrongTenant as error:
            bound = self._store.state().tenant_id or "another"
            raise WrongTenant(
                f"{self._database} is bound to tenant {bound}, and the token is of another: use a "
                f"token of {bound}, or clone a new file"
            ) from error

    def _done(self, pushed: Pushed, pulled: Pulled) -> Synced:
        refused = self._store.count(STATE.count_refused_since, {"since": self._began_at})
        pushed = replace(pushed, rejected_rows=refused)
        self._report(Progress("complete"))
        orphans = [
            f"{o.table}: {o.rows} rows whose {', '.join(o.columns)} is in no row of {o.parent}"
            for o in pulled.orphans
        ]
        return Synced(pushed, pulled, (*self._warnings, *orphans))

    def _prepare(self) -> Pushed:
        """See what has become of the schema, tell the server, and see a sealed session through.

        The latter comes before anything is pulled: a row that was pushed and is not acknowledged
        looks like an edit, and what a pull brings for it would be passed over.
        """
        self._refused.clear()
        (self._began_at,) = self._store.first(STATE.now) or (None,)
        self._cancellation.check()
        self._report(Progress("connecting"))
        with self._store.write():
            self._follow_schema()
            self._warnings += schema_changes.warnings(self._store)
            held_back.let_edited_go(self._store)
            point("refresh.inside")
        point("refresh.done")
        self._register()
        self._cancellation.check()
        pushed = self._resume_push()
        lost = self._store.state().sealed_session_id
        if lost is not None:
            self._lost = self._number_of(lost)
            with self._store.write():
                reconcile.doubt(self._store)
                if not self._is_behind_itself():
                    self._store.run(STATE.set_sealed, {"session_id": None})
        return pushed

    def _number_of(self, session_id: str) -> int | None:
        """The number of a session that the server knows."""
        try:
            return int(self._transport.push_status(session_id)["number"])
        except UnknownSession:
            return None

    def _push_as_oneself(self) -> tuple[Pulled, Pushed]:
        """Push. What the server has to tell first is pulled first: what it corrected of the last
        push, what went with the sidecar, or what another copy of this file has pushed.
        """
        pulled = Pulled()
        if self._is_behind_itself():
            pulled = self._finish_pull()
        if self._is_behind_itself():
            pulled = _pulled(pulled, self._pull())
        try:
            return pulled, self._push()
        except CopiedDevice:
            self._outbox.drop_incoming()
            return _pulled(pulled, self._pull()), self._push()

    def _is_behind_itself(self) -> bool:
        """Whether the file lacks what it has pushed. A session that went with the sidecar is noted
        until then; forgotten before that, it would be taken for another copy's.
        """
        is_corrected = self._store.state().corrected_session is not None
        return is_corrected or copies.is_behind_itself(self._store, self._lost)

    def _follow_schema(self) -> None:
        """Let what sync keeps follow the tables of the application."""
        self._warnings += reconcile.refresh(self._store, allow_mass_delete=self._allow_mass_delete)

    def _push(self) -> Pushed:
        """Push what is dirty; without the rows that the server does not take, as often as it names
        others.
        """
        pushed = None
        while pushed is None and (outgoing := self._fold_and_seal()):
            self._cancellation.check()
            pushed = self._send(outgoing)
        if held := self._store.count(STATE.count_rejects):
            self._warnings.append(
                f"held back, since the server refuses them or what they reference: {held} rows; "
                f"look at them with syncsession-client rejects {self._database}"
            )
        return pushed or Pushed()

    def _fold_and_seal(self) -> Outgoing | None:
        for _ in range(_FOLDS):
            self._fold()
            with suppress(push.NotFolded):
                return self._seal(is_to_be_whole=True)
        return self._seal(is_to_be_whole=False)  # rather half of a transaction than never anything

    def _fold(self) -> None:
        with self._store.write():
            self._store.check_schema()
            folded = reconcile.bring_up_to_date(
                self._store, allow_mass_delete=self._allow_mass_delete
            )
            held_back.find(self._store)
        point("fold.done")
        if folded.null_keys:
            self._warnings.append(
                f"{folded.null_keys} edits are of rows with NULL in their primary key; they cannot "
                "be synced until the rows have a key"
            )

    def _seal(self, *, is_to_be_whole: bool) -> Outgoing | None:
        return push.seal(
            self._store,
            self._outbox,
            self._store.tables(),
            batch_rows=self._batch_rows,
            batch_bytes=self._batch_bytes,
            is_to_be_whole=is_to_be_whole,
            cancellation=self._cancellation,
        )

    def _resume_push(self) -> Pushed:
        """Send on what was sealed before and not acknowledged, unless it is of another time."""
        outgoing, state = self._outbox.outgoing(), self._store.state()
        if outgoing is None:
            return Pushed()
        is_ours = outgoing.device_id == state.device_id
        if not is_ours or outgoing.session_id != state.sealed_session_id:
            self._outbox.drop_outgoing()
            return Pushed()
        try:
            return self._send(outgoing, is_resumed=True) or Pushed()
        except (CopiedDevice, SessionExpired, UnknownSession):
            return Pushed()

    def _send(self, outgoing: Outgoing, *, is_resumed: bool = False) -> Pushed | None:
        """Send a session; None where it was dropped, and what is left is to be sealed anew."""
        outcome = None
        if self._outbox.outgoing_tables():
            with self._store.write():
                self._store.run(STATE.set_sealed, {"session_id": outgoing.session_id})
            point("push.noted")
            try:
                outcome = push.send(
                    self._outbox,
                    self._transport,
                    outgoing,
                    copies.all_processed(self._store),
                    check_tenant=self._check_tenant,
                    status_timeout=self._push_status_timeout,
                    report=self._report,
                    cancellation=self._cancellation,
                )
            except push.TooLargeTogether as error:
                self._batch_bytes = error.most_bytes
                self._forget_sealed()
                return None
            except SyncError as error:
                if error.rejects:
                    self._refuse(error, outgoing.generation)
                    return None
                if isinstance(error, CopiedDevice | SessionExpired | SessionFailed):
                    self._forget_sealed()
                elif isinstance(error, _SEAL_ANEW):
                    self._outbox.drop_outgoing()
                raise
        point("push.answered")
        self._outbox.drop_incoming()  # begun before this push, so it holds older rows
        return push.acknowledge(
            self._store,
            self._outbox,
            self._store.all_tables(),
            outgoing,
            outcome,
            is_resumed=is_resumed,
        )

    def _refuse(self, error: SyncError, generation: int) -> None:
        """Mark the rows for which a session was refused, and drop it. It is not at the server: a
        batch of it was refused, or it failed.

        A row that was edited meanwhile is tried once more; after that it is held back as it is, so
        that a program which goes on editing it is in nobody's way.

        Raises:
            SyncError: that error, where it names no row that would not go again as it was, or one
                that was refused MOST_REFUSALS times before.
        """
        named = {(r.table, msgspec.json.encode(r.key)): r for r in reversed(error.rejects)}
        again = named.keys() & self._refused.keys()
        with self._store.write():
            if again:
                fold(self._store, self._store.tables())
            settled = sum(
                rejects.mark(self._store, [named[key] for key in keys], generation, is_final=final)
                for keys, final in ((named.keys() - again, False), (again, True))
            )
            self._store.run(STATE.set_sealed, {"session_id": None})
            point("push.refusing")
        point("push.refused")
        self._outbox.drop_outgoing()
        self._refused.update(named.keys())
        if not settled or any(self._refused[key] > MOST_REFUSALS for key in named):
            raise error

    def _forget_sealed(self) -> None:
        """Drop a session of which the server has nothing: that is certain."""
        with self._store.write():
            self._store.run(STATE.set_sealed, {"session_id": None})
        point("push.forgotten")
        self._outbox.drop_outgoing()

    def _finish_pull(self) -> Pulled:
        """Finish the pull that the outbox keeps from an earlier time."""
        begun = pull.under_way(self._outbox, self._store.state().device_id, self._request())
        if begun is None:
            return Pulled()
        self._report(Progress("pull_begin", total_rows=begun.answer.rows))
        try:
            return self._finish(begun)
        except UnknownPull:
            self._outbox.drop_incoming()
            return Pulled()

    def _request(self) -> bytes:
        store = self._store
        return pull.request(store.tables(), store.processed(), store.tables_anew())

    def _pull(self) -> Pulled:
        if not self._store.tables():
            return Pulled()
        self._cancellation.check()
        begun = pull.begin(
            self._outbox,
            self._transport,
            self._store.state().device_id,
            self._request(),
            report=self._report,
        )
        self._check_tenant(begun.answer.tenant_id)
        processed = self._store.processed()
        known = [processed.get(t.wire_name, SessionSet()) for t in self._store.tables()]
        is_new = any(begun.answer.settled - sessions for sessions in known)
        if is_new or self._store.tables_anew():
            return self._finish(begun)
        self._report(Progress("pull_complete"))
        return Pulled()

    def _finish(self, begun: Download) -> Pulled:
        downloaded = pull.download(
            self._outbox, self._transport, begun, cancellation=self._cancellation
        )
        is_copy = copies.is_behind_itself(self._store, begun.answer.pushed)
        is_another = is_copy and begun.answer.pushed != self._lost
        try:
            with closing(downloaded):
                pulled = apply(
                    self._store,
                    self._store.tables(),
                    begun.answer,
                    downloaded,
                    report=self._report,
                    is_copy=is_copy,
                    is_another=is_another,
                    cancellation=self._cancellation,
                )
        except (Unappliable, BatchDamaged):
            self._outbox.drop_incoming()  # the next pull may bring what stood in its way
            raise
        point("apply.done")
        if begun.answer.is_held:
            self._outbox.drop_incoming()
            point("pull.dropped")
            with suppress(TryLater):  # the rows are here; the server forgets its copy later
                self._transport.complete_pull(begun.pull_id)
        if is_another:
            self._tell_another()
        if pulled.lost_rows:
            self._warnings.append(
                f"{pulled.lost_rows} edits of this device lost against others of the same rows; "
                f"look at them with syncsession-client conflicts {self._database}"
            )
        if pulled.refused_rows:
            self._warnings.append(
                f"{pulled.refused_rows} rows from the server do not fit here "
                f"({pulled.refused_reason}): they come again with each sync, until the row that is "
                "in their way has changed"
            )
        if pulled.outdated_rows:
            self._warnings.append(
                f"{pulled.outdated_rows} edits were older than what another copy of this file has "
                "pushed of the same rows; they are kept in _syncsession_conflicts"
            )
        self._report(Progress("pull_complete", done_rows=pulled.rows, total_rows=pulled.rows))
        return pulled

    def _tell_another(self) -> None:
        """Go on as the device that this file has become."""
        state = self._store.state()
        self._transport.become(state.device_id)
        self._warnings.append(
            f"{self._database} is a copy of device {state.copied_from}, or came back from a "
            f"backup: it is device {state.device_id} from now on"
        )

    def _register(self) -> None:
        """Describe the tables to the server, where it has not heard of them as they are."""
        state = self._store.state()
        if state.is_registered and state.tenant_id is not None:
            return
        answer = self._describe()
        point("tables.described")
        self._check_tenant(answer["tenant_id"])
        if known_as := answer.get("known_as"):
            with self._store.write():
                self._store.set_sent_names(known_as)
            answer = self._describe()
        with self._store.write():
            reconcile.log_filled(self._store, answer["new_columns"])
            self._store.run(STATE.set_registered, {"is_registered": 1})

    def _describe(self) -> dict[str, Any]:
        tables = described(self._store.all_tables())
        return self._transport.put_tables(to_json(tables))

    def _check_tenant(self, tenant: str) -> None:
        """Bind the database at its first sync, and let no other tenant's server have it."""
        state = self._store.state()
        if state.tenant_id is None:
            with self._store.write():
                self._store.run(STATE.bind_tenant, {"tenant_id": tenant})
        elif state.tenant_id != tenant:
            raise WrongTenant(f"bound to {state.tenant_id}, not {tenant}")


def clone_database(path: Path, *, server: str, token: str, report: Report = silent) -> Synced:
    """Make `path` a new device of the token's tenant, with all its rows.

    Raises:
        AlreadyExists: there is such a file.
        Unsyncable: the tenant has no table yet.
    """
    if path.exists():
        raise AlreadyExists(f"{path} is there already: clone into a new file, or remove it first")
    with Transport(server, token) as transport:
        me = transport.me()
        told = transport.get_tables()
    tables = distinct(msgspec.convert(told["tables"], list[Table]))
    if not tables:
        raise Unsyncable(
            f"tenant {me['tenant_id']} has no table yet: init and sync a database that has some"
        )
    try:
        directory = tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise NotWritable(f"{path} cannot be made: {error.strerror}") from error
    with directory as made:
        fresh = Path(made) / path.name
        try:
            clone.create(
                fresh, server=server, tenant=me["tenant_id"], user=me["user_id"], tables=tables
            )
            with SyncEngine(fresh, token=token, report=report, is_disposable=True) as engine:
                point("clone.created")
                synced = engine.pull()
        except SyncError as error:
            error.args = (str(error).replace(str(fresh), str(path)),)
            raise
        point("clone.pulled")
        clone.publish(fresh, path)
    return synced


def _pushed(earlier: Pushed, later: Pushed) -> Pushed:
    """Both pushes as one."""
    return Pushed(later.session or earlier.session, earlier.rows + later.rows)


def _pulled(earlier: Pulled, later: Pulled) -> Pulled:
    """Both pulls as one."""
    return Pulled(
        earlier.sessions | later.sessions,
        earlier.rows + later.rows,
        earlier.kept_rows + later.kept_rows,
        earlier.outdated_rows + later.outdated_rows,
        earlier.lost_rows + later.lost_rows,
        later.refused_rows,
        later.refused_reason,
        earlier.orphans + later.orphans,
    )
