"""What merging costs, and what an upload costs that needs none, straight in the store and without a server.

Figures from one machine are worth comparing only within one run, so that two states of the code take turns.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import msgspec

from mneme import bases, merge
from mneme.model import FileName
from tests import plugin_files
from tests.bench import uploads
from tests.bench.errors import NotMeasured
from tests.bench.processes import running
from tests.bench.revisions import HERE, checkout
from tests.bench.rounds import Bench, in_order
from tests.bench.servers import THIS
from tests.bench.tables import Row, Table

MEGABYTE = 1_000_000
CANDIDATES = 8
WITHIN = 300.0
MILLISECONDS = "ms"

_START = datetime(2026, 3, 10, 9, tzinfo=UTC)


def measure_merging(bench: Bench) -> list[Table]:
    """Merges, uploads that need none, by turns with those of other revisions, and uploads that need more."""
    count = bench.scale.uploads
    merges = _merges()
    states = 1 + len(bench.revisions)
    bench.progress.begin("merging", bench.scale.rounds * (len(merges) + states + 2))
    more = {
        "made from an older version, with lock and merge": lambda: uploads.stale(count) / 1000,
        "refused, and kept": lambda: uploads.refused(count) / 1000,
    }
    return [
        _timings(bench, "Merge of two files", {name: _timer(job) for name, job in merges.items()}),
        _uploads(bench, count),
        _timings(bench, "Upload of 158 kB that needs more", more),
    ]


def _timings(bench: Bench, title: str, jobs: Mapping[str, Callable[[], float]]) -> Table:
    """The jobs, each of which says how many seconds it took, in rounds."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(bench.scale.rounds):
        for name, job in jobs.items():
            bench.progress.step(f"round {turn + 1} of {bench.scale.rounds}, {name}")
            taken[name].append(job() * 1000)
    return Table(title, (MILLISECONDS,), tuple(Row(name, {MILLISECONDS: row}) for name, row in taken.items()))


def _timer(job: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        start = time.perf_counter()
        job()
        return time.perf_counter() - start

    return timed


# Merges


def _merges() -> dict[str, Callable[[], object]]:
    lines = list(islice(plugin_files.log_lines(1), 12_000))
    base = b"".join(lines)[:MEGABYTE].rpartition(b"\n")[0] + b"\n"
    head, upload = (base + b"".join(islice(plugin_files.log_lines(seed), 300)) for seed in (2, 3))
    apart = [
        b"".join(islice(plugin_files.log_lines(seed), len(base) * 12_000 // len(b"".join(lines))))
        for seed in (4, 5)
    ]
    short = [b"".join(_short_lines(who)) for who in ("laptop", "desktop")]
    entities = [plugin_files.entities(seed) for seed in (1, 2, 3)]
    log = plugin_files.log(1)
    candidates = [log + b"".join(islice(plugin_files.log_lines(seed), 20)) for seed in range(CANDIDATES)]

    def merged(file: FileName, base: bytes | None, head: bytes, upload: bytes) -> Callable[[], object]:
        return lambda: merge.merge(file, base, head, upload, upload_is_later=True, max_bytes=10 * 1024 * 1024)

    return {
        f"log.jsonl, {_size(head)} each, on their base": merged(FileName.LOG, base, head, upload),
        f"log.jsonl, {_size(apart[0])} each, nothing in common": merged(FileName.LOG, None, *apart),
        f"log.jsonl, {_size(short[0])} each, {len(short[0].splitlines()):,} short lines": merged(
            FileName.LOG, None, *short
        ),
        "entities.json, 55 kB each, on their base": merged(FileName.ENTITIES, *entities),
        "summary.json, 16 kB each, no base": merged(
            FileName.SUMMARY_JSON, None, plugin_files.summary(1), plugin_files.summary(2)
        ),
        f"which of {CANDIDATES} logs of 158 kB an upload was made from": lambda: bases.choose(
            FileName.LOG,
            [bases.Candidate(one, bases.Evidence.SENT) for one in candidates],
            candidates[3] + lines[0],
        ),
    }


def _size(content: bytes) -> str:
    return f"{len(content) / MEGABYTE:.2f} MB"


def _short_lines(who: str) -> Iterator[bytes]:
    for number in range(10_000):
        moment = plugin_files.stamp(_START + timedelta(seconds=number))
        yield b'{"ts":"%b","type":"task","content":"%b did %06d more"}\n' % (
            moment.encode(),
            who.encode(),
            number,
        )


# Uploads


def _uploads(bench: Bench, count: int) -> Table:
    values: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        trees = {THIS: HERE} | {name: stack.enter_context(checkout(name)) for name in bench.revisions}
        for turn in range(bench.scale.rounds):
            for name, tree in in_order(list(trees.items()), turn):
                bench.progress.step(f"round {turn + 1} of {bench.scale.rounds}, uploads, {name}")
                with bench.directory() as directory:
                    for measure, value in _uploads_of(tree, directory, count).items():
                        values.setdefault(f"{measure} time, ms", {}).setdefault(name, []).append(value)
    rows = tuple(Row(measure, by_state) for measure, by_state in values.items())
    return Table("Upload of 158 kB whose base is the head", tuple(trees), rows, THIS)


def _uploads_of(tree: Path, directory: Path, count: int) -> dict[str, float]:
    """Measure in a process of its own, which imports `mneme` from the tree and all else from here."""
    (directory / "mneme").symlink_to(tree / "mneme")
    path = os.pathsep.join([str(directory), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "tests.bench.uploads", str(count)]
    pipe = subprocess.PIPE
    with running(command, stdout=pipe, stderr=pipe, cwd=directory, environment=environment) as process:
        try:
            output, said = process.communicate(timeout=WITHIN)
        except subprocess.TimeoutExpired as error:
            raise NotMeasured(f"Uploads to {tree} did not end within {WITHIN:g} s") from error
    try:
        return msgspec.json.decode(output, type=dict[str, float])
    except msgspec.DecodeError as error:
        last = said.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise NotMeasured(f"Uploads to {tree} cannot be measured: {''.join(last)}") from error
