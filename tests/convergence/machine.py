"""The steps: a state machine of Hypothesis, whose rules are what may happen."""

import signal
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar, Literal

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from network import FAULTS, Exchange, Fault, is_slow, passes
from points import points

from syncsession_client.progress import Cancellation, Cancelled, Progress, Report, silent
from syncsession_client.protocol.commands import TRY_LATER
from syncsession_client.protocol.errors import TryLater

from .edits import ACTS, FIRST, Choice
from .model import Model
from .tables import TABLES, UNIQUE
from .world import BATCH_ROWS, IMPATIENT, Site, Station, World, directory

MOST_DEVICES = 4
MOST_CORRECTIONS = 6

Before = list[list[Choice] | Literal["fold"]]
After = list[tuple[int, list[Choice]]]

_few = st.integers(0, 9)
which = st.sampled_from([0, 0, 1, 1, 2, 3])
"""A device, or the first again where there are fewer: most is done by two, so that they meet."""

choices = st.lists(
    st.builds(
        Choice,
        st.sampled_from([*sorted(ACTS), *["change", "change_all"] * 3]),
        st.sampled_from(sorted(TABLES)),
        _few,
        _few,
    ),
    min_size=1,
    max_size=5,
)
commands = st.sampled_from(["sync", "sync", "push", "pull"])
faults = st.sampled_from([fault for fault in FAULTS if fault is not is_slow])
passing = st.sampled_from([1, 1, 1, 2, 3])
before = st.lists(st.one_of(choices, st.just("fold")), max_size=3)
"""What comes before a sync: transactions of the device's programs, and folds without a server, as
`watch` does them. What is folded while a session is under way is of a later generation than that.
"""

after = st.lists(st.tuples(which, choices), max_size=2)
"""After one that may have failed: another device syncs, writes and syncs, or it writes itself."""

in_a_sync = st.sampled_from(
    [p for p in points("client") if p.split(".")[0] not in ("init", "uninstall", "clone")]
)
on_the_server = st.sampled_from(
    [p for p in points("server") if not p.endswith(("expired", "removed", "horizon_set"))]
)
"""Not those of cleaning up: it finds nothing to do beside a sync."""

meanwhile = st.dictionaries(
    st.integers(1, 12),
    st.one_of(
        choices,
        st.tuples(st.sampled_from(["sync", "push"]), which),
        st.just("cancel"),
    ),
    max_size=3,
)
"""What happens at which report of a sync: an edit, a sync of another device, a cancellation."""


def step(decorate: Callable[..., Any] = rule, **strategies: Any) -> Callable[..., Any]:
    """A rule of the machine. What it was called with is kept: where a failure does not come again,
    and with real processes it may not, Hypothesis shows no step.
    """

    def made(function: Callable[..., None]) -> Any:
        @wraps(function)
        def told(self: "Convergence", **values: Any) -> None:
            self.told.append(f"{function.__name__}({values})")
            function(self, **values)

        return decorate(**strategies)(told)

    return made


