"""Signals that would end a command are handled; those that are ignored stay so."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mneme.cli.signals import ENDING, handled, let_the_next_end


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The handlers of the tests, put back; those of a test are the defaults.

    For a job in the background, a shell ignores SIGINT.
    """
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def handlers() -> list[object]:
    """The handlers that there are now."""
    return [signal.getsignal(number) for number in ENDING]


@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_a_signal_is_handled_while_the_block_runs(number: signal.Signals) -> None:
    """Each time it comes; then all is as before, also after an error."""
    before, numbers = handlers(), list[int]()

    def work() -> None:
        with handled(numbers.append):
            signal.raise_signal(number)
            signal.raise_signal(number)
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert numbers == [number, number]
    assert handlers() == before


@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_an_ignored_signal_stays_ignored(number: signal.Signals) -> None:
    """As SIGHUP under nohup, and SIGINT of a job in the background."""
    signal.signal(number, signal.SIG_IGN)
    numbers: list[int] = []
    with handled(numbers.append):
        signal.raise_signal(number)
        other = next(one for one in ENDING if one is not number)
        signal.raise_signal(other)
    assert numbers == [other]
    assert signal.getsignal(number) is signal.SIG_IGN


def test_a_handler_that_python_did_not_set_becomes_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python cannot put it back."""
    with monkeypatch.context() as context:
        context.setattr(signal, "getsignal", lambda _number: None)
        with handled(lambda _number: None):
            pass
    assert handlers() == [signal.SIG_DFL] * 3


def run(code: str) -> subprocess.CompletedProcess[str]:
    """A process that imports all of this and runs some code."""
    head = "import signal\nfrom mneme.cli.signals import *\n"
    return subprocess.run(
        [sys.executable, "-c", head + code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )


@pytest.mark.integration
@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_a_process_ends_by_the_signal(number: signal.Signals) -> None:
    """As if nobody handled it: whoever started it sees by which."""
    done = run(f"with handled(end):\n signal.raise_signal({int(number)})\n print('still here')")
    assert (done.returncode, done.stdout, done.stderr) == (-number, "", "")


@pytest.mark.integration
def test_a_second_signal_ends_a_process_that_was_let_go_on_once() -> None:
    """Whatever it does then."""
    lines = ("signal.raise_signal(15)", "print('once', flush=True)", "signal.raise_signal(15)")
    done = run("with handled(let_the_next_end):\n " + "\n ".join(lines))
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "once\n")


@pytest.mark.integration
def test_nohup_keeps_a_command_from_the_end_of_its_terminal() -> None:
    """A closed terminal ends others."""
    code = "with handled(end):\n signal.raise_signal(signal.SIGHUP)\n print('still here')"
    # A child has what its parent ignores.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert run(code).stdout == "still here\n"
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert run(code).stdout == ""


def test_a_signal_that_was_let_pass_has_its_default() -> None:
    """So the next one ends the process."""
    let_the_next_end(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
