"""Findings of the doctor, which changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock

from mneme.client.doctor import Doctor
from mneme.client.doctor.findings import Finding, State, printable
from mneme.client.folder import Folder, Kept
from mneme.client.hooks import Program, install, settings_path
from mneme.client.settings import client_id, config_path
from mneme.model import FileName, ProjectId, digest
from tests.client.asking import Canning, Network, canned, come_to, connecting
from tests.client.lines import Scripted
from tests.immediate import ImmediateWorker
from tests.store.faults import FULL, Faults
from tests.web.stub import Stub, entry

URL = "http://homeserver:3847"
KEY = "alpha-key-0123456789"
HEALTHY = canned(200, {"status": "ok", "version": "1.2.3", "authRequired": False})
NODE = {
    "/health": HEALTHY,
    "/projects/app/files": canned(
        200, {"files": [{"name": "log.jsonl", "size": 4, "mtime": "2026-02-04T15:00:00.000Z"}]}
    ),
}

Findings = Mapping[str, Finding]


class Machine:
    """A machine of which everything is well, until a test has its way with it."""

    def __init__(self, tmp_path: Path, sync: Mapping[str, object] | None = None) -> None:
        self.home = tmp_path / "home"
        self.directory = self.home / "src" / "my-app"
        self.directory.mkdir(parents=True)
        config_path(self.home).parent.mkdir()
        self.configure({"serverUrl": URL, "projectId": "app", **(sync or {})})
        self.program = tmp_path / "bin" / "mneme"
        self.program.parent.mkdir()
        self.program.write_text("#!/bin/sh\n")
        self.program.chmod(0o700)
        install(settings_path(self.home), Program(str(self.program), has_name=False))

    @property
    def folder(self) -> Path:
        """Where the plugin keeps the memory of the project."""
        return self.home / ".claude-mneme" / "projects" / str(self.directory).replace("/", "-")

    def configure(self, sync: Mapping[str, object]) -> None:
        """Write the plugin's settings."""
        config_path(self.home).write_text(json.dumps({"sync": sync}))

    def write(self, content: str, name: str = "log.jsonl") -> None:
        """Work as the plugin does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(content)

    def received(self, content: str, version: int = 1, *, refused: str | None = None) -> None:
        """A log with a base, and perhaps a refused upload."""
        folder = Folder(self.folder, URL, ProjectId("app"))
        kept = Kept(version, content.encode(), digest(content.encode()))
        assert folder.receive(FileName.LOG, kept, kept.content, folder.snapshot(FileName.LOG))
        if refused is not None:
            folder.note_refused(FileName.LOG, Kept(version + 1, refused.encode(), digest(refused.encode())))

    def examined(
        self, http: Network | Canning | None = None, server: str | None = None, key: str | None = None
    ) -> Findings:
        """The findings by code, each once."""
        http = http or Network(Stub())
        clock = http.clock if isinstance(http, Network) else Clock()
        doctor = Doctor(clock, ImmediateWorker(), self.home, self.directory, connecting(http, clock))
        findings = come_to(doctor.examine(server, key), http)
        told = {finding.code: finding for finding in findings}
        assert len(told) == len(findings)
        assert all(finding.advice for finding in findings if finding.state is not State.GOOD)
        return told


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine of which everything is well."""
    return Machine(tmp_path)


def _states(findings: Findings, state: State) -> set[str]:
    return {code for code, finding in findings.items() if finding.state is state}


def _is(findings: Findings, code: str, state: State) -> Finding:
    assert code in findings, list(findings)
    assert findings[code].state is state
    return findings[code]


# All is well


def test_all_is_well_where_it_is(machine: Machine) -> None:
    """Each thing that was looked at is told of, and nothing else."""
    assert list(machine.examined()) == [
        "settings-usable",
        "server-reachable",
        "clocks-agree",
        "server-speaks",
        "key-not-needed",
        "project-new",
        "lock-free",
        "uploads-merged",
        "home-folder-writable",
        "project-folder-writable",
        "changes-pushed",
        "sync-by-hooks",
    ]
    assert not _states(machine.examined(), State.BAD)
    assert not _states(machine.examined(), State.DOUBTFUL)


