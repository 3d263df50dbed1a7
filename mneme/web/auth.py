"""API keys."""

import hmac
from collections.abc import Sequence

from mneme.web.errors import MissingKey, WrongKey

_SCHEME = b"bearer "


class Keys:
    """API keys; without any, the server is open to everyone who reaches it."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = tuple(key.encode() for key in keys)

    @property
    def required(self) -> bool:
        """Whether a key is needed at all."""
        return bool(self._keys)

    def check(self, authorization: bytes | None) -> int | None:
        """Number of the key in an `Authorization` header, from 0; None without keys.

        Raises `MissingKey` or `WrongKey`. All keys are compared, each in constant time: how long it takes says nothing.
        """
        if not self._keys:
            return None
        if authorization is None or not authorization[: len(_SCHEME)].lower() == _SCHEME:
            raise MissingKey
        shown = authorization[len(_SCHEME) :].strip()
        matches = [number for number, key in enumerate(self._keys) if hmac.compare_digest(shown, key)]
        if not matches:
            raise WrongKey
        return matches[0]
