"""The first thing that must work: a person's memory travels between two machines that run the stock client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.daemon import Daemon
from tests.often import now_and_then
from tests.plugin_files import log_lines, memory
from tests.stock_client import FILE_NAMES, Answer, Machine

pytestmark = pytest.mark.integration

KEY = "alpha-key-0123456789"
OPEN: Mapping[str, object] = {}
KEYED: Mapping[str, object] = {"apiKeys": ["beta-key-0123456789", KEY]}
DEFAULT_ID = "-home-ana-src-my.app"
SLASH_ID = "org/repo"
OTHER_SCRIPT_ID = "μνήμη 記憶 (1)"


def _stop_and_start(daemon: Daemon) -> None:
    assert daemon.restart() == 0, daemon.log()


Interruption = Callable[[Daemon], None]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A running server with keys."""
    with Daemon(tmp_path / "server", KEYED) as running:
        yield running


@pytest.mark.parametrize("project", [DEFAULT_ID, SLASH_ID, OTHER_SCRIPT_ID])
def test_memory_travels_between_two_machines(daemon: Daemon, project: str, tmp_path: Path) -> None:
    """Sessions in turn on two machines: what one wrote is on the other, byte for byte, day after day."""
    laptop, desktop = _machines(tmp_path, daemon)
    _sessions_in_turn(laptop, desktop, project, lambda: None)
    lines = log_lines(15)
    for machine, other in ((laptop, desktop), (desktop, laptop)) * 3:
        machine.append(project, "log.jsonl", next(lines))
        _ok(machine.push(project))
        _ok(other.pull(project))
        assert other.memory(project) == machine.memory(project)
    assert "Traceback" not in daemon.log()


@pytest.mark.parametrize(
    ("config", "project", "interrupt"),
    [
        pytest.param(OPEN, SLASH_ID, _stop_and_start, id="restart-slash"),
        pytest.param(KEYED, OTHER_SCRIPT_ID, Daemon.kill_and_restart, id="kill-other-script"),
    ],
)
def test_memory_travels_though_the_server_goes_between_requests(
    config: Mapping[str, object], project: str, interrupt: Interruption, tmp_path: Path
) -> None:
    """The same sessions go through while the server is stopped, or killed, and started again now and then."""
    with Daemon(tmp_path / "server", config) as daemon:
        laptop, desktop = _machines(tmp_path, daemon)
        _sessions_in_turn(laptop, desktop, project, now_and_then(lambda: interrupt(daemon)))
        assert "Traceback" not in daemon.log()


def test_memory_travels_when_clocks_differ(daemon: Daemon, tmp_path: Path) -> None:
    """Machines whose clocks are a minute off still exchange what was written in sessions that are an hour apart."""
    laptop = _machine(tmp_path, "ana-laptop", daemon, clock_offset=+60.0)
    desktop = _machine(tmp_path, "ana-desktop", daemon, clock_offset=+3.141)
    first = memory(1)
    second = _gone_on(first, 2)
    _remember(laptop, DEFAULT_ID, first, ago=3600.0)
    _ok(laptop.pull(DEFAULT_ID))
    _ok(laptop.push(DEFAULT_ID))
    _ok(desktop.pull(DEFAULT_ID))
    assert desktop.memory(DEFAULT_ID) == first
    _remember(desktop, DEFAULT_ID, second)
    _ok(desktop.push(DEFAULT_ID))
    _ok(laptop.pull(DEFAULT_ID))
    assert laptop.memory(DEFAULT_ID) == second


def _sessions_in_turn(laptop: Machine, desktop: Machine, project: str, between: Callable[[], object]) -> None:
    """A first session on one machine, one on the other, and back again, with everything checked on the way."""
    first = memory(11)
    _ok(laptop.pull(project, between))
    _remember(laptop, project, first)
    _ok(laptop.push(project, between), uploads=FILE_NAMES)

    _ok(desktop.pull(project, between), downloads=FILE_NAMES)
    assert desktop.memory(project) == first

    lines = log_lines(12)
    work = b"".join(next(lines) for _ in range(40))
    desktop.append(project, "log.jsonl", work)
    later = _gone_on(first, 13)
    for name in ("summary.json", "remembered.json"):
        desktop.write(project, name, later[name])
    second = desktop.memory(project)
    assert second["log.jsonl"] == first["log.jsonl"] + work
    _ok(desktop.push(project, between))

    _ok(laptop.pull(project, between))
    assert laptop.memory(project) == second


def _gone_on(files: Mapping[str, bytes], seed: int) -> dict[str, bytes]:
    """A memory that was made from another: in each file something is gone and something is new."""
    later = memory(seed)
    lines, new_lines = (each["log.jsonl"].splitlines(keepends=True) for each in (files, later))
    facts, new_facts = (json.loads(each["remembered.json"]) for each in (files, later))
    summaries = [json.loads(each["summary.json"]) for each in (files, later)]
    work = [*summaries[0]["recentWork"][1:], *summaries[1]["recentWork"][:1]]
    entities = [json.loads(each["entities.json"]) for each in (files, later)]
    seen = [*list(entities[0]["files"].items())[1:], *list(entities[1]["files"].items())[:1]]
    return {
        "log.jsonl": b"".join([*lines[len(lines) // 2 :], *new_lines[:40]]),
        "summary.json": json.dumps(summaries[0] | {"recentWork": work}, indent=2).encode(),
        "summary.md": later["summary.md"],
        "remembered.json": json.dumps([*facts[1:], *new_facts[:2]], indent=2).encode(),
        "entities.json": json.dumps(entities[0] | {"files": dict(seen)}, indent=2).encode(),
    }


def _ok(answers: list[Answer], *, uploads: tuple[str, ...] = (), downloads: tuple[str, ...] = ()) -> None:
    """Every answer is a 200, and the files named were sent, or fetched, in their order."""
    assert {answer.status for answer in answers} == {200}, answers
    for method, names in (("PUT", uploads), ("GET", downloads)):
        if names:
            sent = [a.path for a in answers if a.method == method and "/files/" in a.path]
            assert [path.rpartition("/")[2] for path in sent] == list(names)


def _remember(machine: Machine, project: str, files: Mapping[str, bytes], *, ago: float = 0.0) -> None:
    for name, content in files.items():
        machine.write(project, name, content, ago=ago)


def _machines(tmp_path: Path, daemon: Daemon) -> tuple[Machine, Machine]:
    return _machine(tmp_path, "ana-laptop", daemon), _machine(tmp_path, "ana-desktop", daemon)


def _machine(tmp_path: Path, hostname: str, daemon: Daemon, *, clock_offset: float = 0.0) -> Machine:
    return Machine(tmp_path / hostname, daemon.url, KEY, clock_offset=clock_offset, delays=())
