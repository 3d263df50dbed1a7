"""Results of Deferreds that have fired, for tests without a reactor."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


def started(awaitable: Deferred[T] | Coroutine[Any, Any, T]) -> Deferred[T]:
    """The Deferred of a coroutine, which begins to run; a Deferred is itself."""
    return awaitable if isinstance(awaitable, Deferred) else Deferred.fromCoroutine(awaitable)


def result_of(awaitable: Deferred[T] | Coroutine[Any, Any, T]) -> T:
    """The result; raises the failure, and AssertionError if it still waits."""
    results: list[T] = []
    failures: list[Failure] = []
    started(awaitable).addCallbacks(results.append, failures.append)
    for failure in failures:
        failure.raiseException()
    assert results, "there is no result yet"
    return results[0]


def failure_of(awaitable: Deferred[T] | Coroutine[Any, Any, T]) -> BaseException:
    """The failure; AssertionError if it still waits, or has a result."""
    results: list[T] = []
    failures: list[Failure] = []
    started(awaitable).addCallbacks(results.append, failures.append)
    assert failures, f"it has not failed, but has come to {results}"
    error = failures[0].value
    assert isinstance(error, BaseException)
    return error


def waits(deferred: Deferred[T]) -> bool:
    """Whether it has come to nothing yet."""
    return not deferred.called or deferred.paused > 0
