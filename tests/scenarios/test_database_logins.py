"""How the server gets into its database: TLS as the URL says, any password, clear errors."""

import asyncio
import datetime
import ipaddress
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from mariadb import Mariadb, private_mariadb
from support import SECONDS

from syncsession_client.protocol.errors import InvalidSetting, ServerBusy, SyncError
from syncsession_server.cli import main
from syncsession_server.databases import parse
from syncsession_server.stores import mysql
from syncsession_server.stores.mysql import MysqlStore

PASSWORD = "geheim"  # noqa: S105
ENCRYPTED = "SELECT variable_value <> '' FROM information_schema.session_status"
ENCRYPTED += " WHERE variable_name = 'Ssl_cipher'"


class Authority(NamedTuple):
    """Who signs certificates; `path` is its own."""

    path: Path
    name: x509.Name
    key: ec.EllipticCurvePrivateKey


def new_authority(directory: Path, name: str) -> Authority:
    subject, key = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), new_key()
    made = builder(subject, subject, key).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    path = directory / f"{name}.pem"
    path.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return Authority(path, subject, key)


def certified(directory: Path, authority: Authority, host: x509.GeneralName) -> tuple[Path, Path]:
    """(certificate, key) of a server."""
    subject, key = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")]), new_key()
    made = builder(subject, authority.name, key).add_extension(
        x509.SubjectAlternativeName([host]), critical=False
    )
    certificate, private = directory / "server.pem", directory / "server.key"
    signed = made.sign(authority.key, hashes.SHA256())
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    today = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
    )


class Place(NamedTuple):
    """A MariaDB with TLS, and who signed its certificate."""

    mariadb: Mariadb
    authority: Path
    other_authority: Path

    def url(self, user: str, password: str = "", **query: Any) -> str:
        """The URL of database `rows` for a user."""
        login = f"{quote(user)}:{quote(password, safe='')}"
        parts = "&".join(f"{name}={quote(str(value))}" for name, value in query.items())
        return f"mysql://{login}@127.0.0.1:{self.mariadb.port}/rows?{parts}".rstrip("?")

    def admit(self, user: str, password: str, requirement: str = "NONE") -> None:
        self.mariadb.execute(
            f"CREATE OR REPLACE USER {user}@'127.0.0.1' IDENTIFIED BY %s", password
        )
        self.mariadb.execute(f"ALTER USER {user}@'127.0.0.1' REQUIRE {requirement}")
        self.mariadb.execute(f"GRANT ALL ON `rows`.* TO {user}@'127.0.0.1'")


@contextmanager
def running(directory: Path, host: x509.GeneralName) -> Iterator[Place]:
    ours, other = new_authority(directory, "ours"), new_authority(directory, "other")
    certificate, key = certified(directory, ours, host)
    options = (f"--ssl-cert={certificate}", f"--ssl-key={key}", f"--ssl-ca={ours.path}")
    with private_mariadb(directory, *options, durable=False, tcp=True) as mariadb:
        mariadb.execute("CREATE DATABASE `rows`")
        place = Place(mariadb, ours.path, other.path)
        place.admit("tester", PASSWORD)
        place.admit("encrypted", PASSWORD, "SSL")
        yield place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    loopback = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))
    with running(tmp_path_factory.mktemp("tls"), loopback) as found:
        yield found


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql, "_RETRY_SECONDS", 0.1)


def is_encrypted(url: str) -> bool:
    """Whether the store's connections are, once it is open."""

    async def work() -> bool:
        async with MysqlStore(parse(url)) as store:
            found = await store.first(ENCRYPTED, {})
            assert found is not None
            return bool(found[0])

    return asyncio.run(work())


def refused(url: str, kind: type[SyncError]) -> str:
    """The message with which a store does not open; it holds no password, nor does the trace."""
    with pytest.raises(kind) as caught:
        is_encrypted(url)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert PASSWORD not in shown
    return str(caught.value)


def test_tls_is_off_where_the_url_says_nothing(place):
    assert is_encrypted(place.url("tester", PASSWORD)) is False
    assert is_encrypted(place.url("tester", PASSWORD, tls="off")) is False


def test_required_encrypts_and_believes_any_certificate(place):
    assert is_encrypted(place.url("tester", PASSWORD, tls="required")) is True
    assert is_encrypted(place.url("encrypted", PASSWORD, tls="required")) is True


def test_a_certificate_of_the_named_authority_for_the_host_is_believed(place):
    for query in ({"tls_ca": place.authority}, {"tls": "verify-full", "tls_ca": place.authority}):
        assert is_encrypted(place.url("tester", PASSWORD, **query)) is True


def test_a_certificate_of_another_authority_is_refused(place):
    for query in ({"tls_ca": place.other_authority}, {"tls": "verify-full"}):
        told = refused(place.url("tester", PASSWORD, **query), InvalidSetting)
        assert "certificate verify failed" in told


