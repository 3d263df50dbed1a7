"""Output: escaped, in columns, in colour only on a terminal."""

from __future__ import annotations

import pytest
from rich.text import Text

from mneme.cli import output
from mneme.model import Millis
from mneme.readable import plain
from mneme.times import text_to_local_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("μνήμη 記憶\u3000(1)", "μνήμη 記憶\u3000(1)"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("txt.\u202egpj", r"txt.\u202egpj"),
        ("\u2028\ufeff", r"\u2028\ufeff"),
        ("half \ud83d", r"half \ud83d"),
        ("family 👩\u200d👧", "family 👩\u200d👧"),
    ],
)
def test_what_could_drive_a_terminal_is_escaped(text: str, shown: str) -> None:
    """Text in any script stays as it is."""
    assert plain(text) == shown


def test_a_table_takes_nothing_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither that of rich nor that of a terminal."""
    output.print_table(("id",), [("[bold]x[/bold]",), (":smile:",), ("\x1b[2J",)], "")
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        *("id", "[bold]x[/bold]", ":smile:", r"\x1b[2J")
    ]


def test_a_table_in_a_pipe_is_as_wide_as_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever filters it by lines finds each row in one."""
    output.print_table(("one", "two"), [("a" * 300, "b" * 300)], "")
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_an_empty_table_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """Instead of a line of headings alone."""
    output.print_table(("one",), [], "There is [none]")
    assert capsys.readouterr().out == "There is [none]\n"


def test_facts_have_no_headings(capsys: pytest.CaptureFixture[str]) -> None:
    """A name and its value are a line."""
    output.print_facts({"server": "http://homeserver:3847", "disk": "[full]"})
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["server", "http://homeserver:3847"],
        ["disk", "[full]"],
    ]


def test_lines_in_a_pipe_have_no_colour_and_are_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    """However long they are."""
    output.print_lines([Text("+ " + "a" * 300, "green"), Text("[x]", "red")])
    assert capsys.readouterr().out == "+ " + "a" * 300 + "\n[x]\n"


def test_lines_on_a_terminal_have_colour_and_are_not_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The terminal folds them itself, so that they can be copied whole."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    output.print_lines([Text("+ " + "a" * 300, "green"), Text("- b", "red")])
    assert capsys.readouterr().out == f"\x1b[32m+ {'a' * 300}\x1b[0m\n\x1b[31m- b\x1b[0m\n"


def test_a_warning_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """A server may answer with anything."""
    output.warn("No \x1b[2J[bold]")
    assert capsys.readouterr().err == "mneme: No \\x1b[2J[bold]\n"


def test_a_time_that_is_none_is_shown_as_it_is() -> None:
    """A table is not given up for it."""
    assert text_to_local_text("soon") == output.ago_of("soon", Millis(0)) == "soon"
    assert output.ago_of(None, Millis(0)) == ""


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(3601, "1 hour ago"), (1, "0 seconds ago"), (0.2, "0 seconds ago"), (-60, "in 1 minute")],
)
def test_what_was_just_written_is_not_in_the_future(seconds: float, told: str) -> None:
    """The server's clock is known to the second; an edit may have any time."""
    assert output.ago_of("1970-01-01T00:00:01.000Z", Millis(round(seconds * 1000))) == told


def test_a_command_to_copy_is_quoted() -> None:
    """As a shell wants it."""
    assert output.command_line("unlock", "my app's") == """`mneme unlock 'my app'"'"'s'`"""
