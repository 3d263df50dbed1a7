"""Reports of a pull, a push or a watch in sentences."""

from collections.abc import Iterator, Sequence

from mneme import times
from mneme.client.sync import Action, FileReport, Report
from mneme.client.watch import Event, Happened
from mneme.model import FileName, Lock

_WORDS = {
    Action.FETCHED: "fetched",
    Action.MERGED: "merged",
    Action.REPLACED: "replaced",
    Action.STAYED: "left as it is",
    Action.SENT: "sent",
    Action.APPENDED: "new lines sent",
    Action.HELD_BACK: "not sent",
    Action.KEPT: "kept by the server",
    Action.REFUSED: "not sent",
    Action.MISSED: "not in step yet",
}

PULL_FAILED = (
    "This session works with what is on this machine; what is new is merged once a push or pull gets through."
)
PUSH_FAILED = "What is new stays on this machine, and is merged once a push or pull gets through."


def done(report: Report) -> str:
    """The sentence about all files of a report."""
    files = [f"{one.file.value} {_words(one)}" for one in report.files if one.actions]
    return f"{report.project.value}: {', '.join(files) if files else 'nothing new'}"


def pull_warnings(report: Report) -> Iterator[str]:
    """Warnings after a pull."""
    if report.locked:
        yield (
            f"{report.project.value} is locked by {holder(report.locked)}. Its memory was fetched; what this session "
            "adds is kept by the server, and merged when that lock is gone."
        )
    yield from _file_warnings(report)


def push_warnings(report: Report) -> Iterator[str]:
    """Warnings after a push."""
    kept, refused = report.files_with(Action.KEPT), report.files_with(Action.REFUSED)
    who = (
        f"{report.project.value} is locked by {holder(report.locked)}"
        if report.locked
        else "The lock was lost"
    )
    if kept:
        yield f"{who}. The server has kept {_names(kept)}, and merges what is new when the lock is free: nothing to do."
    if refused:
        yield f"{who}, and the server had no space to keep {_names(refused)}. {PUSH_FAILED}"
    if report.lock:
        yield (
            "All was sent, but the lock could not be given up, for the server answered no more: it ends by itself, "
            f"{times.to_local_text(report.lock.expires_at)} at the latest."
        )
    yield from _file_warnings(report)


def happened(event: Event) -> str:
    """The sentence about an event of a watch."""
    match event.happened:
        case Happened.PULLED | Happened.SENT if event.report:
            return done(event.report)
        case Happened.LOCKED_OUT if event.lock:
            return f"Locked by {holder(event.lock)}: what changes here is kept by the server, and merged after that"
        case Happened.LOCK_LOST:
            return "The lock was lost; it is taken again as soon as nobody else has it"
        case Happened.LOCK_TAKEN if event.report:
            return f"The lock is taken. {done(event.report)}"
        case Happened.ENDING:
            return "Ending: what is new is sent, and the lock given up; Ctrl-C again ends it at once"
        case Happened.TROUBLE:
            return (
                f"{event.problem}. What changes here is sent once that is over; it is tried again and again"
            )
        case _:
            return "All is well again"


def holder(lock: Lock) -> str:
    """Who holds a lock, and since when and until when."""
    return f"{lock.client.value} {times.span_to_local_text(lock.acquired_at, lock.expires_at)}"


def _file_warnings(report: Report) -> Iterator[str]:
    if replaced := report.files_with(Action.REPLACED):
        yield (
            f"{_names(replaced)} on this machine was not what the plugin writes, and gave way to what the server has: "
            "what each held is in the .bak beside it."
        )
    if stayed := report.files_with(Action.STAYED):
        yield (
            f"{_names(stayed)} could not be merged with what the server has: what is on this machine stays, and "
            "replaces it at the next push; the server keeps the other in its history."
        )
    if held_back := report.files_with(Action.HELD_BACK):
        yield (
            f"{_names(held_back)} on this machine is damaged, and was not sent: mend it, or remove it and the next "
            "pull fetches what the server has."
        )
    if missed := report.files_with(Action.MISSED):
        yield f"{_names(missed)} was written the whole time: it is tried again at the next pull or push."
    for one in report.files:
        if one.problem:
            yield f"{one.file.value} is not in step: {one.problem}. It stays as it is on this machine."


def _words(one: FileReport) -> str:
    return " and ".join(dict.fromkeys(_WORDS[did] for did in one.actions))


def _names(files: Sequence[FileName]) -> str:
    return ", ".join(file.value for file in files)
