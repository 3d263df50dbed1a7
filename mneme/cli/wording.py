"""Reports of a pull, a push or a watch, in sentences and for scripts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mneme import times, wire
from mneme.client.actions import Action
from mneme.client.happening import Happened, Happening, in_words
from mneme.client.sync import Report
from mneme.model import FileName, Lock

_WAITS = {
    Action.WAITING.value: "the plugin is at work on it",
    Action.KEPT.value: "the server has it, and merges it once the lock is free",
    Action.REFUSED.value: "another client holds the lock, and the server has no space",
    Action.HELD_BACK.value: "it is damaged: mend it, or remove it",
    Action.MISSED.value: "it is being written",
}

PULL_FAILED = "This session works with the local memory; changes are sent with the next push that succeeds."
PUSH_FAILED = "Changes stay on this machine, and are sent with the next push that succeeds."


def done(report: Report) -> str:
    """The sentence about all files of a report."""
    return f"{report.project.value}: {in_words(report, with_problems=False) or 'nothing new'}"


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


def happened(happening: Happening) -> str:
    """The sentence about a happening of a watch."""
    match happening.happened:
        case Happened.SYNCED if happening.report:
            return f"{happening.report.project.value}: {in_words(happening.report)}"
        case Happened.TROUBLE:
            return f"{happening.problem}. Changes here are sent once that is over; mneme goes on trying"
        case _:
            return "Recovered: in step again"


def happening_document(happening: Happening) -> dict[str, object]:
    """A happening for scripts."""
    of_report = document(happening.report) if happening.report else {}
    return {"event": happening.happened.value, "problem": happening.problem, **of_report}


def document(report: Report | None, warnings: Sequence[str] = ()) -> dict[str, object]:
    """A report for scripts."""
    if report is None:
        return {"warnings": warnings}
    return {
        "project": report.project.value,
        "files": [
            {
                "file": one.file.value,
                "did": [did.value for did in one.actions],
                "version": one.version,
                "problem": one.problem,
            }
            for one in report.files
        ],
        "lockedBy": wire.WireLock.of(report.locked) if report.locked else None,
        "warnings": warnings,
    }


def condition(told: Mapping[str, Any]) -> str:
    """The condition of a project, as the agent tells it."""
    if told["problem"]:
        return f"waits: {told['problem']}"
    if told["waiting"]:
        waiting = (
            f"{file} ({_WAITS.get(action, action)})" for file, action in sorted(told["waiting"].items())
        )
        return f"waits: {', '.join(waiting)}"
    return "in step" if told["inStep"] else "syncing"


def holder(lock: Lock) -> str:
    """Who holds a lock, and since when and until when."""
    return f"{lock.client.value} {times.span_to_local_text(lock.acquired_at, lock.expires_at)}"


def _file_warnings(report: Report) -> Iterator[str]:
    if replaced := report.files_with(Action.REPLACED):
        yield (
            f"{_names(replaced)} on this machine {_was(replaced)} damaged, and {_was(replaced)} replaced by the "
            "server's: the old content is in the .bak beside it."
        )
    if stayed := report.files_with(Action.STAYED):
        yield (
            f"{_names(stayed)} could not be merged with the server's: what is on this machine stays, and replaces "
            "the server's at the next push. The server's stays in history."
        )
    if held_back := report.files_with(Action.HELD_BACK):
        yield (
            f"{_names(held_back)} on this machine {'are' if len(held_back) > 1 else 'is'} damaged, and not sent: "
            "mend what is damaged, or remove it; the next pull fetches what the server has."
        )
    if removed := report.files_with(Action.REMOVED):
        yield (
            f"{_names(removed)} {_was(removed)} removed on the server, and left on this machine: nothing of it is sent "
            "until it changes. `mneme restore` brings it back; to be rid of it here, too, remove it."
        )
    if missed := report.files_with(Action.MISSED):
        yield (
            f"{_names(missed)} {_was(missed)} being written during every attempt: the next pull or push tries again."
        )
    for one in report.files:
        if one.problem:
            yield f"{one.file.value} is not in step: {one.problem}. It stays as it is on this machine."


def _names(files: Sequence[FileName]) -> str:
    *others, last = (file.value for file in files)
    return f"{', '.join(others)} and {last}" if others else last


def _was(files: Sequence[FileName]) -> str:
    return "were" if len(files) > 1 else "was"
