"""The commands as they are typed: their help, and what they do not take."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from mneme.cli.commands import mneme
from mneme.model import FILES, ProjectId

SERVING = ("status", "projects", "unlock", "history", "show", "diff", "restore", "rm")
COMMANDS = ("pull", "push", "watch", "doctor", *SERVING)


def typed(*arguments: str) -> Result:
    """A command that ends before it asks anything."""
    return CliRunner().invoke(mneme, arguments)


TAKEN = {
    **dict.fromkeys(COMMANDS, ("--server URL", "--key KEY", "--json", "-h, --help")),
    "agent": ("--status", "--install", "--uninstall", "-h, --help"),
    "hooks": ("--install", "--uninstall", "--settings PATH", "--json"),
}


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", TAKEN)
def test_every_command_has_a_help_with_its_options(command: str, option: str) -> None:
    """Which server, for one, and how scripts read it."""
    told = typed(command, option)
    assert told.exit_code == 0
    for word in (f"Usage: mneme {command}", *TAKEN[command]):
        assert word in told.output


@pytest.mark.parametrize(
    ("arguments", "project"),
    [
        (("unlock", "--yes", "-home-ana-src-app"), "-home-ana-src-app"),
        (("history", "-home-ana-src-app", "log.jsonl", "--limit", "3"), "-home-ana-src-app"),
        (("show", "-home-ana-src-app", "log.jsonl", "--key", "-key"), "-home-ana-src-app"),
        (("diff", "--key=-key", "-h-o", "log.jsonl", "1", "2"), "-h-o"),
        (("restore", "--version", "1", "-json", "log.jsonl"), "-json"),
    ],
)
def test_an_id_may_begin_with_a_dash(arguments: tuple[str, ...], project: str) -> None:
    """That of a path does."""
    name, *others = arguments
    # A command keeps the names of its help from the first context, so that is made as in real life.
    above = mneme.make_context("mneme", [*arguments])
    command = mneme.get_command(above, name)
    assert command
    context = command.make_context(name, others, above)
    assert context.params["project"] == ProjectId(project)
    assert context.params["key"] in (None, "-key")


def test_the_list_of_commands_has_a_whole_sentence_for_each() -> None:
    """None of them is cut off."""
    listed = {line.split()[0]: line for line in typed("-h").output.splitlines() if line.startswith("  ")}
    for command in COMMANDS:
        assert listed[command].endswith("."), listed[command]
        assert not listed[command].endswith("...")


@pytest.mark.parametrize("command", ["history", "show", "diff", "restore"])
def test_what_takes_a_file_names_all_files(command: str) -> None:
    """Nobody knows them by heart."""
    words = typed(command, "-h").output.split()
    assert {f"{file.value}{'.' if file is FILES[-1] else ','}" for file in FILES} <= set(words)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("show", "demo", "notes.txt"), "'notes.txt' is not one of 'log.jsonl'"),
        (("history", "demo", "notes.txt"), "'notes.txt' is not one of 'log.jsonl'"),
        (("history", "demo", "--limit", "0"), "0 is not in the range x>=1"),
        (("show", "demo", "log.jsonl", "--version", "one"), "'one' is not a valid whole number"),
        (("diff", "demo", "log.jsonl"), "Missing argument 'A'"),
        (("diff", "demo", "log.jsonl", "-1"), "No such option"),
        (("restore", "demo", "log.jsonl"), "Missing option '--version'"),
        (("unlock", ""), "A project id has 1 to 512 characters"),
        (("unlock", "\udcff"), "A project id is UTF-8 text"),
    ],
)
def test_what_cannot_be_asked_is_told_with_status_2(arguments: tuple[str, ...], complaint: str) -> None:
    """Before any server is."""
    told = typed(*arguments)
    assert told.exit_code == 2
    assert complaint in told.output


@pytest.mark.integration
def test_a_pull_loads_little() -> None:
    """A session waits for it: no reactor, no colours, no classes of attrs."""
    code = (
        "import sys, mneme.cli.syncing; print(*[one for one in ('twisted', 'treq', 'attrs', 'rich', 'asyncio')"
        " if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
