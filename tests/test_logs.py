"""The log, for people and for machines."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, LogPublisher, capturedLogs
from twisted.python import log
from twisted.python.reflect import namedAny
from zope.interface import implementer

from mneme.logs import FORMS, REQUESTS, LogChoice, as_json_line, as_text_line

Say = Callable[[str], None]
Choose = Callable[..., None]


@pytest.fixture
def choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Choose]:
    """A way to choose file and form; the handler of the signal comes back."""

    def choose(file: str = str(tmp_path / "m.log"), form: str = "text", call: Any = lambda do: do()) -> None:
        monkeypatch.setattr(LogChoice, "file", file)
        monkeypatch.setattr(LogChoice, "form", form)
        monkeypatch.setattr(LogChoice, "call_from_signal", call, raising=False)

    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    choose()
    yield choose
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def said(choice: Choose) -> Iterator[Say]:
    """A way to write lines to the chosen log."""
    opened: list[Any] = []

    def say(text: str) -> None:
        if not opened:
            opened.append(namedAny(LogChoice.name)())
        Logger("x", observer=LogPublisher(opened[0])).info(text, count=3, thing=object())

    yield say
    for one in opened:
        if LogChoice.file != "-":
            one._outFile.close()


def test_a_log_for_machines_has_an_object_a_line(said: Say, choice: Choose, tmp_path: Path) -> None:
    """With the details of the event, as far as they are JSON."""
    choice(form="json")
    said("a word in\ntwo lines")
    said("second")
    first, second = map(json.loads, (tmp_path / "m.log").read_text().splitlines())
    assert (first["level"], first["logger"]) == ("info", "x")
    assert (first["message"], second["message"]) == ("a word in\ntwo lines", "second")
    assert (first["count"], "thing" in first) == (3, False)


def test_without_a_file_the_log_goes_to_standard_output(
    said: Say, choice: Choose, capsys: pytest.CaptureFixture[str]
) -> None:
    """The journal picks it up there."""
    choice("-", "json")
    said("said")
    assert json.loads(capsys.readouterr().out)["message"] == "said"


def test_a_log_that_is_no_file_is_never_rotated(said: Say, choice: Choose, tmp_path: Path) -> None:
    """`--logfile /dev/null` must not move that out of the way of everybody."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    choice(str(pipe), "json")
    said("said")
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert json.loads(os.read(reading, 1000))["message"] == "said"
    os.close(reading)


def test_a_log_is_not_rotated_in_the_middle_of_a_line(said: Say, choice: Choose, tmp_path: Path) -> None:
    """SIGUSR1 can come while a line is written, and must not close the file then."""
    asked: list[Callable[[], object]] = []
    choice(call=asked.append)
    said("some one")
    signal.raise_signal(signal.SIGUSR1)
    assert not (tmp_path / "m.log.1").exists()
    [rotate] = asked
    rotate()
    assert (tmp_path / "m.log.1").exists()