class Convergence(RuleBasedStateMachine):
    """Two to four devices of a tenant. Subclasses name the site."""

    site: ClassVar[Site]

    def __init__(self) -> None:
        super().__init__()
        self._directory = directory()
        self.world = World(self.site, self._directory.__enter__())
        self.model = Model()
        self.told: list[str] = []

    @step(
        initialize,
        journals=st.tuples(*[st.sampled_from(["WAL", "DELETE"])] * 2),
        recursive=st.tuples(st.booleans(), st.booleans()),
        is_cloned=st.booleans(),
    )
    def begin(
        self, journals: tuple[str, str], recursive: tuple[bool, bool], is_cloned: bool
    ) -> None:
        first = self.world.make(journals[0], recursive_triggers=recursive[0])
        self.model.joins(first.name)
        self._write(first, [Choice(*each) for each in FIRST])
        self._sync(first, "sync")
        if is_cloned:
            self._join(self.world.clone(recursive_triggers=recursive[1]))
        else:
            second = self.world.make(journals[1], recursive_triggers=recursive[1])
            self.model.joins(second.name)
            self._sync(second, "sync")

    # Programs

    @step(device=which, before=before)
    def programs_write(self, device: int, before: Before) -> None:
        self._written(device, before)

    @step(device=which, n=st.integers(0, 20))
    def a_program_sets_back(self, device: int, n: int) -> None:
        """A row gets the value that it had before an edit which the server lacks."""
        station = self._station(device)
        found = [
            (row, edit.before[0])
            for row, edit in sorted(self.model.devices[station.name].pending().items())
            if edit.before and edit.after and edit.before[1:] == edit.after[1:] and edit.before[0]
        ]
        if found:
            row, v = found[n % len(found)]
            before, after = station.write([], [(row, v)])
            self.model.wrote(station.name, before, after)

    # Syncs

    @step(device=which, command=commands, before=before)
    def sync(self, device: int, command: str, before: Before) -> None:
        self._sync(self._written(device, before), command)

    @step(device=which, command=commands, before=before, happen=meanwhile)
    def sync_while_much_happens(
        self, device: int, command: str, before: Before, happen: dict[int, object]
    ) -> None:
        station, cancellation, reports = self._written(device, before), Cancellation(), 0

        def report(progress: Progress) -> None:
            nonlocal reports
            reports += 1
            match happen.get(reports):
                case "cancel":
                    cancellation.cancel()
                case list() as edits:
                    self._see(station)
                    self._write(station, edits)
                case (str() as other_command, int() as other):
                    if self._station(other) is not station:
                        self._see(station)
                        self._sync(self._station(other), other_command)

        self._sync(station, command, report, cancellation)

    @step(
        device=which,
        command=commands,
        before=before,
        request=st.integers(1, 12),
        fault=faults,
        after=after,
    )
    def sync_over_a_faulty_network(
        self, device: int, command: str, before: Before, request: int, fault: Fault, after: After
    ) -> None:
        left = request

        def plan(_: Exchange) -> Fault:
            nonlocal left
            left -= 1
            return passes if left else fault

        self.site.net.plan = plan
        station = self._written(device, before)
        self._sync(station, command, then=self.site.net.is_well)
        self._go_on(station, after)

    @step(device=which, command=commands, before=before, point=in_a_sync, time=passing, after=after)
    def a_sync_is_killed(
        self, device: int, command: str, before: Before, point: str, time: int, after: After
    ) -> None:
        station = self._written(device, before)
        code = -1

        def run() -> bool:
            nonlocal code
            code = station.run(command, f"{point}:{time}")
            return code == 0

        self._watched(station, command, run)
        assert code in (0, TRY_LATER, -signal.SIGKILL), f"{code}: {station.text()}"
        self._go_on(station, after)

    @step(
        devices=st.permutations(range(3)),
        child=st.sampled_from(sorted(t.name for t in TABLES.values() if t.references)),
        n=_few,
        m=st.integers(1, 9),
        is_first=st.booleans(),
    )
    def a_parent_goes_and_a_child_comes(
        self, devices: list[int], child: str, n: int, m: int, is_first: bool
    ) -> None:
        """On two devices, neither of which has heard of the other's edit."""
        goes, comes = self._station(devices[0]), self._station(devices[1])
        references = TABLES[child].references
        self._write(comes, [Choice("refer", child, n, m), Choice("add", child, m, m)])
        self._write(goes, [Choice("remove", references[n % len(references)].parent, m, m)])
        for station in (goes, comes) if is_first else (comes, goes):
            self._sync(station, "sync")

    @step(
        devices=st.permutations(range(3)),
        table=st.sampled_from(UNIQUE),
        n=_few,
        m=_few,
        later=commands,
        is_edited=st.booleans(),
        after=after,
    )
    def two_rows_get_one_value(
        self,
        devices: list[int],
        table: str,
        n: int,
        m: int,
        later: str,
        is_edited: bool,
        after: After,
    ) -> None:
        """On two devices, neither of which has heard of the other's edit; others refer to both, and
        may be edited before their device hears of what has become of them.
        """
        one, other = self._station(devices[0]), self._station(devices[1])
        for station, number in ((one, n), (other, n + 1)):
            row = Choice("add", table, number, m)
            children = [Choice("add", "ticket", number, m), Choice("add", "card", m, m)]
            self._write(station, [row, *children, Choice("give_ticket", table, number, m)])
        self._sync(one, "sync")
        self._sync(other, "push" if is_edited else later)
        if is_edited:
            names = (table, "ticket", "card")
            self._write(other, [Choice("change_all", name, 0, 0) for name in names])
        self._go_on(other, [(devices[1], edits) for _, edits in after])
        self._go_on(other, after)

    @step(device=which)
    def a_person_corrects(self, device: int) -> None:
        """The rows that the server does not take."""
        self._correct(self._station(device))

    @step(device=which)
    def a_person_retries(self, device: int) -> None:
        station = self._station(device)
        station.retry()
        self._see(station)

    # The server

    @step(
        device=which,
        command=commands,
        before=before,
        point=on_the_server,
        time=passing,
        after=after,
    )
    def the_server_is_killed(
        self, device: int, command: str, before: Before, point: str, time: int, after: After
    ) -> None:
        self.site.start(kill_at=f"{point}:{time}")
        station = self._written(device, before)
        self._sync(station, command, then=self.site.start)
        self._go_on(station, after)

    @step(number=st.sampled_from([signal.SIGTERM, signal.SIGKILL]))
    def the_server_restarts(self, number: signal.Signals) -> None:
        self.site.stop(number)
        self.site.start()

    @step()
    def a_week_passes(self) -> None:
        """The server lets go of the sessions and pulls that wait for their devices."""
        if self.world.unfinished():
            self.site.start(*IMPATIENT)
            self.world.until_all_has_expired()
            self.site.start()

    # Devices

    @step(device=which)
    def a_sidecar_is_lost(self, device: int) -> None:
        station = self._station(device)
        station.lose_sidecar()
        self.model.lost_sidecar(station.name)

    @step(recursive=st.booleans())
    def a_device_joins(self, recursive: bool) -> None:
        if len(self.world.stations) < MOST_DEVICES:
            self._join(self.world.clone(recursive_triggers=recursive))

    @step()
    def all_come_to_rest(self) -> None:
        stations = list(self.world.stations.values())
        self._all_sync(stations)
        for _ in range(MOST_CORRECTIONS):
            corrected = [self._correct(station) for station in stations]
            if not any(corrected):
                break
            self._all_sync(stations)
        held = {station.name: station.held() for station in stations}
        lost = {station.name: station.lost() for station in stations}
        self.model.at_rest(held, lost, self.world.history())
        first, *others = (station.device for station in stations)
        for other in others:
            assert other.identities() == first.identities()
        for station in stations:
            again = station.device.sync()
            assert (again.pushed.rows, again.pulled.rows) == (0, 0), "it goes to and fro"

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None and self.world.stations:
                self.all_come_to_rest()
        finally:
            if sys.exc_info()[0] is not None:
                print("\n".join(self.told))
                traceback.print_exc(file=sys.stdout)
            self.site.net.is_well()
            self._directory.__exit__(None, None, None)

    # How

    def _all_sync(self, stations: list[Station]) -> None:
        for station in (*stations, *stations):
            assert self._sync(station, "sync"), "a sync failed where nothing is wrong"

    def _correct(self, station: Station) -> bool:
        """Whether there was anything to correct."""
        is_any = bool(station.held().held_back)
        if is_any:
            self.model.wrote(station.name, *station.correct())
        return is_any

    def _station(self, n: int) -> Station:
        stations = list(self.world.stations.values())
        return stations[n % len(stations)]

    def _written(self, n: int, before: Before) -> Station:
        """A device, when its programs have written."""
        station = self._station(n)
        for edits in before:
            if isinstance(edits, str):
                with station.device.engine() as engine:
                    engine.fold()
                self._see(station)
            else:
                self._write(station, edits)
        return station

    def _go_on(self, station: Station, after: After) -> None:
        """Other devices get what there is, and change it; or it is changed before it is sent on."""
        for n, edits in after:
            other = self._station(n)
            if other is station:
                self._written(n, [edits, "fold"])
            else:
                self._sync(other, "sync")
                self._write(other, edits)
                self._sync(other, "sync")

    def _write(self, station: Station, edits: list[Choice]) -> None:
        before, after = station.write(edits)
        self.model.wrote(station.name, before, after)

    def _join(self, station: Station) -> None:
        self.model.joins(station.name)
        self._see(station, pulled=True)

    def _sync(
        self,
        station: Station,
        command: str,
        report: Report = silent,
        cancellation: Cancellation | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> bool:
        """Sync in this process, and see what has become of it; whether it came through."""

        def run() -> bool:
            try:
                with station.device.engine(
                    batch_rows=BATCH_ROWS, report=report, cancellation=cancellation
                ) as engine:
                    {"sync": engine.synchronize, "push": engine.push, "pull": engine.pull}[
                        command
                    ]()
            except (TryLater, Cancelled):
                return False
            finally:
                then()
            return True

        return self._watched(station, command, run)

    def _watched(self, station: Station, command: str, run: Callable[[], bool]) -> bool:
        transactions = len(self.model.devices[station.name].transactions)
        newest = self.model.newest()
        is_done = run()
        kept = self.world.kept()
        held = station.held()
        self.model.gives_up(station.name, held, station.outdated())
        self.model.holds_back(station.name, held)
        self.model.server_keeps(kept, self.world.conflicts())
        self.model.check_rejects(station.name, held, newest)
        if is_done and command != "pull":
            self.model.pushed(station.name, transactions)
        pulled = newest if is_done and command != "push" else None
        self.model.device_holds(station.name, held, pulled)
        self.model.device_keeps(station.name, station.lost(), pulled)
        station.check_file(held)
        return is_done

    def _see(self, station: Station, *, pulled: bool = False) -> None:
        """Look at the server, and at a device as it is at this moment."""
        kept, held = self.world.kept(), station.held()
        self.model.holds_back(station.name, held)
        self.model.server_keeps(kept, self.world.conflicts())
        self.model.device_holds(station.name, held, self.model.newest() if pulled else None)
