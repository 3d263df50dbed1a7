"""Errors between a client and its server, each a sentence with advice."""

from mneme.errors import MnemeError


class ClientError(MnemeError):
    """Base of the errors of a request, which was not done, or perhaps was."""


class Unreachable(ClientError):
    """No answer came, however often it was tried."""


class Untrusted(Unreachable):
    """The server's certificate is not trusted on this machine."""


class StrangeAnswer(ClientError):
    """An answer that no mneme server of this version gives."""


class KeyRefused(ClientError):
    """The server wants an API key, or another one."""


class ServerTrouble(ClientError):
    """A 429 or 5xx from the server or a proxy, such as a full disk."""


class ServerFault(ServerTrouble):
    """A 500 for one request, for a damaged file for example; other requests may succeed."""


class Refused(ClientError):
    """A request that the server refused: something is not there, or cannot be done."""


class TooLarge(Refused):
    """A body that is too large for the server, or for a proxy.

    `by_proxy` says which.
    """

    def __init__(self, sentence: str, *, by_proxy: bool) -> None:
        super().__init__(sentence)
        self.by_proxy = by_proxy


class SettingsError(MnemeError):
    """The settings on this machine do not say what they must."""
