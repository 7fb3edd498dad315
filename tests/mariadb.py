"""A MariaDB server of the tests' own, of which nothing is left when they end, however they end."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pymysql

SBIN = ("/usr/local/sbin", "/usr/sbin")
"""Where mariadbd often is, and where an ordinary user's PATH on Debian does not look."""

START_SECONDS = 60.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.02

SETTINGS = ("--character-set-server=utf8mb4", "--local-infile=1", "--skip-name-resolve")
"""The collation is left as MariaDB has it, blind to case: so a key that names none is noticed."""

FAST = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-log-file-size=10M",
    "--performance-schema=OFF",
)

# Not --user: mariadb-install-db takes that as an order to give that user a directory of the
# system's own MariaDB. The short form it passes on.
AS_ROOT = ("-uroot",) if os.geteuid() == 0 else ()

GUARD = """
group=
while read -r line; do group=$line; done
[ -z "$group" ] || kill -s KILL -- "-$group"
rm -rf -- "$@"
"""


class CannotStart(Exception):
    """There is no MariaDB here, or it does not run; says why."""


@contextmanager
def private_mariadb(
    directory: Path, *options: str, durable: bool, tcp: bool = False
) -> Iterator["Mariadb"]:
    """A running server with a fresh data directory inside `directory`.

    `options` are mariadbd's, and beat those given here. Without `durable` a crash may take what was
    committed last; with it MariaDB's own settings hold. With `tcp` it listens on a loopback port as
    well.

    Raises:
        CannotStart: MariaDB is not installed, or did not start; its log is in the message.
    """
    programs = _find("mariadb-install-db"), _find("mariadbd")
    settings = (*SETTINGS, *(() if durable else FAST))
    home = Path(tempfile.mkdtemp(prefix="mariadb-", dir=directory))
    # The path of a socket has at most 107 bytes, and both pytest's directories and TMPDIR are long.
    near = Path(tempfile.mkdtemp(prefix="mariadb-", dir="/tmp"))
    with _guard(home, near) as guard, _port(tcp) as port:
        server = Mariadb(programs, home, near / "socket", port, guard)
        try:
            server.install(*settings)
            server.start(*settings, *options)
            yield server
        finally:
            server.kill()


class Mariadb:
    """A server that only its tests know: who can reach it is root."""

    def __init__(
        self,
        programs: tuple[str, str],
        home: Path,
        socket_path: Path,
        port: int | None,
        guard: subprocess.Popen[str],
    ) -> None:
        self.socket, self.port = socket_path, port
        self._install_db, self._mariadbd = programs
        self.directory, self._guard = home, guard
        self._options: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that was started last."""
        assert self._process is not None
        return self._process.pid

    def url(self, database: str) -> str:
        return f"mysql://root@localhost/{quote(database)}?unix_socket={quote(str(self.socket))}"

    def tcp_url(self, database: str) -> str:
        assert self.port is not None, "it has no port: say private_mariadb(…, tcp=True)"
        return f"mysql://root@127.0.0.1:{self.port}/{quote(database)}"

    def create_database(self) -> str:
        """The URL of a new, empty database, under a name that no other test has."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, sql: str, *values: Any) -> tuple[tuple[Any, ...], ...]:
        """The rows of a statement, run and committed by a connection of its own."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall()

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """A connection of root's that commits each statement, unless told to begin."""
        connection = pymysql.connect(
            unix_socket=str(self.socket),
            user="root",
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=START_SECONDS,
            read_timeout=START_SECONDS,
        )
        with closing(connection):
            yield connection

    def install(self, *settings: str) -> None:
        """Make the data directory, in which root has no password."""
        process = self._run(
            self._install_db,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *settings,
        )
        if process.wait(START_SECONDS) != 0:
            raise self._failure("mariadb-install-db failed")

    def start(self, *options: str) -> None:
        """Start it with these options, or with those it had before, and wait until it answers."""
        self._options = options or self._options
        process = self._run(
            self._mariadbd,
            f"--socket={self.socket}",
            f"--pid-file={self.directory / 'pid'}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}" if self.port else "--skip-networking",
            *self._options,
        )
        self._wait_until_it_answers(process)

    def stop(self) -> None:
        """End it in good order, or by force when that takes longer than STOP_SECONDS."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            self.kill()

    def kill(self) -> None:
        """End it at once, as a crash does. Nothing happens to one that has ended."""
        if self._process is not None:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(STOP_SECONDS)
            print(file=self._guard.stdin, flush=True)  # its number may soon be another process's

    def restart(self) -> None:
        """Start it again on the data it has, after an end in good order if it runs."""
        self.stop()
        self.start()

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """A program of MariaDB's at work on the data, where a Ctrl-C meant for pytest stays out."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(program, "--no-defaults", *AS_ROOT, f"--datadir={self.directory / 'data'}"),
                    f"--tmpdir={self.directory}",  # a server that starts empties the one it has
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        print(self._process.pid, file=self._guard.stdin, flush=True)
        return self._process

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise self._failure("mariadbd did not start")
            time.sleep(POLL_SECONDS)

    def _answers(self) -> bool:
        try:
            # PyMySQL would leave its socket open where nobody listens.
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.socket))
            self.execute("DO 0")
        except (OSError, pymysql.OperationalError):
            return False
        return True

    def _failure(self, what: str) -> CannotStart:
        log = (self.directory / "log").read_text(errors="replace")
        return CannotStart(f"{what}. Its log:\n{log}")


def _find(program: str) -> str:
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *SBIN))
    found = shutil.which(program, path=path)
    if found is None:
        raise CannotStart(
            f"{program} is missing: the tests need MariaDB's server. On Debian run `make test` as "
            "root, or apt-get install mariadb-server-core mariadb-client-core"
        )
    return found


@contextmanager
def _guard(*directories: Path) -> Iterator[subprocess.Popen[str]]:
    """A shell that outlives this process, to end what it ran and remove what it wrote.

    A line tells it which process group it would have to end, an empty line that there is none. It
    acts at the end of its input, which comes even when this process is killed.
    """
    with subprocess.Popen(
        ["sh", "-c", GUARD, "guard", *directories],
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as guard:
        yield guard


@contextmanager
def _port(wanted: bool) -> Iterator[int | None]:
    """A loopback port that nobody else is given, even while mariadbd is down.

    It is bound here but not listened on, so Linux lets mariadbd have it: both say SO_REUSEADDR.
    """
    if not wanted:
        yield None
        return
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
