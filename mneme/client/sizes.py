"""Files that are too large to travel, and the advice about them."""

from mneme.merge.bounds import fits
from mneme.model import FileName

MAX_BYTES = 10 * 1024 * 1024
"""The largest answer that a stock client takes, in bytes; merges must stay below it."""

_OF_LOG = (
    "Keep a copy of it elsewhere; then, while no session runs, take its oldest lines out: in its folder, tail -c 5M "
    "log.jsonl | tail -n +2 >new && mv new log.jsonl"
)
_OF_OTHERS = "Keep a copy of it elsewhere; then take out of it what is needed no more"


def travels(content: bytes) -> bool:
    """Whether every client can download a content."""
    return fits(content, MAX_BYTES)


def how_to_shorten(file: FileName) -> str:
    """The advice for a file that is too large."""
    return _OF_LOG if file is FileName.LOG else _OF_OTHERS
