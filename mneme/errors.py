"""What can go wrong, in the words of the domain. Each says one sentence to the person who caused it."""


class MnemeError(Exception):
    """Base of all errors that are somebody's to mend; `str()` is the sentence they are told."""

    sentence = "Something went wrong"

    def __init__(self, sentence: str | None = None) -> None:
        super().__init__(sentence or self.sentence)


class InvalidProjectId(MnemeError):
    """A project id that cannot be one."""

    sentence = "A project id is UTF-8 text, percent-encoded in the path"


class MissingClientId(MnemeError):
    """A call that needs to know who is asking, without a client id."""

    sentence = "X-Client-Id header required"


class InvalidClientId(MnemeError):
    """A client id that cannot be one."""

    sentence = "X-Client-Id must be at most 200 characters, none of them control characters"


class InvalidToken(MnemeError):
    """A lock token that is no number."""

    sentence = "X-Lock-Token must be the whole number that came with the lock"


class InvalidBody(MnemeError):
    """An upload whose body does not hold a content."""


class InvalidLimit(MnemeError):
    """A limit that is no number."""

    sentence = "limit must be a whole number from 1: how many versions to list"


class InvalidPrecondition(MnemeError):
    """An upload under a condition that cannot be one."""

    sentence = (
        "If-None-Match of an upload can only be *, that there is no such file yet, and without If-Match"
    )


class InvalidKey(MnemeError):
    """An idempotency key that cannot be one."""

    sentence = "Idempotency-Key must be 1 to 200 characters, none of them control characters"


class KeyReused(MnemeError):
    """An idempotency key that came with other lines before."""

    sentence = "This Idempotency-Key came with other lines before: take a new one for each append"


class MissingPrecondition(MnemeError):
    """An append that does not name the content that its lines follow."""

    sentence = (
        'An append needs If-Match: "<sha256 of the content you append to>", or If-None-Match: * for a new log'
    )


class FileTooLarge(MnemeError):
    """A file that an append would make larger than a stock client can download."""


class FileNotAllowed(MnemeError):
    """A file name outside the five of a memory."""

    sentence = "File not allowed for sync"


class FileUnknown(MnemeError):
    """A file that the project does not have."""

    sentence = "File not found"


class VersionUnknown(MnemeError):
    """A version that the file does not have, or has no more."""

    sentence = "Version not found: GET …/versions lists those there are"


class DiskFull(MnemeError):
    """The content could not be stored for want of space; nothing was changed."""

    sentence = "The server cannot write to its disk (full, over a quota, or read-only), nothing was changed"


class ShuttingDown(MnemeError):
    """The server takes no more work."""

    sentence = "The server is shutting down, try again in a moment"


class UnsafePath(MnemeError):
    """A path in the data directory that is not what it must be, a symbolic link for instance."""


class StartupError(MnemeError):
    """Why the server cannot start; the sentence says what to do."""


class BackupError(MnemeError):
    """Why a backup cannot be made or restored."""


class NotYet(Exception):
    """A step of the store that has to wait for other work, and is run again."""


class DamagedContent(MnemeError):
    """A version whose content in the database is not what was accepted."""

    def __init__(self, number: int, file: str) -> None:
        super().__init__(
            f"Version {number} of {file} is damaged in the server's database: `mneme verify` says what else is, "
            "and `mneme restore-backup` brings a backup back"
        )


class DamagedDatabase(MnemeError):
    """A database that SQLite cannot read."""

    sentence = "The server's database is damaged: `mneme verify` says more, `mneme restore-backup` brings a backup back"


class TooManyProjects(MnemeError):
    """A new project on a server that has as many as it takes."""

    sentence = "This server has 100000 projects, the most that it takes: remove directories of old ones first"


class DatabaseBusy(MnemeError):
    """A database that another program has locked for longer than anybody waits."""

    sentence = (
        "Another program has the server's database locked, nothing was changed: try again in a few seconds, and if "
        "that does not help, look which program has mneme.db open"
    )


class DatabaseGone(MnemeError):
    """A database whose files are not those that were opened."""

    sentence = (
        "The server's database was removed or exchanged while it ran, and nothing can be kept: put it back, and start "
        "the server again"
    )
