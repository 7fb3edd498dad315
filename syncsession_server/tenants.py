"""Who is asking: tokens, the tenant and user they name, and the device a database is."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from syncsession_client.protocol.errors import BadRequest, Forbidden, Unauthorized, WrongTenant

from .stores import Store, Transaction

SCOPES = {
    "sync": "push and pull rows",
    "schema": "describe new tables and columns",
    "act_for_others": "push rows that another user modified",
}
"""What a token may be allowed to do."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


@dataclass(frozen=True)
class Caller:
    """The tenant and user that a token names, and what it allows."""

    tenant_id: str
    user_id: str
    scopes: frozenset[str]

    def require(self, scope: str) -> None:
        """Go on only with this scope.

        Raises:
            Forbidden: the token lacks it.
        """
        if scope not in self.scopes:
            raise Forbidden(f"the token may not {SCOPES[scope]}: create one with --scope {scope}")


def now() -> str:
    """This moment, UTC, to the millisecond, as it stands in every *_at_utc."""
    return ago(0)


def ago(seconds: float) -> str:
    """The moment `seconds` before this one, in the same form; their texts sort as the times do."""
    moment = datetime.now(UTC) - timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


async def create_token(store: Store, *, tenant: str, user: str, scopes: frozenset[str]) -> str:
    """A new token for a user of a tenant, which is made where it is not there.

    Only a hash is kept, so this is the one time that the token can be seen.

    Raises:
        BadRequest: a name has characters that are not allowed.
    """
    for label, name in (("tenant", tenant), ("user", user)):
        if not _NAME.fullmatch(name):
            raise BadRequest(
                f"{name!r} is no {label} name: use 1 to 64 letters, digits and . _ @ + - , "
                "beginning with a letter or digit"
            )
    token = f"sst_{secrets.token_urlsafe(32)}"
    params = {
        "token_hash": _hash(token),
        "tenant_id": tenant,
        "user_id": user,
        "scopes": " ".join(sorted(scopes)),
        "now": now(),
    }

    async def work(tx: Transaction) -> None:
        await tx.run(store.sql.tenants.add_tenant, {"tenant_id": tenant, "now": now()})
        await tx.run(store.sql.tenants.add_token, params)

    await store.write(work)
    return token


async def identify(store: Store, authorization: str | None) -> Caller:
    """The caller that an Authorization header names.

    Raises:
        Unauthorized: there is none, or nobody has that token.
    """
    kind, _, token = (authorization or "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Unauthorized(
            "no token: put one in SYNCSESSION_TOKEN, or in a file named by --token-file"
        )
    row = await store.first(store.sql.tenants.find_token, {"token_hash": _hash(token.strip())})
    if row is None:
        raise Unauthorized(
            "the server does not know this token: create one with syncsession-server token create"
        )
    tenant_id, user_id, scopes = row
    return Caller(tenant_id, user_id, frozenset(scopes.split()))


async def admit_device(store: Store, caller: Caller, device_id: str) -> None:
    """Bind the device to the caller's tenant, the first time.

    Raises:
        WrongTenant: it is bound to another.
    """
    if not await _is_bound(store, caller, device_id):
        params = {"device_id": device_id, "tenant_id": caller.tenant_id}
        await store.run(
            store.sql.tenants.add_device, params | {"user_id": caller.user_id, "now": now()}
        )
        await _is_bound(store, caller, device_id)


async def _is_bound(store: Store, caller: Caller, device_id: str) -> bool:
    row = await store.first(store.sql.tenants.find_device, {"device_id": device_id})
    if row is not None and row[0] != caller.tenant_id:
        raise WrongTenant(
            f"this database is bound to another tenant than {caller.tenant_id}: use a token of "
            "that tenant, or clone a new file"
        )
    return row is not None


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()
