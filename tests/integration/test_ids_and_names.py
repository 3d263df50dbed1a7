"""Odd ids and names: each id has a memory of its own, and only the five files can be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon import Daemon, wait_until
from tests.integration import wire
from tests.integration.wire import HOLDER, NAME, OLD, PLACE
from tests.stock_client import envelope

pytestmark = pytest.mark.integration


IDS = [
    ".",
    "..",
    "...",
    "../../etc",
    "../../../../../../tmp/mneme-escaped",
    "/etc/passwd",
    "/",
    "//",
    "a/b",
    "a\\b",
    "a/../b",
    ".history",
    ".lock.json",
    NAME,
    "~",
    "-",
    "--help",
    "CON",
    "a b",
    " ",
    "a+b",
    "a?b",
    "a#b",
    "a;b",
    "a%b",
    "%2F",
    "%25",
    "a:b",
    "*",
    "'\"<>|&$`",
    "μνήμη",
    "記憶",
    "ذاكرة",
    "🧠",
    "e\u0301",
    "\u00e9",
    "ﬁ",
    "a\u200bb",
    "\u202eabc",
    "\ufeff",
    "x\nFORGED LINE",
    "x\r\nFORGED: header",
    "x\ty",
    "\x7f",
    "x" * 255,
    "x" * 256,
    "x" * 512,
    "μ" * 512,
    "/" * 512,
    "." * 512,
]


def _directories(daemon: Daemon) -> set[str]:
    """The names of the projects' directories, as a file system that knows no case would tell them apart."""
    return {path.name.lower() for path in daemon.projects.iterdir() if path.is_dir()}


def test_every_id_has_a_memory_of_its_own(daemon: Daemon) -> None:
    """Ids of dots, slashes, other scripts and of 512 characters are each one id, kept inside the data directory."""
    parent = {path.name for path in daemon.data_dir.parent.iterdir()}
    top = {path.name for path in daemon.data_dir.iterdir()}
    contents = {
        id_: f'{{"ts":"2026-02-01T09:00:00.000Z","type":"note","content":"{n}"}}\n'
        for n, id_ in enumerate(IDS)
    }
    with wire.client(daemon) as client:
        for id_, content in contents.items():
            for answer in (client.acquire(id_), client.upload(id_, NAME, content), client.release(id_)):
                assert answer.status == 200, (id_, answer)
    with wire.client(daemon) as client:
        for id_, content in contents.items():
            assert client.download(id_, NAME).body["content"] == content, id_
            assert [file["name"] for file in client.files(id_).body["files"]] == [NAME], id_
    assert {path.name for path in daemon.data_dir.parent.iterdir()} == parent
    assert {path.name for path in daemon.data_dir.iterdir()} == top
    assert not Path("/tmp/mneme-escaped").exists()
    wait_until(lambda: len(_directories(daemon)) >= len(IDS), within=10)
    assert not [line for line in daemon.log().splitlines() if line.startswith("FORGED")]


def test_an_id_of_nul_bytes_is_no_fault(daemon: Daemon) -> None:
    """An id with a NUL is served or refused, in JSON."""
    for method, rest in (("GET", "lock"), ("POST", "lock"), ("GET", "files"), ("DELETE", "lock")):
        status, answer = daemon.ask(method, f"/projects/a%00b/{rest}", headers=HOLDER)
        assert status in (200, 400)
        assert isinstance(answer, dict)


def test_ids_that_differ_in_their_last_character_keep_apart(daemon: Daemon) -> None:
    """However long two ids are, they share no memory."""
    first, second = "x" * 511 + "a", "x" * 511 + "b"
    with wire.client(daemon) as client:
        client.acquire(first)
        assert client.upload(first, NAME, OLD).status == 200
        assert client.download(second, NAME).status == 404
        assert client.files(second).body == {"files": []}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "..",
            ".",
            ".lock.json",
            ".history",
            "log.jsonl.",
            "LOG.JSONL",
            "%2e%2e%2flog.jsonl",
            "..%2Flog.jsonl",
        ),
        *("%00log.jsonl", "log.jsonl%00", "log.jsonl%2F", "log.jsonl%0A", "notes.txt", "%CE%BC", "x" * 5000),
    ],
)
def test_a_name_outside_the_list_is_refused(daemon: Daemon, name: str) -> None:
    """Only the five files can be reached, whatever stands in the place of the name."""
    status, answer = daemon.ask("GET", f"{PLACE}/files/{name}")
    assert (status, answer) == (400, {"error": "File not allowed for sync"})
    status, answer = daemon.ask("PUT", f"{PLACE}/files/{name}", headers=HOLDER, body=envelope("x"))
    assert (status, answer) == (403, {"error": "File not allowed for sync"})
