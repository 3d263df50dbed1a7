"""The log, for people and for machines."""

import json
import os
import re
import signal
from collections.abc import Callable
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
