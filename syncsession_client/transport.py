"""HTTP to the server: requests, answers, and errors that come back as the class that was raised."""

import json
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any

import httpx

from . import protocol
from .deadlines import Deadlines
from .protocol.bodies import ENCODINGS, Payload
from .protocol.errors import (
    InvalidSetting,
    NetworkUnavailable,
    ServerBusy,
    ServerUnreachable,
    SyncError,
    TooLarge,
    TryLater,
)

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 300.0  # beginning a pull reads all that is new, in one snapshot
_REQUEST_SECONDS = 900.0  # the body there and the answer back, however steadily they trickle


class Transport:
    """One connection pool to one server, for one device. Whoever opens it closes it, by `with`.

    Raises:
        InvalidSetting: the server's URL is none.
        NetworkUnavailable: no connection could be made (retryable).
        ServerUnreachable: the connection did not last until the answer (retryable).
        SyncError: the class that the server raised.
    """

    def __init__(self, server: str, token: str, device_id: str | None = None) -> None:
        self.server = _checked(server)
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept-Encoding": ", ".join(ENCODINGS),
            protocol.VERSION_HEADER: str(protocol.VERSION),
        }
        if device_id is not None:
            headers[protocol.DEVICE_HEADER] = device_id
        self._deadlines = Deadlines()
        self._client = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            follow_redirects=False,
            verify=self.server.startswith("https:"),  # else certificates are loaded for nothing
        )

    def __enter__(self) -> "Transport":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def me(self) -> dict[str, Any]:
        """`{tenant_id, user_id, scopes}` of the token."""
        return self._json("GET", "/v1/me")

    def get_tables(self) -> dict[str, Any]:
        """`{tenant_id, tables}`: the tables of the tenant, parents first."""
        return self._json("GET", "/v1/tables")

    def put_tables(self, tables: bytes) -> dict[str, Any]:
        """Describe this device's tables; `{tenant_id, new_columns, known_as}`.

        `new_columns`, by table: what the tenant has not had in tables that it has. `known_as`, not
        always there: what to call tables that others have renamed so; then nothing was described.
        """
        return self._json("PUT", "/v1/tables", content=b'{"tables":' + tables + b"}")

    def become(self, device_id: str) -> None:
        """Be another device from now on."""
        self._client.headers[protocol.DEVICE_HEADER] = device_id

    def begin_push(
        self,
        session_id: str,
        tables: list[dict[str, Any]],
        processed: list[list[int]] | None = None,
    ) -> dict[str, Any]:
        """Open a push session, or see where it stands: `{number, status, received, encodings}`.

        `processed` are the sessions that the device has: the server refuses a copy by them.
        """
        told = {} if processed is None else {"processed": processed}
        return self._json("PUT", f"/v1/push/{session_id}", body={"tables": tables} | told)

    def send_batch(self, session_id: str, number: int, payload: bytes, encoding: str) -> None:
        """Send a batch, encoded; sending it again changes nothing."""
        self._request(
            "PUT",
            f"/v1/push/{session_id}/batches/{number}",
            content=payload,
            headers={"Content-Type": protocol.BATCH_TYPE, "Content-Encoding": encoding},
        )

    def commit_push(self, session_id: str) -> dict[str, Any]:
        """Ask for the commit; waits a while for the outcome: `{number, status, corrected}`."""
        return self._json("POST", f"/v1/push/{session_id}/commit")

    def push_status(self, session_id: str) -> dict[str, Any]:
        """Where a session stands; waits a while for it to end."""
        return self._json("GET", f"/v1/push/{session_id}")

    def begin_pull(self, pull_id: str, text: bytes) -> bytes:
        """Begin a pull: the JSON text of `{tenant_id, sessions, pushed, batches, encoding}`."""
        return self._request("PUT", f"/v1/pull/{pull_id}", content=text).content

    def get_batch(self, pull_id: str, number: int) -> Payload:
        """A pulled batch, packed as it travels."""
        path = f"/v1/pull/{pull_id}/batches/{number}"
        response = self._request("GET", path, is_packed=True)
        encoding = response.headers.get("Content-Encoding", "identity")
        return Payload(encoding, response.extensions["packed"])

    def complete_pull(self, pull_id: str) -> None:
        """Tell the server that the pull is here."""
        self._request("DELETE", f"/v1/pull/{pull_id}")

    def _json(
        self, method: str, path: str, *, body: Any = None, content: bytes | None = None
    ) -> dict[str, Any]:
        if body is not None:
            content = _encode(body)
        response = self._request(method, path, content=content)
        try:
            answer: dict[str, Any] = response.json()
        except ValueError as error:
            raise ServerBusy(
                f"{self.server} answered {method} {path} with something that is not JSON"
            ) from error
        return answer

    def _request(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        is_packed: bool = False,
    ) -> httpx.Response:
        """The answer; of one that stays packed, the bytes are in `extensions["packed"]`."""
        if headers is None and content is not None:
            headers = {"Content-Type": "application/json"}
        request = self._client.build_request(
            method,
            self.server + path,
            content=content,
            headers=headers,
            extensions={"trace": self._deadlines.trace},
        )
        with self._deadlines.within(_REQUEST_SECONDS) as is_over:
            try:
                response = self._send(request, is_packed=is_packed)
            except httpx.TransportError as error:
                if is_over.is_set():
                    raise ServerUnreachable(
                        f"{self.server} had not answered {method} {path} in full after "
                        f"{_REQUEST_SECONDS:g} seconds"
                    ) from error
                kind = NetworkUnavailable if _is_offline(error) else ServerUnreachable
                raise kind(
                    f"no answer from {self.server}: {error or type(error).__name__}; "
                    "is the server running, and its URL right?"
                ) from error
        if protocol.VERSION_HEADER not in response.headers:
            raise self._refused_by_another(response)
        if response.is_error:
            raise self._failure(response)
        return response

    def _send(self, request: httpx.Request, *, is_packed: bool) -> httpx.Response:
        response = self._client.send(request, stream=True)
        try:
            if is_packed and response.is_success:
                response.extensions["packed"] = b"".join(response.iter_raw())
            else:
                response.read()
        finally:
            response.close()
        return response

    def _failure(self, response: httpx.Response) -> SyncError:
        """What the server raised."""
        try:
            error = SyncError.from_wire(response.json()["error"])
        except (ValueError, KeyError, TypeError, AttributeError):
            error = ServerBusy(f"{self.server} answered {_status(response)}, and not why")
        return _with_retry_after(error, response)

    def _refused_by_another(self, response: httpx.Response) -> SyncError:
        """An answer that is not from our server, but of a proxy or a login page before it.

        Whatever it says, it may say something else later; but too large is too large.
        """
        text = f"{self.server} answered {_status(response)}"
        if response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            return TooLarge(
                f"{text}; that is from a proxy before the server: let it take larger bodies, or "
                "send smaller ones with --batch-rows"
            )
        error = ServerBusy(f"{text}, which is not from a SyncSession server")
        return _with_retry_after(error, response)


def _checked(server: str) -> str:
    """The URL without a final slash.

    Raises:
        InvalidSetting: it is no http:// or https:// URL.
    """
    try:
        url = httpx.URL(server)
    except httpx.InvalidURL as error:
        raise InvalidSetting(f"{server!r} is no URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidSetting(f"{server!r} is no URL of a server: use http://host:port")
    return server.rstrip("/")


def _is_offline(error: httpx.TransportError) -> bool:
    """Whether the server could not be connected to: no route, no such name, nobody listening.

    A certificate that is refused came from somebody who is there.
    """
    if not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return False
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    return cause is None


def _encode(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _status(response: httpx.Response) -> str:
    """The status line, and what kind of body came with it."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
    shown = f"{response.status_code} {response.reason_phrase}".strip()
    return f"{shown} ({kind})" if kind else shown


def _with_retry_after(error: SyncError, response: httpx.Response) -> SyncError:
    if isinstance(error, TryLater):
        error.retry_after = _seconds(response.headers.get("Retry-After", ""))
    return error


def _seconds(text: str) -> float | None:
    """What a Retry-After header says, in seconds from now; None where it says nothing.

    It holds a number of seconds or a date: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    if text.strip().isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