def test_an_examination_changes_nothing_on_the_server(machine: Machine) -> None:
    """Only GET requests, without downloads and without a client id."""
    stub = Stub()
    network = Network(stub)
    machine.examined(network)
    assert [(one.method, one.path) for one in network.asked] == [
        ("GET", "/health"),
        ("GET", "/projects"),
        ("GET", "/projects/app/lock"),
        ("GET", "/status"),
    ]
    assert not any(one.headers.hasHeader("x-client-id") for one in network.asked)
    assert list(stub.store.projects()) == []


def test_an_examination_leaves_nothing_behind_here(machine: Machine) -> None:
    """Nothing but the client id is written, not even the folder of a project."""
    for _ in range(2):
        before = set(machine.home.rglob("*"))
        machine.examined()
        assert set(machine.home.rglob("*")) - before <= {machine.home / ".claude-mneme" / ".client-id"}
        machine.write(entry("one"))


# The settings


def test_without_settings_there_is_no_server_to_ask(machine: Machine) -> None:
    """Checks that need no server are done all the same."""
    config_path(machine.home).unlink()
    findings = machine.examined()
    assert "serverUrl" in str(_is(findings, "server-not-set", State.BAD).advice)
    assert set(findings) == {
        *("server-not-set", "home-folder-writable", "project-folder-writable", "sync-by-hooks"),
    }


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"sync": 1}', '{"sync": {"serverUrl": "homeserver"}}', '{"sync": {"projectId": 1}}'],
)
def test_settings_that_cannot_be_used_are_the_only_error(machine: Machine, content: str) -> None:
    """Nothing is concluded from them: not which project it is, nor who syncs."""
    config_path(machine.home).write_text(content)
    findings = machine.examined()
    assert _states(findings, State.BAD) == {"settings-unusable"}
    assert set(findings) == {"settings-unusable", "home-folder-writable", "project-folder-writable"}


def test_the_server_on_the_command_line_counts(machine: Machine) -> None:
    """The option overrides the settings, or replaces missing ones."""
    machine.configure({})
    findings = machine.examined(server=URL)
    assert _is(findings, "settings-usable", State.GOOD).found == f"The server is {URL}, from --server"
    assert "--server" in str(_is(machine.examined(server="nowhere"), "settings-unusable", State.BAD).advice)


def test_a_client_id_that_cannot_be_one_ends_in_one_finding(machine: Machine) -> None:
    """The server is not asked by a machine without a name."""
    (machine.home / ".claude-mneme" / ".client-id").write_text("two\nlines\n")
    network = Network(Stub())
    findings = machine.examined(network)
    _is(findings, "machine-unnamed", State.BAD)
    assert "server-reachable" not in findings
    assert network.asked == []


def test_a_path_too_long_for_an_id_asks_for_one_in_the_settings(machine: Machine) -> None:
    """A project id has at most 512 characters; the rest is left out."""
    machine.configure({"serverUrl": URL})
    machine.directory = Path("/", *(["far"] * 200))
    findings = machine.examined()
    assert "sync.projectId" in str(_is(findings, "project-unusable", State.BAD).advice)
    assert set(findings) == {"settings-usable", "project-unusable", "home-folder-writable"}


# The server


def test_a_server_that_is_down_is_told_once(machine: Machine) -> None:
    """All that only it could tell is left out."""
    http = Canning({"/health": ConnectionLost()})
    findings = machine.examined(http)
    assert URL in _is(findings, "server-unreachable", State.BAD).found
    assert _states(findings, State.BAD) == {"server-unreachable"}
    assert len(http.asked) == 1, "nobody waits for it to be tried again"
    assert "lock-free" not in findings
    assert "clocks-agree" not in findings


@pytest.mark.parametrize(
    "answer",
    [
        Scripted(200, b"<html>It works!</html>"),
        Scripted(200, b"\xff"),
        canned(200, {"status": "ok"}),
        canned(200, []),
        canned(404, {"error": "Not found"}),
        Scripted(404, b"<html>"),
        Scripted(301, b""),
    ],
)
def test_what_is_no_such_server_is_told_once(machine: Machine, answer: Scripted) -> None:
    """A web server on that port, for instance."""
    findings = machine.examined(Canning({"/health": answer}))
    assert _states(findings, State.BAD) == {"server-strange"}
    assert f"curl {URL}/health" in str(findings["server-strange"].advice)


