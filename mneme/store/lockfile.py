"""The file `.lock.json`, as the Node server writes it, with three more fields.

The fields are `token`, `lastAcquiredAt` and `extendedAt`.
"""

from datetime import datetime
from typing import Annotated

import msgspec

from mneme import times
from mneme.errors import NOT_JSON
from mneme.model import ClientId, Lock


class _LockFile(msgspec.Struct, frozen=True, rename="camel"):
    client_id: str
    acquired_at: datetime
    expires_at: datetime
    token: Annotated[int, msgspec.Meta(ge=0, le=2**62)] = 0
    last_acquired_at: datetime | None = None
    extended_at: datetime | None = None


def encode(lock: Lock) -> bytes:
    """The lock as JSON that a person can read."""
    plain = {
        "clientId": lock.client.value,
        "acquiredAt": times.to_text(lock.acquired_at),
        "expiresAt": times.to_text(lock.expires_at),
        "token": lock.token,
    }
    if lock.last_acquired_at is not None:
        plain["lastAcquiredAt"] = times.to_text(lock.last_acquired_at)
    if lock.extended_at is not None:
        plain["extendedAt"] = times.to_text(lock.extended_at)
    return msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n"


def decode(content: bytes) -> Lock | None:
    """The lock in `content`; None if the content is empty, broken, or has another shape."""
    try:
        found = msgspec.json.decode(content, type=_LockFile)
    except NOT_JSON:
        return None
    return Lock(
        ClientId(found.client_id),
        times.from_datetime(found.acquired_at),
        times.from_datetime(found.expires_at),
        found.token,
        times.from_datetime(found.last_acquired_at) if found.last_acquired_at else None,
        times.from_datetime(found.extended_at) if found.extended_at else None,
    )
