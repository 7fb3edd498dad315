"""Lets devices live, each in a process of its own, and hands over what they wrote down."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from processes import WITH_PARENT
from support import SECONDS, World

from .device import METERS, SCHEMA, SEED, Device, Plan
from .records import History, Recorder, Row, Version, Wrote, read

TESTS = Path(__file__).parent.parent


@dataclass
class Lives:
    """Devices of one tenant. Their files and their histories are in its directory."""

    world: World
    devices: Sequence[Device]
    counted: Sequence[str]
    _process: subprocess.Popen[bytes] | None = None
    _counted: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        return self.world.directory

    def reach(self, name: str, *urls: str) -> None:
        """From now on devices that go by this name take one of these URLs."""
        fresh = self.directory / f"{name}.fresh"
        fresh.write_text(" ".join(urls))
        fresh.replace(self.directory / name)

    def seed(self) -> None:
        """Put there what is there from the beginning, as a transaction like any other."""
        first = self.world.device(f"{SEED}.db", *SCHEMA)
        begun = time.monotonic_ns()
        meters = [f"m{n}" for n in range(METERS)]
        first.execute(
            f"INSERT INTO entry VALUES ('{SEED}', '{SEED}')",
            *(f"INSERT INTO meter (name, txn) VALUES ('{m}', '{SEED}')" for m in meters),
        )
        first.sync()
        recorder = Recorder(self.directory / f"{SEED}.history")
        rows: dict[Row, str | None] = dict.fromkeys((f"meter/{m}" for m in meters), SEED)
        recorder.add(Wrote(txn=SEED, begun=begun, rows={f"entry/{SEED}": SEED} | rows))
        recorder.close()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """All of them live meanwhile; then they are told to stop, and get what they lack."""
        with self._processes(is_over=False) as process:
            self._process = process
            yield
            assert process.poll() is None, self._log().read_text()
            process.terminate()
            self._wait(process)
        with self._processes(is_over=True) as process:
            self._wait(process)

    def kill_one(self) -> None:
        """Kill a device that does not edit; it is started again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)

    def have_ended(self) -> bool:
        """Whether they ended by themselves: one of them has failed."""
        return self._process is not None and self._process.poll() is not None

    def synced(self) -> dict[str, int]:
        """How often each of those that count has synced by now."""
        for name in self.counted:
            path = self.directory / f"{name}.history"
            offset, count = self._counted.get(name, (0, 0))
            if path.exists():
                with path.open("rb") as file:
                    file.seek(offset)
                    read = file.read()
                whole = read[: read.rfind(b"\n") + 1]
                count += whole.count(b'"error":null')
                offset += len(whole)
            self._counted[name] = offset, count
        return {name: count for name, (_, count) in self._counted.items()}

    def histories(self) -> list[History]:
        """What all of them wrote down."""
        devices = {d.name: d.owner for d in self.devices} | {SEED: SEED}
        return [read(self.directory / f"{n}.history", device) for n, device in devices.items()]

    def at_server(
        self, read_rows: Callable[[str], Sequence[tuple[object, ...]]]
    ) -> dict[Row, Version]:
        """The live rows, as the server has them."""
        held: dict[Row, Version] = {}
        for table, name in (("entry", "id"), ("line", "name"), ("seat", "name"), ("meter", "name")):
            sql = f"SELECT {name}, txn, sync_session FROM {table} WHERE is_deleted = 0"
            held |= {f"{table}/{n}": (txn, session) for n, txn, session in read_rows(sql)}
        return held

    @contextmanager
    def _processes(self, *, is_over: bool) -> Iterator[subprocess.Popen[bytes]]:
        devices = [d for d in self.devices if not (is_over and d.is_beside)]
        plan = Plan(str(self.directory), self.world.token, devices, is_over)
        path = self.directory / "plan.json"
        path.write_bytes(msgspec.json.encode(plan))
        with (
            self._log().open("ab") as log,
            subprocess.Popen(
                [*WITH_PARENT, sys.executable, "-m", "histories.launch", str(path)],
                env=os.environ | {"PYTHONPATH": str(TESTS)},
                stdin=subprocess.DEVNULL,
                stderr=log,
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        assert process.wait(SECONDS) == 0, self._log().read_text()

    def _log(self) -> Path:
        return self.directory / "devices.log"
