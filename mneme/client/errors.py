"""What can go wrong between a client and its server. Each says what happened and what to do, in one sentence."""

from mneme.errors import MnemeError


class ClientError(MnemeError):
    """Base of what a call may raise: what was asked for was not done, or nobody knows whether it was."""


class Unreachable(ClientError):
    """No answer came, however often it was tried."""


class StrangeAnswer(ClientError):
    """What answered is no mneme server, or one that speaks otherwise."""


class KeyRefused(ClientError):
    """The server wants an API key, or another one."""


class ServerTrouble(ClientError):
    """The server, or what stands before it, could not do it now: a full disk, a fault, too many requests."""


class ServerFault(ServerTrouble):
    """The server failed at one request (500), over a damaged file perhaps; others may go well."""


class Refused(ClientError):
    """The server understood, and said no: what was asked for is not there, or cannot be done."""


class SettingsError(MnemeError):
    """The settings on this machine do not say what they must."""