def test_the_node_server_is_known_by_what_it_lacks(machine: Machine) -> None:
    """The Node server has no list of projects; no other request follows."""
    http = Canning(NODE)
    findings = machine.examined(http)
    assert _states(findings, State.BAD) == {"server-node"}
    assert "1.2.3" in _is(findings, "server-reachable", State.GOOD).found
    assert [one.path for one in http.asked] == ["/health", "/projects"]


def test_a_server_whose_lists_lack_digests_is_too_old(machine: Machine) -> None:
    """A mneme server of an earlier version, that this client could not pull from."""
    listed = {"id": "app", "size": 4, "mtime": None, "lock": None, "waiting": []}
    file = {"name": "log.jsonl", "size": 4, "mtime": "2026-02-04T15:00:00.000Z", "version": 1}
    old = canned(200, {"projects": [{**listed, "files": [file]}]})
    findings = machine.examined(Canning({"/health": HEALTHY, "/projects": old}))
    assert _states(findings, State.BAD) == {"server-strange"}
    assert "sha256" in findings["server-strange"].found
    assert "server-speaks" not in findings


@pytest.mark.parametrize("status", [429, 500, 503, 507])
@pytest.mark.parametrize("path", ["/health", "/projects", "/projects/app/lock"])
def test_a_server_in_trouble_is_told_once(machine: Machine, status: int, path: str) -> None:
    """Wherever it begins, what was told before stands, and what comes after is left out."""
    answers: dict[str, Scripted | Exception] = {
        "/health": HEALTHY,
        "/projects": canned(200, {"projects": []}),
        "/projects/app/lock": canned(200, {"locked": False, "lock": None}),
        path: canned(status, {"error": "It is full"}),
    }
    findings = machine.examined(Canning(answers))
    assert _states(findings, State.BAD) == {"server-trouble"}
    assert "It is full" in findings["server-trouble"].found
    assert "lock-free" not in findings
    assert ("server-reachable" in findings) is (path != "/health")
    assert ("uploads-merged" in findings) is (path == "/projects/app/lock")


def test_a_slow_server_is_doubtful(machine: Machine) -> None:
    """The finding has the milliseconds."""
    found = _is(machine.examined(Network(Stub(), seconds=1.5)), "server-slow", State.DOUBTFUL).found
    assert "1500 ms" in found
    found = _is(machine.examined(Network(Stub(), seconds=0.25)), "server-reachable", State.GOOD).found
    assert "250 ms" in found


# The key


def test_a_key_that_is_missing_is_not_a_wrong_one(machine: Machine) -> None:
    """The health of the server is told without one."""
    findings = machine.examined(Network(Stub(keys=[KEY])))
    assert _states(findings, State.BAD) == {"key-missing"}
    assert "server-reachable" in findings
    assert not {"lock-free", "project-new", "server-speaks"} & findings.keys()


def test_a_wrong_key_is_not_a_missing_one(machine: Machine) -> None:
    """Neither key is repeated."""
    machine.configure({"serverUrl": URL, "projectId": "app", "apiKey": "guessed-0123"})
    findings = machine.examined(Network(Stub(keys=[KEY])))
    assert _states(findings, State.BAD) == {"key-wrong"}
    assert "guessed" not in str(findings)


def test_the_right_key_is_right(machine: Machine) -> None:
    """A key from settings or option; the settings' key goes to its server alone."""
    machine.configure({"serverUrl": URL, "projectId": "app", "apiKey": KEY})
    _is(machine.examined(Network(Stub(keys=[KEY]))), "key-right", State.GOOD)
    _is(machine.examined(Network(Stub(keys=[KEY])), server=URL, key=KEY), "key-right", State.GOOD)
    _is(machine.examined(Network(Stub(keys=[KEY])), server=URL), "key-right", State.GOOD)
    machine.configure({"serverUrl": "http://another.invalid", "projectId": "app", "apiKey": KEY})
    _is(machine.examined(Network(Stub(keys=[KEY])), server=URL), "key-missing", State.BAD)


def test_a_proxy_that_wants_a_password_wants_a_key(machine: Machine) -> None:
    """Whatever the 401 is made of."""
    findings = machine.examined(Canning({"/health": Scripted(401, b"<html>")}))
    assert _states(findings, State.BAD) == {"key-missing"}


