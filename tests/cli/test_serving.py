"""`status` and `projects`: what there is on the server, and how it is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mneme.cli import serving
from mneme.client.errors import Refused
from mneme.model import Millis
from tests.cli.asked import Asked
from tests.web.stub import NOW, Stub, entry

STATUS = {
    "version": "9.9.9",
    "startedAt": "2026-02-01T12:00:00.000Z",
    "now": "2026-02-04T15:00:00.000Z",
    "uptimeSeconds": 3 * 86_400 + 10_800,
    "dataBytes": 158_000_000,
    "freeBytes": 22_000_000_000,
    "inTwoPlaces": [],
}


@pytest.fixture
def asked() -> Asked:
    """A server with two projects, the first locked and with a waiting upload."""
    stub = Stub()
    stub.acquire("laptop", "app")
    stub.upload("laptop", entry("one"), project="app")
    stub.upload("desktop", entry("two"), project="app")
    stub.clock.advance(600)
    stub.acquire("laptop", "other")
    stub.upload("laptop", "# Two", "summary.md", "other")
    stub.release("laptop", "other")
    stub.clock.advance(600)
    asked = Asked(stub)
    asked.answer_by_hand("GET /status", 200, STATUS)
    return asked


def rows(text: str) -> list[list[str]]:
    """The words of the lines of a table."""
    return [line.split() for line in text.splitlines() if line.strip()]


def test_status_says_how_the_server_is(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    """Facts, a table of locks and one of waiting uploads, in local time."""
    serving._print_status(serving.overview_of(asked.client))
    assert rows(capsys.readouterr().out) == [
        ["server", "http://homeserver:3847"],
        ["version", "9.9.9"],
        ["up", "for", "3", "days,", "since", "2026-02-01", "14:00"],
        ["projects", "2"],
        ["locks", "1"],
        ["waiting", "uploads", "1"],
        ["disk", "158", "MB", "used,", "22", "GB", "free"],
        ["locked", "project", "by", "since", "until", "at", "the", "latest"],
        ["app", "laptop", "2026-02-04", "17:00", "2026-02-04", "17:30"],
        ["waiting", "in", "project", "file", "version", "from", "since"],
        ["app", "log.jsonl", "2", "desktop", "2026-02-04", "17:00"],
    ]


def test_status_for_scripts_keeps_utc(asked: Asked) -> None:
    """And numbers as numbers."""
    document = _plain(serving._status_document(serving.overview_of(asked.client)))
    assert document == STATUS | {
        "server": "http://homeserver:3847",
        "projects": 2,
        "locks": [
            {
                "project": "app",
                "clientId": "laptop",
                "acquiredAt": "2026-02-04T15:00:00.000Z",
                "expiresAt": "2026-02-04T15:30:00.000Z",
                "token": 1,
            }
        ],
        "waiting": [
            {
                "project": "app",
                "file": "log.jsonl",
                "version": 2,
                "clientId": "desktop",
                "mtime": "2026-02-04T15:00:00.000Z",
            }
        ],
    }


def test_status_names_the_ids_in_two_places_with_advice(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the client that uses them, and the file by which it was seen."""
    found = {"project": "app", "clientId": "laptop", "file": "log.jsonl", "time": "2026-02-04T15:00:00.000Z"}
    asked.answer_by_hand("GET /status", 200, STATUS | {"inTwoPlaces": [found]})
    serving._print_status(serving.overview_of(asked.client))
    shown = capsys.readouterr().out
    assert ["app", "laptop", "log.jsonl", "2026-02-04", "17:00"] in rows(shown)
    assert "remove sync.projectId from its settings" in " ".join(shown.split())


def test_a_server_that_has_no_status_is_too_old() -> None:
    """And the sentence says so."""
    asked = Asked(Stub())
    asked.answer_by_hand("GET /status", 404, {"error": "Not found"})
    with pytest.raises(Refused, match=r"http://homeserver:3847 does not tell its status .* newer mneme"):
        serving.overview_of(asked.client)


def test_projects_come_with_the_one_that_changed_last_first(asked: Asked) -> None:
    """However they are called."""
    found = serving.projects_of(asked.client)
    assert [project.id for project in found.projects] == ["other", "app"]
    now = Millis(round((NOW + 1200) * 1000))
    assert [serving._project_row(project, now) for project in found.projects] == [
        ("other", "1", "5 B", "10 minutes ago", "", ""),
        ("app", "1", "64 B", "20 minutes ago", "laptop", "1"),
    ]


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
