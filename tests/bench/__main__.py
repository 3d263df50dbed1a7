"""The command: `scripts/bench` measures, and prints tables."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from attrs import evolve

from tests.bench import flame, servers
from tests.bench.about import about
from tests.bench.crowds import measure_projects, measure_starts
from tests.bench.generator import generating
from tests.bench.memory import measure_memory
from tests.bench.merging import measure_merging
from tests.bench.processes import NotMeasured
from tests.bench.revisions import checkout
from tests.bench.rounds import BRIEF, USUAL, Bench
from tests.bench.servers import THIS, Server
from tests.bench.slow_sync import measure_slow_sync
from tests.bench.tables import Table, markdown, text
from tests.bench.throughput import measure_endpoints, measure_sessions

PARTS: Mapping[str, tuple[Callable[[Bench], list[Table]], str]] = {
    "sessions": (measure_sessions, "sessions/s of 1, 8 and 32 machines, and how long they take"),
    "endpoints": (measure_endpoints, "requests/s of downloads, list, lock status, health"),
    "memory": (measure_memory, "memory after 1,000 sessions over 200 projects, and after 1,000 more"),
    "startup": (measure_starts, "time from start to first answer, without projects and with --projects"),
    "projects": (measure_projects, "cost of a request among 10 projects, and among --projects"),
    "merging": (measure_merging, "merges and uploads straight in the store, without a server"),
    "slow-sync": (measure_slow_sync, "sessions with --sync-ms added to each sync, as on a memory card"),
}
DEFAULT = ("sessions", "endpoints")


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for, and print it; the exit status."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        with _bench(options) as bench:
            parts = options.parts or (() if options.profile else DEFAULT)
            status = measure(bench, parts, markdown if options.markdown else text)
            if options.profile:
                flame.draw(bench, servers.mneme(THIS), options.profile)
            return status
    except NotMeasured as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


def measure(bench: Bench, parts: Sequence[str], form: Callable[[Table], str] = text) -> int:
    """Measure some parts, and print each table once it is known; the exit status."""
    _say("\n".join(f"- {line}" for line in about(bench)))
    for part in parts:
        for table in PARTS[part][0](bench):
            _say("\n" + form(table))
    if bench.tally.asked:
        _say(f"\n{bench.tally}")
    if not sum(bench.tally.failed.values()):
        return 0
    _complain(f"FAILED, so that these figures are worth nothing. {bench.tally}")
    return 1


def _parser() -> argparse.ArgumentParser:
    described = "".join(f"  {name:<12}{what}\n" for name, (_, what) in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure this server, alone or in turns with others.",
        epilog=f"The parts, without which {' and '.join(DEFAULT)} are measured:\n\n{described}\n"
        "Data goes where TMPDIR says, up to some GB of it. If that is in memory, to be durable costs nothing.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", type=_part, help="what to measure; see below")
    add("--against-node", action="store_true", help="and two plain Node servers, one of which is durable")
    add("--against-revision", action="append", default=[], metavar="REV", help="and mneme at this revision")
    add("--rounds", type=_whole, metavar="N", help=f"how often everything is measured ({USUAL.rounds})")
    add("--seconds", type=_positive, metavar="S", help=f"how long each time ({USUAL.seconds:g})")
    add(
        "--projects",
        type=_whole,
        metavar="N",
        help="projects on disk (10,000 for startup, 1,000 for projects)",
    )
    add("--sync-ms", type=_positive, default=5.0, metavar="MS", help="what slow-sync adds to each sync (5)")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    add("--profile", type=Path, metavar="FILE.svg", help="draw where the time goes in sessions of 8 machines")
    add("--brief", action="store_true", help="as little of everything as can be, to see that it works")
    return parser


def _part(name: str) -> str:
    if name not in PARTS:
        raise argparse.ArgumentTypeError(f"there is no part {name!r}, but {', '.join(PARTS)}")
    return name


def _whole(number: str) -> int:
    if not number.isdecimal() or int(number) == 0:
        raise argparse.ArgumentTypeError(f"{number!r} is no whole number above 0")
    return int(number)


def _positive(number: str) -> float:
    found = float(number)
    if not 0 < found <= 1000:
        raise argparse.ArgumentTypeError(f"{number!r} is not above 0 and up to 1000")
    return found


@contextmanager
def _bench(options: argparse.Namespace) -> Iterator[Bench]:
    """All that a part needs; everything that is left is removed at the end."""
    scale = BRIEF if options.brief else USUAL
    scale = evolve(scale, seconds=options.seconds or scale.seconds, rounds=options.rounds or scale.rounds)
    if options.projects:
        scale = evolve(scale, started_projects=options.projects, projects=(10, options.projects))
    with ExitStack() as stack:
        workspace = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mneme-bench-")))
        yield Bench(
            servers=tuple(_servers(options, stack)),
            generate=stack.enter_context(generating()),
            scale=scale,
            workspace=workspace,
            revisions=tuple(dict.fromkeys(options.against_revision)),
            sync_ms=options.sync_ms,
        )


def _servers(options: argparse.Namespace, stack: ExitStack) -> Iterator[Server]:
    yield servers.mneme(THIS)
    if options.against_node:
        yield servers.plain_node()
        yield servers.plain_node("--durable")
    for revision in dict.fromkeys(options.against_revision):
        yield servers.mneme(revision, stack.enter_context(checkout(revision)))


def _end(number: int, _frame: FrameType | None) -> None:
    """Unwind, so that nothing that was started stays."""
    raise SystemExit(128 + number)


def _say(lines: str) -> None:
    print(lines, flush=True)  # noqa: T201 - what was asked for


def _complain(line: str) -> None:
    print(f"scripts/bench: {line}", file=sys.stderr)  # noqa: T201 - to whoever asked


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