# The clocks


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (6, "6 seconds ahead of"),
        (-6, "6 seconds behind"),
        (3 * 3600 + 61, "3 hours ahead of"),
        (-90_000, "1 day behind"),
    ],
)
def test_clocks_that_are_apart_are_doubtful(machine: Machine, ahead: float, words: str) -> None:
    """By how much, and which way."""
    finding = _is(machine.examined(Network(Stub(), ahead=ahead)), "clocks-apart", State.DOUBTFUL)
    assert words in finding.found
    assert "NTP" in str(finding.advice)


@pytest.mark.parametrize("ahead", [0, 1, 4, -1, -4])
def test_clocks_a_few_seconds_apart_are_good_enough(machine: Machine, ahead: float) -> None:
    """The date in an answer has whole seconds."""
    _is(machine.examined(Network(Stub(), ahead=ahead)), "clocks-agree", State.GOOD)


def test_a_server_that_shows_no_clock_is_doubtful(machine: Machine) -> None:
    """A proxy may have taken the date away."""
    answers = {"/health": HEALTHY, "/projects": canned(200, {"projects": []})}
    _is(machine.examined(Canning(answers)), "clocks-unknown", State.DOUBTFUL)


# The project


def _having(*projects: str) -> Stub:
    stub = Stub()
    for project in projects:
        place = project.replace("/", "%2F")
        assert stub.acquire("other", place).status == 200
        assert stub.upload("other", entry(project), project=place).status == 200
        assert stub.release("other", place).status == 200
    return stub


def test_a_project_that_the_server_knows_is_known(machine: Machine) -> None:
    """And it is said where its id comes from."""
    found = _is(machine.examined(Network(_having("app", "else"))), "project-known", State.GOOD).found
    assert "app, from sync.projectId" in found


def test_a_project_that_the_server_does_not_know_among_others_is_doubtful(machine: Machine) -> None:
    """The others are named, some of them: one may be it."""
    names = [f"number-{number}" for number in range(7)]
    finding = _is(machine.examined(Network(_having(*names))), "project-unknown", State.DOUBTFUL)
    assert "number-0" in finding.found
    assert finding.found.endswith("and 2 more")
    assert "at the same path on each machine" in str(finding.advice)


def test_the_path_is_an_id_of_its_own(machine: Machine) -> None:
    """Without sync.projectId the path is named as where the id comes from."""
    machine.configure({"serverUrl": URL})
    found = _is(machine.examined(), "project-new", State.GOOD).found
    assert str(machine.directory) in found
    assert machine.folder.name in found


@pytest.mark.parametrize(
    "twin", ["-Users-ana-src-my-app", "my-app", "MY-APP", "org/my-app", "-home-ana-src-My-App"]
)
def test_a_project_of_this_name_by_another_id_is_doubtful(machine: Machine, twin: str) -> None:
    """A Mac and a Linux machine have other paths, and never meet."""
    machine.configure({"serverUrl": URL})
    findings = machine.examined(Network(_having(twin, "else")))
    finding = _is(findings, "project-twins", State.DOUBTFUL)
    assert twin in finding.found
    assert "at the same path on each machine" in str(finding.advice)
    assert "project-unknown" not in findings


@pytest.mark.parametrize("other", ["app", "my-app-2", "xmy-app", "my-app/docs", "-home-my_app"])
def test_a_project_of_another_name_is_no_twin(machine: Machine, other: str) -> None:
    """A part of the name is not the name."""
    machine.configure({"serverUrl": URL})
    assert "project-twins" not in machine.examined(Network(_having(other)))


def test_a_name_with_an_accent_is_the_same_on_a_mac(machine: Machine) -> None:
    """Which writes it as two characters."""
    machine.directory = machine.home / "cafe\N{COMBINING ACUTE ACCENT}"
    machine.directory.mkdir()
    twin = "-Users-ana-caf%C3%A9"
    _is(machine.examined(Network(_having(twin))), "project-twins", State.DOUBTFUL)


def test_the_root_directory_has_no_name_to_compare(machine: Machine) -> None:
    """Else every id that ends with a dash would be its twin."""
    machine.directory = Path("/")
    assert "project-twins" not in machine.examined(Network(_having("strange-")))


# The lock, and what waits


