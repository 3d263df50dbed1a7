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
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, LogPublisher
from twisted.python.reflect import namedAny
from zope.interface import implementer

from mneme.logs import REQUESTS, LogChoice, as_json_line, as_text_line


def test_the_observer_is_found_by_the_name_that_twistd_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It writes to the file that was set before, one JSON object a line."""
    monkeypatch.setattr(LogChoice, "file", str(tmp_path / "m.log"))
    monkeypatch.setattr(LogChoice, "form", "json")
    observer = namedAny(LogChoice.name)()
    log = Logger("mneme.test", observer=LogPublisher(observer))
    log.info("{what} in\ntwo lines", what="a word", count=3, thing=object())
    log.warn("second")
    observer._outFile.close()
    first, second = map(json.loads, (tmp_path / "m.log").read_text().splitlines())
    assert (first["level"], first["logger"], first["message"]) == (
        "info",
        "mneme.test",
        "a word in\ntwo lines",
    )
    assert (first["what"], first["count"], "thing" in first) == ("a word", 3, False)
    assert second["level"] == "warn"


def test_without_a_file_it_goes_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the journal picks it up."""
    monkeypatch.setattr(LogChoice, "file", "-")
    monkeypatch.setattr(LogChoice, "form", "json")
    Logger("x", observer=LogPublisher(LogChoice.observer())).info("said")
    assert json.loads(capsys.readouterr().out)["message"] == "said"


def test_what_is_no_file_is_written_to_and_never_rotated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`--logfile /dev/null` must not move that out of the way of everybody."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    monkeypatch.setattr(LogChoice, "file", str(pipe))
    monkeypatch.setattr(LogChoice, "form", "json")
    before = signal.getsignal(signal.SIGUSR1)
    observer: Any = LogChoice.observer()
    Logger("x", observer=LogPublisher(observer)).info("said")
    assert signal.getsignal(signal.SIGUSR1) is before
    assert json.loads(os.read(reading, 1000))["message"] == "said"
    observer._outFile.close()
    os.close(reading)


def test_a_log_is_rotated_in_turn_and_not_in_the_middle_of_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SIGUSR1 can come while a line is written, and the file is then neither to be closed nor waited for."""
    asked: list[Callable[[], object]] = []
    monkeypatch.setattr(LogChoice, "file", str(tmp_path / "m.log"))
    monkeypatch.setattr(LogChoice, "form", "text")
    monkeypatch.setattr(LogChoice, "call_from_signal", asked.append, raising=False)
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    try:
        observer: Any = LogChoice.observer()
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not (tmp_path / "m.log.1").exists()
    [rotate] = asked
    rotate()
    observer._outFile.close()
    assert (tmp_path / "m.log.1").exists()


FORMS = ["text", "json"]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """A way to write a line to `m.log`, whose signal acts at once."""
    monkeypatch.setattr(LogChoice, "file", str(tmp_path / "m.log"))
    monkeypatch.setattr(LogChoice, "form", "text")
    monkeypatch.setattr(LogChoice, "call_from_signal", lambda call: call(), raising=False)
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    opened: list[Any] = []

    def say(text: str) -> None:
        if not opened:
            opened.append(LogChoice.observer())
        Logger("x", observer=LogPublisher(opened[0])).info(text)

    yield say
    for one in opened:
        one._outFile.close()
    signal.signal(signal.SIGUSR1, before)


def lines(path: Path) -> list[str]:
    """The last word of each line of a log."""
    return [line.rstrip("}").strip('"').rpartition(" ")[2] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("form", FORMS)
def test_a_log_that_somebody_truncates_goes_on_at_its_new_end(
    said: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str
) -> None:
    """No hole of NULs; bytes that were cut off count no more towards a rotation."""
    monkeypatch.setattr(LogChoice, "form", form)
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


def test_a_log_still_begins_anew_when_it_is_large(
    said: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The old one is kept beside it."""
    monkeypatch.setattr("mneme.logs._ROTATE_BYTES", 60)
    for word in ("one", "two", "three"):
        said(f"some {word} of more than half of the bytes, or so")
    assert ["one" in (tmp_path / name).read_text() for name in ("m.log.2", "m.log.1", "m.log")] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("signalled", [False, True])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_log_that_somebody_moves_goes_on_in_a_file_of_its_name(
    said: Callable[[str], None], tmp_path: Path, signalled: bool, replaced: bool
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


def test_a_log_that_somebody_removes_is_made_again(said: Callable[[str], None], tmp_path: Path) -> None:
    """Nothing is written into a file that has no name."""
    said("some one")
    (tmp_path / "m.log").unlink()
    said("some two")
    assert lines(tmp_path / "m.log") == ["two"]


@pytest.mark.parametrize("in_the_way", ["directory", "nothing"])
def test_a_log_that_cannot_be_opened_again_goes_on_where_it_is(
    said: Callable[[str], None], tmp_path: Path, in_the_way: str
) -> None:
    """Until it can."""
    parent, log = tmp_path / "logs", tmp_path / "logs" / "m.log"
    parent.mkdir()
    LogChoice.file = str(log)
    said("some one")
    moved = log.rename(tmp_path / "moved.log")
    if in_the_way == "directory":
        log.mkdir()
    else:
        parent.rmdir()
    said("some two")
    assert lines(moved) == ["one", "two"]
    if in_the_way == "directory":
        log.rmdir()
    else:
        parent.mkdir()
    said("some three")
    assert (lines(moved), lines(log)) == (["one", "two"], ["three"])


def test_standard_output_that_is_a_file_goes_on_at_its_new_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As after `> m.log`, which a shell does not open for appending."""
    log = tmp_path / "m.log"
    monkeypatch.setattr(LogChoice, "file", "-")
    monkeypatch.setattr(LogChoice, "form", "text")
    with log.open("w") as out:
        monkeypatch.setattr("sys.stdout", out)
        logger = Logger("x", observer=LogPublisher(LogChoice.observer()))
        logger.info("some one")
        os.truncate(log, 0)
        logger.info("some two")
    assert b"\0" not in log.read_bytes()
    assert lines(log) == ["two"]


@given(st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.floats() | st.binary()))
def test_any_event_is_one_line_of_json(details: dict[str, object]) -> None:
    """Whatever its details are, those of its own name and time are not overwritten."""
    event = {**details, "log_time": 0.0, "log_level": LogLevel.info, "log_format": "said"}
    line = as_json_line(event)
    assert line.count("\n") == 1
    assert json.loads(line)["time"] == "1970-01-01T00:00:00.000Z"


def test_a_line_for_people_is_what_twisted_would_write() -> None:
    """Time, logger, level, and the message; a request's comes ready, and has the same form."""
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
    """As Twisted has it."""
    assert not as_text_line({"log_time": 0.0, "log_level": LogLevel.info})