def lines(path: Path) -> list[str]:
    """The last word of each line of a log."""
    return [line.rstrip("}").strip('"').rpartition(" ")[2] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_that_somebody_truncates_goes_on_at_its_new_end(
    said: Say,
    choice: Choose,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    form: str,
) -> None:
    """No hole of NULs; bytes that were cut off count no more towards a rotation."""
    choice(form=form)
    monkeypatch.setattr("mneme.logs._ROTATE_BYTES", 1000)
    log = tmp_path / "m.log"
    for _ in range(20):
        said("some one")
        os.truncate(log, 0)
    said("some two")
    assert b"\0" not in log.read_bytes()
    assert log.read_text().count("\n") == 1
    assert "some two" in log.read_text()
    assert not (tmp_path / "m.log.1").exists()


def test_a_large_log_begins_anew(said: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The old one is kept beside it."""
    monkeypatch.setattr("mneme.logs._ROTATE_BYTES", 60)
    for word in ("one", "two", "three"):
        said(f"some {word} of more than half of the bytes, or so")
    names = ("m.log.2", "m.log.1", "m.log")
    assert ["one" in (tmp_path / name).read_text() for name in names] == [True, False, False]


@pytest.mark.parametrize("signalled", [False, True])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_log_that_somebody_moves_goes_on_in_a_file_of_its_name(
    said: Say, tmp_path: Path, signalled: bool, replaced: bool
) -> None:
    """At its next line, or by SIGUSR1, which then moves nothing away once more."""
    log, moved = tmp_path / "m.log", tmp_path / "m.log.1"
    said("some one")
    log.rename(moved)
    if replaced:
        log.touch()
    if signalled:
        signal.raise_signal(signal.SIGUSR1)
        assert log.exists()
    said("some two")
    assert (lines(moved), lines(log)) == (["one"], ["two"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.log", "m.log.1"]


def test_a_log_that_somebody_removes_is_made_again(said: Say, tmp_path: Path) -> None:
    """Nothing is written into a file that has no name."""
    said("some one")
    (tmp_path / "m.log").unlink()
    said("some two")
    assert lines(tmp_path / "m.log") == ["two"]


@pytest.mark.parametrize("in_the_way", ["directory", "nothing"])
def test_a_log_that_cannot_be_opened_again_goes_on_where_it_is(
    said: Say, choice: Choose, tmp_path: Path, in_the_way: str
) -> None:
    """Until it can."""
    parent, log = tmp_path / "logs", tmp_path / "logs" / "m.log"
    parent.mkdir()
    choice(str(log))
    said("some one")
    moved = log.rename(tmp_path / "moved.log")
    obstruct, clear = (log.mkdir, log.rmdir) if in_the_way == "directory" else (parent.rmdir, parent.mkdir)
    obstruct()
    said("some two")
    assert lines(moved) == ["one", "two"]
    clear()
    said("some three")
    assert (lines(moved), lines(log)) == (["one", "two"], ["three"])


def test_truncated_standard_output_goes_on_at_its_new_end(
    said: Say,
    choice: Choose,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """As after `> m.log`, which a shell does not open for appending."""
    log = tmp_path / "m.log"
    choice("-")
    with log.open("w") as out:
        monkeypatch.setattr("sys.stdout", out)
        said("some one")
        os.truncate(log, 0)
        said("some two")
    assert b"\0" not in log.read_bytes()
    assert lines(log) == ["two"]


@given(st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.floats() | st.binary()))
def test_any_event_is_one_line_of_json(details: dict[str, object]) -> None:
    """Whatever its details are, those of its own name and time are not overwritten."""
    event = {**details, "log_time": 0.0, "log_level": LogLevel.info, "log_format": "said"}
    line = as_json_line(event)
    assert line.count("\n") == 1
    assert json.loads(line)["time"] == "1970-01-01T00:00:00.000Z"


def test_a_line_for_people_is_as_twisted_would_write_it() -> None:
    """The message of a request comes ready, and has the same form."""
    lines: list[str | None] = []

    @implementer(ILogObserver)
    def observer(event: LogEvent) -> None:
        lines.append(as_text_line(event))

    publisher = LogPublisher(observer)
    with_line = Logger(REQUESTS, observer=publisher)
    with_line.info("{log_line}", log_line="127.0.0.1 {odd} GET demo lock", method="GET")
    Logger("mneme.x", observer=publisher).warn("{n} lines\nin one", n=2)
    request, other = (line or "" for line in lines)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT[\d:]{8}[+-]\d{4} \[mneme\.request#info\] 127\.0\.0\.1 \{odd\} GET demo lock\n",
        request,
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}[+-]\d{4} \[mneme\.x#warn\] 2 lines\n\tin one\n", other)


def test_an_event_without_a_message_leaves_no_line() -> None:
    """Twisted has it so."""
    assert not as_text_line({"log_time": 0.0, "log_level": LogLevel.info})


@pytest.mark.parametrize("form", FORMS)
def test_lines_of_twisted_about_each_port_are_left_out(choice: Choose, tmp_path: Path, form: str) -> None:
    """A server says by itself where it listens; failures told in the same way stay."""
    choice(form=form)
    observer = namedAny(LogChoice.name)()
    with capturedLogs() as events:
        log.msg("Site starting on 3847")
        log.err(ValueError("broken"), "Trouble")
    for event in events:
        observer(event)
    observer._outFile.close()
    said = (tmp_path / "m.log").read_text()
    assert "starting on" not in said
    assert "Trouble" in said
    assert "broken" in said