def test_the_lock_of_another_machine_is_told_with_its_times(machine: Machine) -> None:
    """Another's lock is doubtful, not bad: a session may run there."""
    stub = _having("app")
    stub.acquire("desktop-5e6f7a8b", "app")
    found = _is(machine.examined(Network(stub)), "lock-taken", State.DOUBTFUL).found
    assert "desktop-5e6f7a8b holds the lock of app, since 2026-02-0" in found
    assert "until 2026-02-0" in found


def test_an_id_in_two_places_is_told_with_what_to_do(machine: Machine) -> None:
    """Two folders with one id, or a cloned machine; only this project's are reported."""
    stub = Stub()
    for project in ("app", "other"):
        for content in ("one", "two"):
            stub.acquire("desktop-5e6f7a8b", project)
            stub.upload("desktop-5e6f7a8b", entry(content), project=project)
            stub.release("desktop-5e6f7a8b", project)
    found = _is(machine.examined(Network(stub)), "id-in-two-places", State.DOUBTFUL)
    assert found.found.startswith(
        "desktop-5e6f7a8b seems to use the id app in two places: its log.jsonl of 2026-"
    )
    assert "remove sync.projectId" in str(found.advice)


def test_the_lock_of_this_machine_is_ours(machine: Machine) -> None:
    """And stays so: it is neither extended nor released."""
    stub = _having("app")
    machine_id = client_id(machine.home).value
    stub.acquire(machine_id, "app")
    before = stub.ask("GET", "/projects/app/lock").json
    stub.clock.advance(60)
    _is(machine.examined(Network(stub)), "lock-ours", State.GOOD)
    assert stub.ask("GET", "/projects/app/lock").json == before


def test_uploads_of_this_machine_that_wait_are_told(machine: Machine) -> None:
    """Of every project, and of no other machine."""
    stub = _having("app", "else")
    mine = client_id(machine.home).value
    for project in ("app", "else"):
        stub.acquire("desktop", project)
    assert stub.upload(mine, entry("mine"), project="app").status == 403
    assert stub.upload(mine, entry("mine"), project="else").status == 403
    assert stub.upload("third", "{}", "entities.json", project="app").status == 403
    found = _is(machine.examined(Network(stub)), "uploads-waiting", State.DOUBTFUL).found
    assert found.endswith("log.jsonl of app, log.jsonl of else")


def test_an_upload_of_another_machine_is_its_own_affair(machine: Machine) -> None:
    """Nothing of this machine waits."""
    stub = _having("app")
    stub.acquire("desktop", "app")
    stub.upload("third", entry("theirs"), project="app")
    _is(machine.examined(Network(stub)), "uploads-merged", State.GOOD)


# The folders


def test_a_folder_that_cannot_be_written_is_bad(machine: Machine) -> None:
    """A file in its place, here; what it holds is not looked at then."""
    machine.folder.parent.mkdir()
    machine.folder.write_text("in the way")
    findings = machine.examined()
    finding = _is(findings, "project-folder-not-writable", State.BAD)
    assert str(machine.folder) in finding.found
    assert _states(findings, State.BAD) == {"project-folder-not-writable"}
    assert "changes-pushed" not in findings


def test_a_folder_that_is_a_link_to_nowhere_cannot_be_written(machine: Machine) -> None:
    """The link exists, but nothing can be written through it."""
    machine.folder.parent.symlink_to(machine.home / "unmounted")
    _is(machine.examined(), "project-folder-not-writable", State.BAD)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_cannot_be_written(machine: Machine) -> None:
    """Nothing but trying would tell for sure."""
    machine.write(entry("one"))
    machine.folder.chmod(0o500)
    _is(machine.examined(), "project-folder-not-writable", State.BAD)


def test_a_full_disk_is_told_with_what_to_do(machine: Machine, faults: Faults) -> None:
    """Both folders are on it, and nothing is left behind."""
    client_id(machine.home)
    machine.write(entry("one"))
    before = set(machine.home.rglob("*"))
    with faults.failing(0, FULL):
        findings = machine.examined()
    for code in ("home-folder-not-writable", "project-folder-not-writable"):
        assert "Free some space" in str(_is(findings, code, State.BAD).advice)
    assert set(machine.home.rglob("*")) == before


