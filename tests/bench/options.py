"""What can be asked for on the command line."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from attrs import evolve, frozen

GENERATORS = ("wrk", "python")


@frozen
class Scale:
    """How much is measured. `projects` are the numbers of projects on disk that requests are timed among."""

    seconds: float
    rounds: int
    machines: tuple[int, ...] = (1, 8, 32)
    memory_sessions: int = 1000
    memory_projects: int = 200
    started_projects: int = 10_000
    projects: tuple[int, ...] = (10, 1000)
    uploads: int = 150


USUAL = Scale(seconds=3, rounds=5)
BRIEF = Scale(
    seconds=0.1,
    rounds=1,
    memory_sessions=16,
    memory_projects=16,
    started_projects=20,
    projects=(10,),
    uploads=4,
)
MOST_PROJECTS = 100_000
LONGEST = 600.0
MOST_ROUNDS = 100


@frozen
class Options:
    """What was asked for."""

    parts: tuple[str, ...]
    against_urls: tuple[str, ...]
    against_node: bool
    against_commands: tuple[str, ...]
    against_revisions: tuple[str, ...]
    scale: Scale
    projects_each: int
    sync_ms: float
    generator: str | None
    markdown: bool
    profile: Path | None


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one sentence, without the usage around it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; --help says more\n")


def parse(arguments: Sequence[str], parts: Mapping[str, str], default: Sequence[str]) -> Options:
    """What the arguments ask for; ends the program if they make no sense. `parts` says what each part measures."""
    parser = _parser(parts, default)
    found = parser.parse_intermixed_args(arguments)
    if found.list:
        sys.stdout.write(_described(parts))
        parser.exit()
    for part in found.parts:
        if part not in parts:
            parser.error(f"there is no part {part!r}, but {', '.join(parts)}")
    usual = BRIEF if found.brief else USUAL
    return Options(
        parts=tuple(dict.fromkeys(found.parts)) or (() if found.profile else tuple(default)),
        against_urls=tuple(found.against),
        against_node=found.against_node,
        against_commands=tuple(found.against_command),
        against_revisions=tuple(found.against_revision),
        scale=evolve(
            usual,
            seconds=found.seconds or usual.seconds,
            rounds=found.rounds or usual.rounds,
            projects=(*usual.projects, MOST_PROJECTS) if found.all else usual.projects,
        ),
        projects_each=found.projects_each,
        sync_ms=found.sync_ms,
        generator=found.generator,
        markdown=found.markdown,
        profile=found.profile,
    )


def _parser(parts: Mapping[str, str], default: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="scripts/bench",
        description="Measure this server, alone or in turns with others.",
        epilog=f"The parts, without which {', '.join(default)} are measured:\n\n{_described(parts)}\n"
        "Data goes where TMPDIR says, up to some GB of it. If that is in memory, to be durable costs nothing.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help="what to measure; see below")
    add("--list", action="store_true", help="say what the parts are, and end")
    add("--against", action="append", default=[], type=_url, metavar="URL", help=_URL_HELP)
    add("--against-node", action="store_true", help=_NODE_HELP)
    add(
        "--against-command", action="append", default=[], type=_command, metavar="COMMAND", help=_COMMAND_HELP
    )
    add("--against-revision", action="append", default=[], metavar="REV", help=_REVISION_HELP)
    add("--rounds", type=_rounds, metavar="N", help=f"how often everything is measured ({USUAL.rounds})")
    add(
        "--seconds",
        type=_seconds,
        metavar="S",
        help=f"how long each time ({USUAL.seconds:g}); wrk: whole ones",
    )
    add(
        "--projects-each",
        type=_projects,
        default=1,
        metavar="N",
        help="projects of each machine in `sessions` (1)",
    )
    add(
        "--sync-ms",
        type=_milliseconds,
        default=5.0,
        metavar="MS",
        help="milliseconds that `slow-sync` adds to each sync (5)",
    )
    add("--all", action="store_true", help=f"`projects` with {MOST_PROJECTS:,}, too: minutes, 2 GB a server")
    add("--generator", choices=GENERATORS, help="what makes the load (wrk, where it is installed)")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    add(
        "--profile",
        type=Path,
        metavar="FILE.svg",
        help="draw where this server's time goes in sessions of 8 machines",
    )
    add("--brief", action="store_true", help="as little of everything as can be, to see that it works")
    return parser


_NODE_HELP = "and two plain Node servers: one that overwrites files in place, and a durable one"
_URL_HELP = (
    "and this server, which runs already, without keys and rate limit; it gets projects called bench-..."
)
_COMMAND_HELP = (
    "and the server that this starts, in whose words {port} and {directory} are filled in: "
    "'node tests/bench/plain_server.mjs {port} {directory}'"
)
_REVISION_HELP = "and mneme as it was at this revision"


def _described(parts: Mapping[str, str]) -> str:
    return "".join(f"  {name:<12}{what}\n" for name, what in parts.items())


def _url(text: str) -> str:
    at = urlsplit(text)
    try:
        whole = at.scheme == "http" and at.hostname is not None and at.port is not None
    except ValueError:
        whole = False
    if not whole or at.path.strip("/"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address like http://127.0.0.1:3847 (for a revision there is --against-revision)"
        )
    return text.rstrip("/")


def _command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no command: {error}") from error
    if not any("{port}" in word for word in words[1:]):
        raise argparse.ArgumentTypeError(f"{text!r} does not say where its {{port}} goes")
    return text


def _rounds(text: str) -> int:
    return _whole(text, MOST_ROUNDS)


def _projects(text: str) -> int:
    return _whole(text, 1000)


def _milliseconds(text: str) -> float:
    return _fraction(text, 1000, "milliseconds")


def _whole(text: str, most: int) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to {most}")
    return int(text)


def _seconds(text: str) -> float:
    return _fraction(text, LONGEST, "seconds")


def _fraction(text: str, most: float, unit: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of {unit} up to {most:g}")
    return found
