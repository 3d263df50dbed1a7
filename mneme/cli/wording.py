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

PULL_FAILED = "This session works with the local memory; changes are sent with the next push that succeeds."
PUSH_FAILED = "Changes stay on this machine, and are sent with the next push that succeeds."


def done(report: Report) -> str:
    """The sentence about all files of a report."""
    files = [f"{one.file.value} {_words(one)}" for one in report.files if one.actions]
    return f"{report.project.value}: {', '.join(files) if files else 'nothing new'}"


def pull_warnings(report: Report) -> Iterator[str]:
    """Warnings after a pull."""
    if report.locked:
        yield (
            f"{report.project.value} is locked by {holder(report.locked)}. Its memory was fetched; changes of this "
            "session are kept by the server, and merged when that lock is gone."
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
        yield f"{who}. The server has kept {_names(kept)}, and merges it when the lock is free: nothing to do."
    if refused:
        yield f"{who}, and the server had no space to keep {_names(refused)}. {PUSH_FAILED}"
    if report.lock:
        yield (
            "All was sent, but the server did not answer the release of the lock, which expires "
            f"{times.to_local_text(report.lock.expires_at)} at the latest."
        )
    yield from _file_warnings(report)


def happened(event: Event) -> str:
    """The sentence about an event of a watch."""
    match event.happened:
        case Happened.PULLED | Happened.SENT if event.report:
            return done(event.report)
        case Happened.LOCKED_OUT if event.lock:
            return (
                f"Locked by {holder(event.lock)}: changes here are kept by the server, and merged after that"
            )
        case Happened.LOCK_LOST:
            return "The lock was lost; it is taken again as soon as nobody else has it"
        case Happened.LOCK_TAKEN if event.report:
            return f"The lock is taken. {done(event.report)}"
        case Happened.ENDING:
            return "Ending: changes are sent, and the lock is released; Ctrl-C again ends it at once"
        case Happened.TROUBLE:
            return f"{event.problem}. Changes here are sent once that is over; mneme goes on trying"
        case _:
            return "Recovered: in step again"


def holder(lock: Lock) -> str:
    """Who holds a lock, and since when and until when."""
    return f"{lock.client.value} {times.span_to_local_text(lock.acquired_at, lock.expires_at)}"


def _file_warnings(report: Report) -> Iterator[str]:
    if replaced := report.files_with(Action.REPLACED):
        yield (
            f"{_names(replaced)} on this machine was damaged, and was replaced by the server's: "
            "the old content is in the .bak beside it."
        )
    if stayed := report.files_with(Action.STAYED):
        yield (
            f"{_names(stayed)} could not be merged with the server's: the local file stays, and "
            "replaces the server's at the next push, which stays in its history."
        )
    if held_back := report.files_with(Action.HELD_BACK):
        yield (
            f"{_names(held_back)} on this machine is damaged, and was not sent: mend it, or remove it and the next "
            "pull fetches what the server has."
        )
    if missed := report.files_with(Action.MISSED):
        yield f"{_names(missed)} was being written during every attempt: the next pull or push tries again."
    for one in report.files:
        if one.problem:
            yield f"{one.file.value} is not in step: {one.problem}. It stays as it is on this machine."


def _words(one: FileReport) -> str:
    return " and ".join(dict.fromkeys(_WORDS[did] for did in one.actions))


def _names(files: Sequence[FileName]) -> str:
    return ", ".join(file.value for file in files)
