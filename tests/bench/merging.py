"""Cost of merges and of uploads, straight in the store, without a server.

Figures from one machine are worth comparing only within one run, so that two states of the code take turns.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import msgspec

from mneme import bases, merge
from mneme.model import FileName
from tests import plugin_files
from tests.bench import uploads
from tests.bench.processes import NotMeasured, last_line, running
from tests.bench.revisions import HERE, checkout
from tests.bench.rounds import Bench, in_order
from tests.bench.servers import THIS
from tests.bench.tables import Row, Table

MEGABYTE = 1_000_000
CANDIDATES = 8
WITHIN = 300.0
MILLISECONDS = "ms"


def measure_merging(bench: Bench) -> list[Table]:
    """Merges, uploads that need none (with those of other revisions), and others."""
    count = bench.scale.uploads
    more = {
        "made from an older version, with lock and merge": lambda: uploads.stale(count),
        "refused, and kept": lambda: uploads.refused(count),
    }
    return [
        _timings(bench, "Merge of two files", {name: _timer(job) for name, job in _merges().items()}),
        _uploads(bench, count),
        _timings(bench, "Upload of 158 kB that needs more", more),
    ]


def _timings(bench: Bench, title: str, jobs: Mapping[str, Callable[[], float]]) -> Table:
    """Jobs that return their milliseconds, in rounds."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(bench.scale.rounds):
        for name, job in jobs.items():
            bench.step(f"round {turn + 1} of {bench.scale.rounds}, {name}")
            taken[name].append(job())
    return Table(title, (MILLISECONDS,), tuple(Row(name, {MILLISECONDS: row}) for name, row in taken.items()))


def _timer(job: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        start = time.perf_counter()
        job()
        return (time.perf_counter() - start) * 1000

    return timed


def _merges() -> dict[str, Callable[[], object]]:
    lines = list(islice(plugin_files.log_lines(1), 12_000))
    base = b"".join(lines)[:MEGABYTE].rpartition(b"\n")[0] + b"\n"
    head, upload = (base + b"".join(islice(plugin_files.log_lines(seed), 300)) for seed in (2, 3))
    count = len(base) * len(lines) // sum(map(len, lines))
    apart = [b"".join(islice(plugin_files.log_lines(seed), count)) for seed in (4, 5)]
    entities = [plugin_files.entities(seed) for seed in (1, 2, 3)]
    log = plugin_files.log(1)
    candidates = [log + b"".join(islice(plugin_files.log_lines(seed), 20)) for seed in range(CANDIDATES)]

    def merged(file: FileName, base: bytes | None, head: bytes, upload: bytes) -> Callable[[], object]:
        return lambda: merge.merge(file, base, head, upload, upload_is_later=True, max_bytes=10 * 1024 * 1024)

    return {
        f"log.jsonl, {_size(head)} each, on their base": merged(FileName.LOG, base, head, upload),
        f"log.jsonl, {_size(apart[0])} each, nothing in common": merged(FileName.LOG, None, *apart),
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


def _uploads(bench: Bench, count: int) -> Table:
    values: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        trees = {THIS: HERE} | {name: stack.enter_context(checkout(name)) for name in bench.revisions}
        for turn in range(bench.scale.rounds):
            for name, tree in in_order(list(trees.items()), turn):
                bench.step(f"round {turn + 1} of {bench.scale.rounds}, uploads, {name}")
                with bench.directory() as directory:
                    for measure, value in _uploads_of(tree, directory, count).items():
                        values.setdefault(f"{measure} time, ms", {}).setdefault(name, []).append(value)
    rows = tuple(Row(measure, by_state) for measure, by_state in values.items())
    return Table("Upload of 158 kB whose base is the head", tuple(trees), rows, THIS)


def _uploads_of(tree: Path, directory: Path, count: int) -> dict[str, float]:
    """Measure in a process that imports `mneme` from the tree, all else from here."""
    (directory / "mneme").symlink_to(tree / "mneme")
    path = os.pathsep.join([str(directory), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    command, pipe = [sys.executable, "-m", "tests.bench.uploads", str(count)], subprocess.PIPE
    with running(command, pipe, stderr=pipe, cwd=directory, environment=environment) as process:
        try:
            output, said = process.communicate(timeout=WITHIN)
        except subprocess.TimeoutExpired as error:
            raise NotMeasured(f"Uploads to {tree} did not end within {WITHIN:g} s") from error
    try:
        return msgspec.json.decode(output, type=dict[str, float])
    except msgspec.DecodeError as error:
        raise NotMeasured(f"Uploads to {tree} cannot be measured: {last_line(said)}") from error