def test_little_space_is_doubtful(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it can still be written."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Usage(90_000_000))
    found = _is(machine.examined(), "home-folder-low-space", State.DOUBTFUL).found
    assert "only 90 MB free" in found
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Usage(83_900_000_000))
    assert "with 84 GB free" in _is(machine.examined(), "home-folder-writable", State.GOOD).found


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


# What is new here


def test_a_file_that_was_never_pushed_is_told(machine: Machine) -> None:
    """The server has none of it, whether it knows the project or not."""
    machine.write(entry("one"))
    machine.write("{}", "entities.json")
    found = _is(machine.examined(), "changes-unpushed", State.DOUBTFUL).found
    assert found == "Not pushed yet: log.jsonl (the server has none), entities.json (the server has none)"


def test_a_file_that_changed_since_it_was_pushed_is_told(machine: Machine) -> None:
    """With the version that it was made from; the others are not."""
    stub = _having("app")
    machine.received(entry("app"))
    machine.write(entry("app") + entry("new"))
    finding = _is(machine.examined(Network(stub)), "changes-unpushed", State.DOUBTFUL)
    assert finding.found == "Not pushed yet: log.jsonl (changed since version 1)"
    assert "mneme push" in str(finding.advice)


def test_a_file_that_the_server_has_is_not_new(machine: Machine) -> None:
    """Even where mneme never saw it before: the plugin may have pushed it."""
    machine.write(entry("app"))
    _is(machine.examined(Network(_having("app"))), "changes-pushed", State.GOOD)


def test_a_file_that_is_only_older_than_the_servers_is_not_new(machine: Machine) -> None:
    """There is something to pull, and nothing to push."""
    machine.received(entry("older"))
    _is(machine.examined(Network(_having("app"))), "changes-pushed", State.GOOD)


def test_a_file_that_was_refused_and_kept_is_not_to_be_pushed(machine: Machine) -> None:
    """The server has it."""
    machine.received(entry("older"), refused=entry("newer"))
    machine.write(entry("newer"))
    _is(machine.examined(Network(_having("app"))), "changes-pushed", State.GOOD)


def test_changes_are_known_without_the_server(machine: Machine) -> None:
    """By what it was last seen to have."""
    down = Canning({"/health": ConnectionLost()})
    machine.received(entry("one"))
    _is(machine.examined(down), "changes-pushed", State.GOOD)
    machine.write("{}", "summary.json")
    found = _is(machine.examined(down), "changes-unpushed", State.DOUBTFUL).found
    assert found == "Not pushed yet: summary.json (it was never pushed from here)"


def test_a_memory_that_cannot_be_read_is_bad(machine: Machine) -> None:
    """A directory where its own notes should be: one sentence, and the rest goes on."""
    machine.write(entry("one"))
    (machine.folder / ".mneme").write_text("in the way")
    findings = machine.examined()
    assert _states(findings, State.BAD) == {"changes-unreadable"}
    assert "sync-by-hooks" in findings


# Who syncs


def test_hooks_and_the_plugin_are_two_syncs(machine: Machine) -> None:
    """The plugin's overwrites what the hooks are there to keep."""
    machine.configure({"serverUrl": URL, "projectId": "app", "enabled": True})
    finding = _is(machine.examined(), "sync-twice", State.BAD)
    assert '"enabled": false' in str(finding.advice)


def test_the_plugin_alone_is_one_sync(machine: Machine) -> None:
    """That is what the plugin comes with."""
    settings_path(machine.home).unlink()
    machine.configure({"serverUrl": URL, "projectId": "app", "enabled": True})
    _is(machine.examined(), "sync-by-plugin", State.GOOD)


def test_neither_hooks_nor_the_plugin_is_no_sync(machine: Machine) -> None:
    """Doubtful: somebody may pull and push by hand."""
    settings_path(machine.home).write_text('{"hooks": {"Stop": []}}')
    assert "mneme hooks --install" in str(_is(machine.examined(), "sync-by-nobody", State.DOUBTFUL).advice)


@pytest.mark.parametrize("event", ["SessionStart", "SessionEnd"])
def test_one_hook_of_two_is_doubtful(machine: Machine, event: str) -> None:
    """A hook for only one event is doubtful."""
    settings = json.loads(settings_path(machine.home).read_text())
    del settings["hooks"][event]
    settings_path(machine.home).write_text(json.dumps(settings))
    _is(machine.examined(), "hooks-half", State.DOUBTFUL)


