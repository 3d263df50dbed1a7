"""Output of the doctor: on a terminal, in a pipe, and as JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner, Result

from mneme.cli import doctor as command
from mneme.cli.commands import mneme
from mneme.client.doctor import Doctor
from mneme.client.doctor.findings import Finding, bad, doubtful, good
from mneme.client.errors import SettingsError

GOOD = good("key-right", "The API key is right")
DOUBTFUL = doubtful("clocks-apart", "The clock of [the] server is 6 seconds ahead", "Set the clocks by NTP")
BAD = bad(
    "server-unreachable", "The server cannot be reached: " + "far-away " * 20, "Start it, " * 20 + "please"
)


@pytest.fixture
def finding(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the doctor find something."""

    def found(*findings: Finding) -> None:
        monkeypatch.setattr(Doctor, "examine", lambda *_: findings)

    return found


def _doctor(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(mneme, ["doctor", *arguments], env=environment)


def test_each_finding_is_a_line_with_a_mark(finding: Callable[..., None]) -> None:
    """A line for a finding, and an indented line for its advice, never wrapped."""
    finding(GOOD, DOUBTFUL, BAD)
    result = _doctor(COLUMNS="40")
    assert result.stdout.splitlines() == [
        "✓ The API key is right",
        "? The clock of [the] server is 6 seconds ahead",
        "    Set the clocks by NTP",
        f"✗ {BAD.found.strip()}",
        f"    {BAD.advice}",
        "1 bad, 1 doubtful",
    ]
    assert result.stderr == ""
    finding(GOOD)
    assert _doctor().stdout.splitlines() == ["✓ The API key is right", "All is well"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_the_status_is_1_only_if_something_is_bad(
    finding: Callable[..., None], options: tuple[str, ...]
) -> None:
    """A doubtful finding may be intended."""
    finding(GOOD, DOUBTFUL)
    assert _doctor(*options).exit_code == 0
    finding(GOOD, BAD, DOUBTFUL)
    assert _doctor(*options).exit_code == 1


def test_json_is_one_document_with_all_findings(finding: Callable[..., None]) -> None:
    """Codes and states for scripts, sentences for people."""
    finding(GOOD, DOUBTFUL)
    first = {"code": "key-right", "state": "good", "found": GOOD.found, "advice": None}
    second = {"code": "clocks-apart", "state": "doubtful", "found": DOUBTFUL.found, "advice": DOUBTFUL.advice}
    assert json.loads(_doctor("--json").stdout) == {"findings": [first, second]}


def test_on_a_terminal_long_sentences_are_folded(finding: Callable[..., None]) -> None:
    """Each line of a sentence below its first, so that the marks stand out."""
    finding(BAD)
    shown = _doctor(COLUMNS="40", FORCE_COLOR="1", TERM="xterm").stdout
    lines = click.unstyle(shown).splitlines()
    assert max(map(len, lines)) <= 40
    assert lines[0].startswith("✗ The server")
    assert lines[1].startswith("  far-away")
    assert any(line.startswith("    Start it") for line in lines)


def test_where_the_marks_cannot_be_shown_there_are_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal without Unicode is no reason to fail."""
    shown = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr("sys.stdout", shown)
    command.show([GOOD, DOUBTFUL, BAD])
    shown.seek(0)
    assert [line[0] for line in shown if not line.startswith(" ")] == ["+", "?", "x", "1"]


def test_what_goes_wrong_in_the_doctor_itself_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is shown a traceback."""

    def examine(*_: object) -> None:
        raise SettingsError("The doctor is ill")

    monkeypatch.setattr(Doctor, "examine", examine)
    result = _doctor()
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "mneme: The doctor is ill\n")
