"""A disk that fails on order, at every step in turn.

A step is a call to the operating system. `Faults.failing()` counts them; `Faults.failing(at, fault)` lets those before
number `at` through and makes that one fail. What is written when a write fails is half of it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from attrs import Factory, define, frozen

_READING = frozenset("stat lstat listdir scandir".split())
_SYNCING = frozenset({"fsync", "fdatasync"})
_WRITING = _SYNCING | frozenset("write ftruncate truncate utime link rename unlink mkdir rmdir chmod".split())
_lstat = os.lstat


class Killed(BaseException):
    """The end of a process by a kill: no Exception, so that nothing handles it."""


@frozen
class Step:
    """A call to the operating system; an `open` that makes a file is a `create`."""

    call: str
    subject: str

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.call in _WRITING or self.call == "create"

    @property
    def takes_space(self) -> bool:
        """Whether a full disk refuses it."""
        return self.call in {"create", "write", "link", "mkdir"}

    def __str__(self) -> str:
        return f"{self.call} {self.subject}"


@frozen
class Fault:
    """A way to fail: an error, the steps that it strikes, and those after it."""

    name: str
    error: Callable[[], BaseException]
    strikes: Callable[[Step], bool]
    goes_on: Callable[[Step], bool] = lambda step: False

    def places(self, run: Run) -> list[int]:
        """The numbers of the steps that it can strike in a run."""
        return [number for number, step in enumerate(run.steps) if self.strikes(step)]


def _os_error(number: int) -> Callable[[], BaseException]:
    return lambda: OSError(number, os.strerror(number))


KILL = Fault("kill", Killed, lambda step: step.writes, goes_on=lambda step: True)
"""The process is gone before a step that changes something, and takes no other step."""
NO_SPACE = Fault("no space", _os_error(errno.ENOSPC), lambda step: step.writes)
"""One step finds no space; there is some again at the next."""
FULL = Fault(
    "full disk",
    _os_error(errno.ENOSPC),
    lambda step: step.takes_space,
    goes_on=lambda step: step.takes_space,
)
"""From here on the disk is full: what needs no space still works."""
BROKEN = Fault("broken disk", _os_error(errno.EIO), lambda step: True)
"""One step fails for no reason that anybody could know."""


class Watcher(Protocol):
    """Whoever wants to see the steps that write."""

    def before(self, step: Step, /) -> None:
        """A step is about to be taken."""
        ...

    def after(self, step: Step, subject: Any, result: Any, /) -> None:
        """A step was taken, on this path or descriptor, and returned this."""
        ...


@define
class Run:
    """The steps taken while a fault lay in wait, and the first that it struck."""

    at: int
    fault: Fault | None
    steps: list[Step] = Factory(list)
    struck_at: int | None = None

    @property
    def struck(self) -> Step | None:
        """The first step that the fault struck."""
        return None if self.struck_at is None else self.steps[self.struck_at]

    def take(self, step: Step) -> None:
        """Count a step; raises the fault if it is due."""
        self.steps.append(step)
        if self.fault is None:
            return
        if self.struck_at is not None:
            if self.fault.goes_on(step):
                raise self.fault.error()
        elif len(self.steps) > self.at and self.fault.strikes(step):
            self.struck_at = len(self.steps) - 1
            raise self.fault.error()


class Faults:
    """Stands between this process and its disk while a test says so.

    Nothing is really synced then: only a power cut could tell.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    @contextmanager
    def failing(
        self, at: int = 0, fault: Fault | None = None, watcher: Watcher | None = None
    ) -> Iterator[Run]:
        """Count the steps from here on, and make number `at`, counted from 0, fail."""
        run = Run(at, fault)
        with self._patch.context() as patch:
            for call in _READING | _WRITING | {"open"}:
                patch.setattr(os, call, _counted(call, getattr(os, call), run, watcher))
            yield run


def _counted(call: str, real: Callable[..., Any], run: Run, watcher: Watcher | None) -> Callable[..., Any]:
    def counted(*args: Any, **kwargs: Any) -> Any:
        step = _step(call, args)
        if watcher and step.writes:
            watcher.before(step)
        struck_before = run.struck_at
        try:
            run.take(step)
        except BaseException:
            if call == "write" and run.struck_at != struck_before:
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
            raise
        result = None if call in _SYNCING else real(*args, **kwargs)
        if watcher and step.writes:
            watcher.after(step, args[0], result)
        return result

    return counted


def _step(call: str, args: tuple[Any, ...]) -> Step:
    subject = args[0] if args else "."
    if isinstance(subject, int):
        subject = Path(f"/proc/self/fd/{subject}").readlink()
    if call == "open" and args[1] & os.O_CREAT and not _exists(subject):
        call = "create"
    return Step(call, Path(os.fsdecode(subject)).name)


def _exists(path: str | Path) -> bool:
    try:
        _lstat(path)
    except FileNotFoundError:
        return False
    return True