@pytest.mark.parametrize("name", ["settings.json", "settings.local.json"])
def test_the_hooks_of_a_project_count(machine: Machine, name: str) -> None:
    """Wherever Claude Code reads them from."""
    project = machine.directory / ".claude" / name
    project.parent.mkdir()
    settings_path(machine.home).rename(project)
    _is(machine.examined(), "sync-by-hooks", State.GOOD)


def test_hooks_behind_a_link_count(machine: Machine) -> None:
    """Many people keep their settings elsewhere."""
    elsewhere = machine.home / "dotfiles.json"
    settings_path(machine.home).rename(elsewhere)
    settings_path(machine.home).symlink_to(elsewhere)
    _is(machine.examined(), "sync-by-hooks", State.GOOD)


def test_hooks_that_call_what_is_gone_are_bad(machine: Machine) -> None:
    """An environment that was removed, for instance."""
    machine.program.unlink()
    finding = _is(machine.examined(), "hooks-broken", State.BAD)
    assert str(machine.program) in finding.found
    assert "--install" in str(finding.advice)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"hooks": 1}', '{"hooks": {"SessionStart": [1]}}'])
def test_settings_of_claude_code_that_cannot_be_read_are_doubtful(machine: Machine, content: str) -> None:
    """The sentence names the file; the hooks in it do not count."""
    settings_path(machine.home).write_text(content)
    findings = machine.examined()
    assert str(settings_path(machine.home)) in str(_is(findings, "hooks-unreadable", State.DOUBTFUL).advice)
    assert "sync-by-hooks" not in findings


def test_without_git_it_is_doubtful_which_project_it_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each directory is a project then."""
    monkeypatch.setenv("PATH", str(tmp_path))
    _is(machine.examined(), "git-missing", State.DOUBTFUL)


# What comes from elsewhere


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/health", {"status": "ok", "version": "\x1b[2J\r1\u202e", "authRequired": False}),
        ("/health", None),
        (
            "/projects",
            {
                "projects": [
                    {
                        "id": "\x1b[2J/my-app",
                        "files": [],
                        "size": 0,
                        "mtime": None,
                        "lock": None,
                        "waiting": [
                            {"version": 1, "file": "\x1b]0;", "mtime": "", "clientId": "laptop-00000000"}
                        ],
                    }
                ]
            },
        ),
        (
            "/projects/app/lock",
            {
                "locked": True,
                "lock": {
                    "clientId": "\x1b[2J",
                    "acquiredAt": "2026-02-04T15:00:00.000Z",
                    "expiresAt": "2026-02-04T15:30:00.000Z",
                    "token": 1,
                },
            },
        ),
    ],
)
def test_nothing_that_a_server_says_garbles_the_terminal(machine: Machine, path: str, answer: Any) -> None:
    """Control characters in anything from the server are escaped."""
    (machine.home / ".claude-mneme" / ".client-id").write_text("laptop-00000000\n")
    trouble = canned(500, {"error": "\x1b[31m\n\x07" + "x" * 100_000})
    answers: dict[str, Scripted | Exception] = {
        "/health": HEALTHY,
        "/projects": canned(200, {"projects": []}),
        "/projects/app/lock": canned(200, {"locked": False, "lock": None}),
        path: trouble if answer is None else canned(200, answer),
    }
    for finding in machine.examined(Canning(answers)).values():
        assert finding.found.isprintable()
        assert len(finding.found) < 7000
        assert (finding.advice or "").isprintable()


def test_a_lock_with_times_that_are_none_is_a_strange_answer(machine: Machine) -> None:
    """Answers before the failure are used."""
    lock = {"clientId": "x", "acquiredAt": "yesterday", "expiresAt": "", "token": 1}
    answers = {
        "/health": HEALTHY,
        "/projects": canned(200, {"projects": []}),
        "/projects/app/lock": canned(200, {"locked": True, "lock": lock}),
    }
    findings = machine.examined(Canning(answers))
    assert _states(findings, State.BAD) == {"server-strange"}
    assert "project-new" in findings


def test_text_is_shown_so_that_each_character_can_be_seen() -> None:
    """Umlauts stay; control and bidirectional characters are escaped."""
    assert printable("größe 漢\x1b\n\u202e\udcff") == "größe 漢\\x1b\\n\\u202e\\udcff"
