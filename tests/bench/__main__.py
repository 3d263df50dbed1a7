"""The command: `scripts/bench` measures, and prints tables."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from attrs import evolve

from tests.bench import flame, servers, wrk
from tests.bench.about import about
from tests.bench.errors import NotMeasured
from tests.bench.loads import Generator
from tests.bench.options import Options, parse
from tests.bench.parts import DEFAULT, PARTS
from tests.bench.progress import Progress
from tests.bench.revisions import checkout
from tests.bench.rounds import Bench
from tests.bench.servers import THIS, Elsewhere, Server, Started
from tests.bench.sockets import Sockets
from tests.bench.tables import markdown, text


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for, and print it; the exit status."""
    options = parse(arguments, {name: part.what for name, part in PARTS.items()}, DEFAULT)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        with _bench(options) as bench:
            return _measure(bench, options)
    except NotMeasured as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        _complain("Interrupted")
        return 130


def _measure(bench: Bench, options: Options) -> int:
    """Each table is printed as soon as it is known."""
    for line in about(bench):
        _say(f"- {line}" if options.markdown else line)
    for name in options.parts:
        tables = PARTS[name].measure(bench)
        bench.progress.end()
        for table in tables:
            _say("\n" + (markdown if options.markdown else text)(table))
    if options.profile is not None:
        flame.draw(bench, servers.mneme(THIS), options.profile)
        bench.progress.end()
        _say(f"\nThe flame graph is in {options.profile}")
    bad = [tally for tally in bench.tallies if tally.failed]
    for tally in bad:
        _say(f"\nFAILED, so that these figures are worth nothing. {tally}")
        _complain(f"FAILED. {tally}")
    return 1 if bad else 0


@contextmanager
def _bench(options: Options) -> Iterator[Bench]:
    """All that a part needs; all that is left of it is removed at the end."""
    generator = _generator(options.generator)
    with ExitStack() as stack:
        workspace = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mneme-bench-")))
        yield Bench(
            servers=_named(list(_servers(options, stack))),
            generator=generator,
            counting=Sockets(),
            scale=options.scale,
            progress=Progress(sys.stderr),
            workspace=workspace,
            projects_each=options.projects_each,
            revisions=options.against_revisions,
            sync_ms=options.sync_ms,
        )


def _generator(wanted: str | None) -> Generator:
    found = wrk.found()
    if wanted == "wrk" and found is None:
        raise NotMeasured("wrk is not installed: apt install wrk, or --generator python")
    return Sockets() if wanted == "python" or found is None else found


def _servers(options: Options, stack: ExitStack) -> Iterator[Started | Elsewhere]:
    yield servers.mneme(THIS)
    for url in options.against_urls:
        yield Elsewhere(urlsplit(url).netloc, url)
    if options.against_node:
        yield servers.plain_node(durable=False)
        yield servers.plain_node(durable=True)
    for command in options.against_commands:
        yield servers.command(command)
    if set(options.parts) - {"merging", "floor"}:
        for revision in options.against_revisions:
            yield servers.mneme(revision, stack.enter_context(checkout(revision)))


def _named(found: Sequence[Started | Elsewhere]) -> tuple[Server, ...]:
    """The same, no two of them called the same."""
    seen: Counter[str] = Counter()
    named: list[Server] = []
    for server in found:
        seen[server.label] += 1
        count = seen[server.label]
        named.append(evolve(server, label=f"{server.label} {count}") if count > 1 else server)
    return tuple(named)


def _end(number: int, _frame: FrameType | None) -> None:
    """Unwind, so that nothing that was started stays."""
    raise SystemExit(128 + number)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what was asked for


def _complain(line: str) -> None:
    print(f"scripts/bench: {line}", file=sys.stderr)  # noqa: T201 - to whoever asked


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
