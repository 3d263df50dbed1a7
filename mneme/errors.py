"""The errors of mneme. Each has a sentence for the person who can correct it."""

import msgspec

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The errors of msgspec for content that is not JSON of the expected type."""


class MnemeError(Exception):
    """Base of all errors that a user can correct; `str()` is a sentence for them."""

    sentence = "Something went wrong"

    def __init__(self, sentence: str | None = None) -> None:
        super().__init__(sentence or self.sentence)


class InvalidProjectId(MnemeError):
    """A text that is not a valid project id."""

    sentence = "A project id is UTF-8 text, percent-encoded in the path"


class MissingClientId(MnemeError):
    """A request without a client id that needs one."""

    sentence = "X-Client-Id header required"


class InvalidClientId(MnemeError):
    """A text that is not a valid client id."""

    sentence = "X-Client-Id must be at most 200 characters, none of them control characters"


class InvalidToken(MnemeError):
    """A lock token that is not a number."""

    sentence = "X-Lock-Token must be the whole number that came with the lock"


class InvalidBody(MnemeError):
    """An upload whose body has no content."""


class InvalidLimit(MnemeError):
    """A limit that is not a number."""

    sentence = "limit must be a whole number from 1: how many versions to list"


class InvalidPrecondition(MnemeError):
    """An upload with an invalid precondition."""

    sentence = (
        "If-None-Match of an upload must be *, for a file that does not exist yet, and without If-Match"
    )


class InvalidKey(MnemeError):
    """A text that is not a valid idempotency key."""

    sentence = "Idempotency-Key must be 1 to 200 characters, none of them control characters"


class KeyReused(MnemeError):
    """An idempotency key that was used with other lines before."""

    sentence = "This Idempotency-Key came with other lines before: take a new one for each append"


class MissingPrecondition(MnemeError):
    """An append that does not name the content that its lines follow."""

    sentence = (
        'An append needs If-Match: "<sha256 of the content you append to>", or If-None-Match: * for a new log'
    )


class UnnamedHead(MnemeError):
    """An upload or a removal of a briefing that does not name the head."""

    sentence = (
        'briefing.json and handoff.json need If-Match: "<sha256 of the file on the server>", or for an upload where '
        "there is none If-None-Match: *"
    )


class FileTooLarge(MnemeError):
    """An append after which the file would be too large for a stock client."""


class FileNotAllowed(MnemeError):
    """A file name that is none of the names that this client may use."""

    sentence = "File not allowed for sync"


class ProjectUnknown(MnemeError):
    """A project that the server does not have, or that was removed."""

    sentence = "Project not found"


class FileUnknown(MnemeError):
    """A file that the project does not have."""

    sentence = "File not found"


class VersionUnknown(MnemeError):
    """A version that never existed, or was pruned."""

    sentence = "Version not found: GET …/versions lists those there are"


class DiskFull(MnemeError):
    """A disk without space for a change. Nothing was changed."""

    sentence = "The server cannot write to its disk (full, over a quota, or read-only), nothing was changed"


class ShuttingDown(MnemeError):
    """A request to a server that is stopping."""

    sentence = "The server is shutting down, try again in a moment"


class UnsafePath(MnemeError):
    """A path in the data directory of a wrong kind, for example a symbolic link."""


class StartupError(MnemeError):
    """A reason why the server cannot start. The sentence says what to do."""


class BackupError(MnemeError):
    """A reason why a backup cannot be made or restored."""


class NotYet(Exception):
    """A step of the store that must wait for other work, then run again."""


class DamagedContent(MnemeError):
    """A version whose content in the database is damaged."""

    def __init__(self, number: int, file: str) -> None:
        super().__init__(
            f"Version {number} of {file} is damaged in the server's database: `mneme verify` says what else is, "
            "and `mneme restore-backup` brings a backup back"
        )


class DamagedDatabase(MnemeError):
    """A database that SQLite cannot read."""

    sentence = "The server's database is damaged: `mneme verify` says more, `mneme restore-backup` brings a backup back"


class TooManyProjects(MnemeError):
    """A new project on a server that has the largest number of projects."""

    sentence = "This server has 100000 projects, the most that it takes: remove directories of old ones first"


class AliasRefused(MnemeError):
    """An id that cannot become another name of a project."""


class TooManyListeners(MnemeError):
    """A listener for events on a server that has the largest number of them."""

    sentence = "Too many clients listen for events already: try again in a minute"


class InvalidEventId(MnemeError):
    """A text that is not the id of an event."""

    sentence = "Last-Event-ID must be the id of an event, as it came with the last one"


class InvalidWait(MnemeError):
    """A time to wait that is not a number of seconds."""

    sentence = "wait must be a whole number of seconds from 1 to 60"


class DatabaseBusy(MnemeError):
    """A database that another program keeps locked for too long."""

    sentence = (
        "Another program has the server's database locked, nothing was changed: try again in a few seconds, and if "
        "that does not help, look which program has mneme.db open"
    )


class DatabaseGone(MnemeError):
    """A database whose files on disk are not the ones that were opened."""

    sentence = (
        "The server's database was removed or replaced while the server ran, and nothing can be stored: put it back, "
        "and start the server again"
    )
