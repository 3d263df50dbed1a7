"""kill -9 at random instants: files are whole, and answered uploads are there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.contract import is_time
from tests.daemon import Daemon, wait_until
from tests.often import times
from tests.plugin_files import memory
from tests.stock_client import FILE_NAMES, NoAnswer, StockClient, encode_uri_component

pytestmark = pytest.mark.integration

KILLS = times(12, 500)
STOPS = times(4, 50)
DAEMONS = 2
LATEST_END = 0.15
TEMPORARY = re.compile(r"te?mp|\.part$|~$", re.IGNORECASE)
CLIENT_ID = "ana-laptop-0badcafe"
CONFIG = {"lockTTLMinutes": 600, "rateLimitPerMinute": 0}
SLOTS = (
    ("alpha", "log.jsonl"),
    ("alpha", "summary.json"),
    ("alpha", "entities.json"),
    ("beta-2", "remembered.json"),
    ("beta-2", "log.jsonl"),
    ("-home-ana-src-my.app", "log.jsonl"),
    ("-home-ana-src-my.app", "summary.md"),
)


def test_a_kill_at_any_instant_loses_no_answered_upload(tmp_path: Path) -> None:
    """Each head is the last upload answered, or the upload on its way."""
    seed = int.from_bytes(os.urandom(4))
    with ThreadPoolExecutor(DAEMONS) as pool:
        campaigns = [
            pool.submit(_campaign, tmp_path / f"server-{number}", f"{seed}/{number}", KILLS // DAEMONS)
            for number in range(DAEMONS)
        ]
        uploads = sum(campaign.result() for campaign in campaigns)
    assert uploads > KILLS // 4, (
        f"only {uploads} uploads were answered over {KILLS} kills: the kills came too early"
    )


def test_a_stop_under_uploads_is_in_order_and_loses_none(tmp_path: Path) -> None:
    """SIGTERM at any instant ends the server with status 0."""
    assert _campaign(tmp_path, os.urandom(4).hex(), STOPS, _stop) > 0


@dataclass
class Slot:
    """A file of a project, and how far its uploads have come.

    `answered` is the number of the last upload that was answered 200 (0: none), `sent` of the last one begun.
    """

    project: str
    name: str
    original: bytes
    answered: int = 0
    sent: int = 0
    digests: dict[str, int] = field(default_factory=dict)

    def next_content(self) -> str:
        """Content of the next upload, of real size, and like no upload before."""
        self.sent += 1
        mark = f'"upload": {self.sent}, "padding": "{"." * (self.sent * 977 % 16_000)}"'
        original = self.original.decode("utf-8")
        if self.name in ("summary.json", "entities.json"):
            content = original.replace("{", "{\n  " + mark + ",", 1)
        elif self.name == "remembered.json":
            content = original.replace("[", "[\n  {" + mark + "},", 1)
        else:
            # Lines come off a log at its front alone.
            content = "{" + mark + "}\n" + original
        self.digests[_digest(content.encode("utf-8"))] = self.sent
        return content

    def number_of(self, content: bytes) -> int | None:
        """Which upload a content is, None for none."""
        return self.digests.get(_digest(content))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _stop(daemon: Daemon) -> None:
    assert daemon.terminate() == 0, daemon.log()


def _campaign(home: Path, seed: str, times: int, end: Callable[[Daemon], None] = Daemon.kill) -> int:
    """End one daemon again and again; how many uploads were answered in all."""
    rng = Random(seed)
    files = memory(rng.randrange(1_000_000))
    slots = [Slot(project, name, files[name]) for project, name in SLOTS]
    uploads = 0
    with Daemon(home, CONFIG) as daemon:
        locks = _acquire(daemon)
        for number in range(1, times + 1):
            before = sum(slot.answered for slot in slots)
            delay = rng.uniform(0, LATEST_END) * rng.random()
            where = f"seed {seed!r}, end {number} after {delay * 1000:.1f} ms"
            try:
                _upload_until_the_end(daemon, slots, delay, end)
                uploads += sum(slot.answered for slot in slots) - before
                _check_what_is_on_disk(daemon, slots)
                daemon.start()
                _check_what_is_served(daemon, slots, locks)
                _check_what_is_left(daemon)
            except Exception as error:
                raise AssertionError(f"{where}: {error}") from error
        assert "Traceback" not in daemon.log(), daemon.log()
        _stop(daemon)
    return uploads


def _acquire(daemon: Daemon) -> dict[str, object]:
    """Acquire the lock of every project: once, it must survive all that follows."""
    with StockClient(daemon.url, CLIENT_ID, delays=()) as client:
        return {
            project: client.acquire(project).body["lock"] for project in {project for project, _ in SLOTS}
        }


def _upload_until_the_end(
    daemon: Daemon, slots: list[Slot], delay: float, end: Callable[[Daemon], None]
) -> None:
    """Upload to all slots at once, until the server ends after `delay` seconds."""
    begun = threading.Event()
    with ThreadPoolExecutor(len(slots)) as pool:
        uploaders = [pool.submit(_upload_while_answered, daemon.url, slot, begun) for slot in slots]
        assert begun.wait(10), "no upload ever began"
        time.sleep(delay)
        end(daemon)
        for uploader in uploaders:
            uploader.result()


def _upload_while_answered(url: str, slot: Slot, begun: threading.Event) -> None:
    with StockClient(url, CLIENT_ID, delays=()) as client:
        while True:
            content = slot.next_content()
            begun.set()
            try:
                answer = client.upload(slot.project, slot.name, content)
            except NoAnswer:
                return
            assert answer.status == 200, (answer, slot.project, slot.name)
            slot.answered = slot.sent


def _check_what_is_on_disk(daemon: Daemon, slots: list[Slot]) -> None:
    """Before anybody repairs anything: the head files are whole, and the lock files are JSON."""
    for path in _heads(daemon):
        number = _number_of(slots, path.name, path.read_bytes())
        assert number is not None, f"{path} is nothing that was ever sent ({path.stat().st_size} bytes)"
    for path in daemon.projects.glob("*/.lock.json"):
        lock = json.loads(path.read_bytes())
        assert lock["clientId"] == CLIENT_ID, path
        assert is_time(lock["acquiredAt"]), path
        assert is_time(lock["expiresAt"]), path


def _check_what_is_served(daemon: Daemon, slots: list[Slot], locks: dict[str, object]) -> None:
    """The last upload answered, or that on its way, is served; the locks stay."""
    served: dict[str, int] = {}
    with StockClient(daemon.url, CLIENT_ID, delays=()) as client:
        for slot in slots:
            answer = client.download(slot.project, slot.name)
            if answer.status == 404:
                found = 0
            else:
                assert answer.status == 200, answer
                content = answer.body["content"].encode("utf-8")
                number = slot.number_of(content)
                assert number is not None, f"{slot.project} {slot.name}: not whole ({len(content)} bytes)"
                found = number
                served[_digest(content)] = number
            assert found in (slot.answered, slot.sent), (
                f"{slot.project} {slot.name}: upload {found} is served, {slot.answered} was answered, "
                f"{slot.sent} was the last sent"
            )
            slot.answered = slot.sent = max(found, slot.answered)
        for project in locks:
            listed = {file["name"]: file["size"] for file in client.files(project).body["files"]}
            for slot in slots:
                if slot.project == project and slot.answered:
                    assert listed.get(slot.name), f"{project}: {slot.name} is not listed"
    wait_until(lambda: all(_digest(path.read_bytes()) in served for path in _heads(daemon)), within=10)
    for project, lock in locks.items():
        status, body = daemon.ask("GET", f"/projects/{encode_uri_component(project)}/lock")
        assert status == 200
        assert body["locked"] is True
        for name in ("clientId", "acquiredAt", "expiresAt"):
            assert isinstance(lock, dict)
            assert body["lock"][name] == lock[name], (project, body, lock)


def _check_what_is_left(daemon: Daemon) -> None:
    """Nothing that a user can see beside the files, and no temporary file anywhere."""
    for directory in filter(Path.is_dir, daemon.projects.iterdir()):
        visible = {path.name for path in directory.iterdir() if not path.name.startswith(".")}
        assert visible <= set(FILE_NAMES), f"{directory}: {visible}"
    wait_until(lambda: not [p for p in daemon.data_dir.rglob("*") if TEMPORARY.search(p.name)], within=10)


def _heads(daemon: Daemon) -> list[Path]:
    return [path for name in FILE_NAMES for path in daemon.projects.glob(f"*/{name}")]


def _number_of(slots: list[Slot], name: str, content: bytes) -> int | None:
    numbers = [slot.number_of(content) for slot in slots if slot.name == name]
    return next((number for number in numbers if number is not None), None)
