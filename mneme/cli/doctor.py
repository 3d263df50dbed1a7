"""`doctor`: why memory is not synced, and what to do."""

import sys
import textwrap
from collections import Counter
from collections.abc import Sequence

import click
from rich.console import Console
from rich.text import Text

from mneme import clocks, homedir
from mneme.cli import output
from mneme.cli.options import as_json, server_options
from mneme.client.connection import connected
from mneme.client.doctor import Doctor
from mneme.client.doctor.findings import Finding, State
from mneme.client.doctor.machine import encoding_findings, home_finding
from mneme.client.localproject import working_directory

_MARKS = {State.GOOD: ("✓", "green"), State.DOUBTFUL: ("?", "yellow"), State.BAD: ("✗", "bold red")}
_PLAIN = {"✓": "+", "✗": "x"}
_INDENT = "  "


@click.command()
@server_options
@as_json
def doctor(server: str | None, key: str | None, as_json: bool) -> None:
    """Find out why memory is not synced, and what to do.

    Looks at the settings, the server, the project of the working directory and this machine, and changes nothing.
    Exits with status 1 if something must be mended.
    """
    findings = examined(server, key)
    if as_json:
        output.print_json({"findings": findings})
    else:
        show(findings)
    sys.exit(status_of(findings))


def examined(server: str | None = None, key: str | None = None) -> Sequence[Finding]:
    """The findings about this machine and the project of the working directory."""
    home = homedir.home()
    if home:
        findings = Doctor(clocks.monotonic, home, working_directory(), connected).examine(server, key)
    else:
        findings = (home_finding(),)
    return [*findings, *encoding_findings(sys.stdout.encoding if sys.stdout else "utf-8")]


def status_of(findings: Sequence[Finding]) -> int:
    """The exit status: 1 if something must be mended."""
    return 1 if any(finding.state is State.BAD for finding in findings) else 0


def show(findings: Sequence[Finding]) -> None:
    """Print findings for a person."""
    console = Console(highlight=False)
    # Output for a program is not wrapped.
    width = console.width if console.is_terminal else sys.maxsize
    for finding in findings:
        mark, style = _MARKS[finding.state]
        shown = mark if _can_say(mark, console.encoding) else _PLAIN[mark]
        found = textwrap.fill(finding.found, width - 2, subsequent_indent=_INDENT, break_on_hyphens=False)
        console.print(Text.assemble((shown, style), " ", found), soft_wrap=True)
        if finding.advice:
            advice = textwrap.fill(
                finding.advice,
                width - 2,
                initial_indent=_INDENT * 2,
                subsequent_indent=_INDENT * 2,
                break_on_hyphens=False,
            )
            console.print(Text(advice, "dim" if finding.state is State.GOOD else ""), soft_wrap=True)
    console.print(_summary(findings), style="bold", markup=False)


def _summary(findings: Sequence[Finding]) -> str:
    states = Counter(finding.state for finding in findings)
    told = [f"{states[state]} {state.value}" for state in (State.BAD, State.DOUBTFUL) if states[state]]
    return ", ".join(told) if told else "All is well"


def _can_say(mark: str, encoding: str) -> bool:
    try:
        mark.encode(encoding)
    except UnicodeError:
        return False
    return True