def test_a_certificate_for_another_host_is_refused(tmp_path):
    with running(tmp_path, x509.DNSName("db.example")) as place:
        assert is_encrypted(place.url("tester", PASSWORD, tls="required")) is True
        told = refused(place.url("tester", PASSWORD, tls_ca=place.authority), InvalidSetting)
        assert "127.0.0.1" in told
        assert "certificate" in told


def test_a_user_who_must_encrypt_is_refused_without_tls(place):
    told = refused(place.url("encrypted", PASSWORD), InvalidSetting)
    assert told.startswith("mysql://encrypted@127.0.0.1")
    assert "Access denied" in told


def test_a_certificate_of_our_own_is_shown(place, tmp_path):
    certificate, key = place.authority.parent / "server.pem", place.authority.parent / "server.key"
    place.admit("certified", PASSWORD, "X509")
    own = {"tls_ca": place.authority, "tls_cert": certificate, "tls_key": key}
    assert is_encrypted(place.url("certified", PASSWORD, **own)) is True
    refused(place.url("certified", PASSWORD, tls_ca=place.authority), InvalidSetting)


def test_a_tls_file_that_is_not_there_is_told_by_name(place, tmp_path):
    missing = tmp_path / "missing.pem"
    told = refused(place.url("tester", PASSWORD, tls_ca=missing), InvalidSetting)
    assert str(missing) in told


@pytest.mark.parametrize(
    "password",
    ["plain", "with space", "p@ss:w/o?r#d%", "%41", "ä", "€😀", "'\"\\`", "a" * 200],
)
@pytest.mark.parametrize("tls", ["off", "required"])
def test_any_password_lets_in(place, password, tls):
    place.admit("anyone", password)
    assert is_encrypted(place.url("anyone", password, tls=tls)) is (tls == "required")


def test_a_wrong_password_is_told_at_once(place):
    told = refused(place.url("tester", PASSWORD + "x"), InvalidSetting)
    assert "Access denied for user 'tester'" in told


def test_a_database_that_is_not_there_is_told_by_name(place):
    place.mariadb.execute("GRANT ALL ON *.* TO tester@'127.0.0.1'")
    told = refused(place.url("tester", PASSWORD).replace("/rows", "/nowhere"), InvalidSetting)
    assert "nowhere" in told


def test_a_host_that_cannot_be_reached_is_told_with_the_reason(place, impatient):
    url = place.url("tester", PASSWORD).replace(f":{place.mariadb.port}/", ":1/")
    told = refused(url, ServerBusy)
    assert told.startswith("mysql://tester@127.0.0.1:1/rows cannot be reached: ")
    assert "Connect call failed" in told


def test_a_host_without_an_address_is_told_with_the_reason(impatient):
    told = refused(f"mysql://u:{PASSWORD}@nowhere.invalid/rows", ServerBusy)
    assert "mysql://u@nowhere.invalid:3306/rows cannot be reached" in told


def test_a_server_that_is_locked_out_later_asks_devices_to_try_again(place, caplog):
    """The log alone tells where the database is, and what is wrong."""
    place.admit("leaving", PASSWORD)

    async def work() -> None:
        async with MysqlStore(parse(place.url("leaving", PASSWORD))) as store:

            async def ask_beside(_: Any) -> None:
                with pytest.raises(ServerBusy, match="cannot do this now; try again"):
                    await store.first(ENCRYPTED, {})

            place.admit("leaving", PASSWORD + "x")
            await store.write(ask_beside)

    asyncio.run(work())
    assert "mysql://leaving@127.0.0.1" in caplog.text
    assert "Access denied" in caplog.text
    assert PASSWORD not in caplog.text


def run(*command: str, database: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "syncsession_server", *command, "--database", database],
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert PASSWORD not in done.stdout + done.stderr
    return done


@pytest.mark.parametrize("command", [("run", "--port", "0"), ("migrate",)])
def test_a_wrong_password_ends_a_command_in_one_line(place, command):
    done = run(*command, database=place.url("tester", PASSWORD + "x"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: mysql://tester@127.0.0.1")
    assert done.stderr.endswith("[invalid_setting]\n")
    assert done.stderr.count("\n") == 1


def test_a_database_that_cannot_be_reached_ends_a_command_with_try_again_later(impatient):
    database = f"mysql://u:{PASSWORD}@127.0.0.1:1/rows"
    done = CliRunner().invoke(main, ["migrate", "--database", database])
    assert (done.exit_code, done.stdout) == (75, "")
    assert done.stderr.startswith("Error: mysql://u@127.0.0.1:1/rows cannot be reached: ")
    assert done.stderr.count("\n") == 1
    assert PASSWORD not in done.stderr
