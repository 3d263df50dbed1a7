"""What merging costs, and what an upload costs that needs none: the tables that docs/performance.md keeps.

Figures from one machine are worth comparing only within one run, so that two states of the code take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from mneme.model import Accepted, ClientId, FileName, Millis, ProjectId, Upload
from mneme.store.disk import DiskStore
from tests import plugin_files

MEGABYTE = 1_000_000
ROUNDS = 7
UPLOADS = 150
CANDIDATES = 8

_CLIENT, _OTHER, _PROJECT = ClientId("laptop-0a1b2c3d"), ClientId("desktop-5e6f7a8b"), ProjectId("demo")
_START = datetime(2026, 3, 10, 9, tzinfo=UTC)
_TTL, _NOW = Millis(1_800_000), Millis(1_770_217_200_000)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure what merging costs.")
    parser.add_argument(
        "--against", metavar="REVISION", help="compare uploads with this state of the repository"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each measurement is made")
    parser.add_argument("--only-uploads", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_uploads:
        _say(json.dumps(_uploads()))
        return
    _tell_merges(options.rounds)
    _tell_uploads(options.rounds, options.against)


# Merges


def _tell_merges(rounds: int) -> None:
    _say(f"{'merge of two files, ms':<52}{'median':>10}{'fastest':>10}{'slowest':>10}")
    for what, job in _merges().items():
        taken = [_timed(job) * 1000 for _ in range(rounds)]
        _say(f"  {what:<50}{statistics.median(taken):>10.1f}{min(taken):>10.1f}{max(taken):>10.1f}")


def _merges() -> dict[str, Callable[[], object]]:
    from mneme import merge  # noqa: PLC0415 - an older state, which only uploads, has none

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
        f"log.jsonl, {len(head) / MEGABYTE:.2f} MB each, on their base": merged(
            FileName.LOG, base, head, upload
        ),
        f"log.jsonl, {len(apart[0]) / MEGABYTE:.2f} MB each, nothing in common": merged(
            FileName.LOG, None, *apart
        ),
        f"log.jsonl, {len(short[0]) / MEGABYTE:.2f} MB each, {len(short[0].splitlines()):,} short lines": merged(
            FileName.LOG, None, *short
        ),
        "entities.json, 55 kB each, on their base": merged(FileName.ENTITIES, *entities),
        "summary.json, 16 kB each, no base": merged(
            FileName.SUMMARY_JSON, None, plugin_files.summary(1), plugin_files.summary(2)
        ),
        f"which of {CANDIDATES} logs of 158 kB an upload was made from": lambda: merge.nearest(
            FileName.LOG,
            [merge.Candidate(one, received=True) for one in candidates],
            candidates[3] + lines[0],
        ),
    }


def _short_lines(who: str) -> Iterator[bytes]:
    for number in range(10_000):
        moment = plugin_files.stamp(_START + timedelta(seconds=number))
        yield b'{"ts":"%b","type":"task","content":"%b did %06d more"}\n' % (
            moment.encode(),
            who.encode(),
            number,
        )


# Uploads


def _tell_uploads(rounds: int, against: str | None) -> None:
    here = Path(__file__).parents[1]
    with _checkout(against) as other:
        trees = {"this": here} | ({against: other} if against and other else {})
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
        for _ in range(rounds):
            for name, tree in trees.items():
                taken[name].append(_uploads_of(tree, here))
    _say("")
    _say(f"{'upload of 158 kB whose base is the head, ms':<52}{'median':>10}{'fastest':>10}{'slowest':>10}")
    for measure in ("elapsed", "processor"):
        medians = {}
        for name, rows in taken.items():
            values = [row[measure] for row in rows]
            medians[name] = statistics.median(values)
            _say(
                f"  {f'{measure} time, {name}':<50}{medians[name]:>10.3f}{min(values):>10.3f}{max(values):>10.3f}"
            )
        if against:
            _say(f"  {f'{measure} time, this : {against}':<50}{medians['this'] / medians[against]:>10.2f}")
    _say("")
    _say(f"{'uploads of 158 kB that need more, ms':<52}{'median':>10}{'fastest':>10}{'slowest':>10}")
    for what, job in (
        ("made from an older version, with lock and merge", _stale),
        ("refused, and kept", _refused),
    ):
        values = [job() for _ in range(rounds)]
        _say(f"  {what:<50}{statistics.median(values):>10.3f}{min(values):>10.3f}{max(values):>10.3f}")


def _uploads_of(tree: Path, here: Path) -> dict[str, float]:
    """Measure in a process of its own, which imports `mneme` from `tree` and all else from here."""
    path = os.pathsep.join([str(tree), str(here)])
    command = [sys.executable, str(Path(__file__).resolve()), "--only-uploads"]
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    ran = subprocess.run(command, env=environment, cwd=tree, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def _uploads() -> dict[str, float]:
    """Milliseconds for each upload of a log that grows by a line each time, every one of them durable."""
    with _locked() as store:
        contents = list(_growing(2))
        elapsed, processor = time.perf_counter(), time.process_time()
        for content in contents:
            outcome = store.upload(_PROJECT, Upload(FileName.LOG, content, _CLIENT), _NOW)
            assert isinstance(outcome, Accepted)
        elapsed, processor = time.perf_counter() - elapsed, time.process_time() - processor
    return {"elapsed": elapsed * 1000 / UPLOADS, "processor": processor * 1000 / UPLOADS}


def _stale() -> float:
    """Milliseconds for each of the uploads of two clients, which take turns and never download."""
    with _locked() as store:
        contents = [list(islice(_growing(seed), UPLOADS // 2)) for seed in (2, 3)]
        start = time.perf_counter()
        for turn in zip(*contents, strict=True):
            for client, content in zip((_CLIENT, _OTHER), turn, strict=True):
                store.acquire(_PROJECT, client, _NOW, _TTL)
                store.upload(_PROJECT, Upload(FileName.LOG, content, client), _NOW)
                store.release(_PROJECT, client, _NOW)
        return (time.perf_counter() - start) * 1000 / UPLOADS


def _refused() -> float:
    """Milliseconds for each upload of a client that is locked out."""
    with _locked() as store:
        contents = list(_growing(2))
        start = time.perf_counter()
        for content in contents:
            store.upload(_PROJECT, Upload(FileName.LOG, content, _OTHER), _NOW)
        return (time.perf_counter() - start) * 1000 / UPLOADS


@contextmanager
def _locked() -> Iterator[DiskStore]:
    """A store on disk with one project, which the client has locked."""
    with tempfile.TemporaryDirectory() as directory:
        store = DiskStore(Path(directory))
        store.acquire(_PROJECT, _CLIENT, _NOW, _TTL)
        yield store


def _growing(seed: int) -> Iterator[bytes]:
    """A log of 158 kB that is a line longer each time."""
    log, lines = plugin_files.log(1), plugin_files.log_lines(seed)
    for _ in range(UPLOADS):
        log += next(lines)
        yield log


@contextmanager
def _checkout(revision: str | None) -> Iterator[Path | None]:
    """The repository as it was at a revision, for as long as this lasts."""
    if revision is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        _git("worktree", "add", "--quiet", "--detach", str(tree), revision)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(Path(__file__).parents[1]), *arguments], check=True)


def _timed(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def _say(line: str) -> None:
    print(line)  # noqa: T201 - what was asked for


if __name__ == "__main__":
    main()
