"""Findings of the doctor, which changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import RemoteDisconnected
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest

from mneme.client.calls import Client
from mneme.client.doctor import Doctor
from mneme.client.doctor.findings import Finding, State, printable
from mneme.client.exchange import Patience
from mneme.client.folder import Folder, Kept
from mneme.client.hooks import Program, install, settings_path
from mneme.client.http import Address, Response
from mneme.client.settings import client_id, config_path
from mneme.model import ClientId, FileName, ProjectId, digest
from tests.client.lines import Ahead, Line, answer, canned, exchange_over
from tests.fake_agent import FakeAgent
from tests.store.faults import FULL, Faults
from tests.web.stub import Stub, entry

URL = "http://homeserver:3847"
KEY = "alpha-key-0123456789"
GOOD, DOUBTFUL, BAD = State.GOOD, State.DOUBTFUL, State.BAD

Findings = Mapping[str, Finding]


HEALTHY = canned(200, {"status": "ok", "version": "1.2.3", "authRequired": False})


class Network(Line):
    """A line to a stub whose clock is `ahead` and whose answers take `seconds`."""

    def __init__(self, stub: Stub, *, ahead: float = 0.0, seconds: float = 0.0) -> None:
        super().__init__(stub, Ahead(stub.clock, ahead))
        self.clock = stub.clock
        self.before = lambda asked: stub.clock.advance(seconds)
        # A date has whole seconds: in the middle of one it is right on average.
        self.clock.advance(0.5)


def answering(**answers: Response | Exception) -> Network:
    """A server that gives some answers by hand: to `health`, `projects` or `lock`."""
    network = Network(Stub())
    paths = {"health": "/health", "projects": "/projects", "lock": "/projects/app/lock"}
    network.by_hand = {f"GET {paths[name]}": answer for name, answer in answers.items()}
    return network


class Machine:
    """A machine on which all is well, until a test has its way with it."""

    def __init__(self, tmp_path: Path) -> None:
        self.home = tmp_path / "home"
        self.directory = self.home / "src" / "my-app"
        self.directory.mkdir(parents=True)
        config_path(self.home).parent.mkdir()
        self.configure(serverUrl=URL, projectId="app")
        self.hooks = settings_path(self.home)
        self.program = tmp_path / "bin" / "mneme"
        self.program.parent.mkdir()
        self.program.write_text("#!/bin/sh\n")
        self.program.chmod(0o700)
        install(self.hooks, Program(str(self.program)))

    @property
    def folder(self) -> Path:
        """Where the plugin keeps the memory of the project."""
        return self.home / ".claude-mneme" / "projects" / str(self.directory).replace("/", "-")

    def configure(self, **sync: object) -> None:
        """Write the plugin's settings."""
        config_path(self.home).write_text(json.dumps({"sync": sync}))

    def identify(self, name: str) -> None:
        """Write the client id."""
        (self.home / ".claude-mneme" / ".client-id").write_text(name)

    def write(self, content: str, name: str = "log.jsonl") -> None:
        """Work as the plugin does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(content)

    def received(self, content: str) -> Folder:
        """A log with a base."""
        folder = Folder(self.folder, ProjectId("app"))
        kept = Kept(1, content.encode(), digest(content.encode()))
        with folder.step():
            assert folder.receive(FileName.LOG, kept, kept.content, folder.snapshot(FileName.LOG))
        return folder

    def examined(
        self, network: Network | None = None, server: str | None = None, key: str | None = None
    ) -> Findings:
        """The findings by code, each once."""
        network = network or Network(Stub())
        clock = network.clock

        @contextmanager
        def connect(address: Address, machine: ClientId, patience: Patience) -> Iterator[Client]:
            to = exchange_over(network, Ahead(clock), url=address.url, key=address.key, patience=patience)
            yield Client(to, machine)

        doctor = Doctor(clock.seconds, self.home, self.directory, connect)
        findings = doctor.examine(server, key)
        told = {finding.code: finding for finding in findings}
        assert len(told) == len(findings)
        assert all(finding.advice for finding in findings if finding.state is not GOOD)
        return told

    def finds(
        self,
        state: State,
        code: str,
        network: Network | None = None,
        server: str | None = None,
        key: str | None = None,
    ) -> str:
        """The sentences of a finding in this state; no other finding is bad."""
        findings = self.examined(network, server, key)
        assert code in findings, list(findings)
        assert findings[code].state is state
        assert bad(findings) <= {code}
        return f"{findings[code].found} -> {findings[code].advice}"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which all is well."""
    return Machine(tmp_path)


def bad(findings: Findings) -> set[str]:
    """The codes of what is bad."""
    return {code for code, finding in findings.items() if finding.state is BAD}


def having(*projects: str) -> Stub:
    """A server that has these projects, each with a log."""
    stub = Stub()
    for project in projects:
        place = project.replace("/", "%2F")
        assert stub.acquire("other", place).status == 200
        assert stub.upload("other", entry(project), project=place).status == 200
        assert stub.release("other", place).status == 200
    return stub


# All is well


def test_all_is_well_where_it_is(machine: Machine) -> None:
    """Each thing that was looked at is told of, and nothing else."""
    findings = machine.examined()
    assert list(findings) == [
        *("settings-usable", "server-reachable", "clocks-agree", "server-speaks", "key-not-needed"),
        *("project-new", "lock-free", "uploads-merged"),
        *(
            "home-folder-writable",
            "project-folder-writable",
            "changes-pushed",
            "sync-by-hooks",
            "agent-absent",
        ),
    ]
    assert {finding.state for finding in findings.values()} == {GOOD}


def test_an_examination_changes_nothing_on_the_server(machine: Machine) -> None:
    """Only GET requests, without downloads and without a client id."""
    stub = Stub()
    network = Network(stub)
    machine.examined(network)
    asked = [str(one) for one in network.asked]
    assert asked == ["GET /health", "GET /projects", "GET /projects/app/lock", "GET /status"]
    assert not any(one.header("X-Client-Id") for one in network.asked)
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
    assert "mneme connect http://homeserver:3847" in machine.finds(BAD, "server-not-set")
    folders = {"home-folder-writable", "project-folder-writable"}
    assert set(machine.examined()) == {"server-not-set", *folders, "sync-by-hooks", "agent-absent"}


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"sync": 1}', '{"sync": {"serverUrl": "homeserver"}}', '{"sync": {"projectId": 1}}'],
)
def test_settings_that_cannot_be_used_are_the_only_error(machine: Machine, content: str) -> None:
    """Nothing is concluded from them: not which project it is, nor who syncs."""
    config_path(machine.home).write_text(content)
    findings = machine.examined()
    assert bad(findings) == {"settings-unusable"}
    assert set(findings) == {"settings-unusable", "home-folder-writable", "project-folder-writable"}


def test_the_server_on_the_command_line_counts(machine: Machine) -> None:
    """The option overrides the settings, or replaces missing ones."""
    machine.configure()
    assert f"The server is {URL}, from --server" in machine.finds(GOOD, "settings-usable", server=URL)
    assert "--server" in machine.finds(BAD, "settings-unusable", server="nowhere")


def test_a_client_id_that_cannot_be_one_ends_in_one_finding(machine: Machine) -> None:
    """The server is not asked by a machine without a name."""
    machine.identify("two\nlines\n")
    network = Network(Stub())
    machine.finds(BAD, "machine-unnamed", network)
    assert network.asked == []


def test_a_path_too_long_for_an_id_asks_for_one_in_the_settings(machine: Machine) -> None:
    """A project id has at most 512 characters; the rest is left out."""
    machine.configure(serverUrl=URL)
    machine.directory = Path("/", *(["far"] * 200))
    assert "sync.projects" in machine.finds(BAD, "project-unusable")
    assert set(machine.examined()) == {"settings-usable", "project-unusable", "home-folder-writable"}


# The server


def test_a_server_that_is_down_is_told_once(machine: Machine) -> None:
    """Its own findings are left out, and there is no second attempt."""
    network = answering(health=RemoteDisconnected(""))
    assert URL in machine.finds(BAD, "server-unreachable", network)
    assert len(network.asked) == 1
    assert not {"lock-free", "clocks-agree"} & set(machine.examined(network))


@pytest.mark.parametrize(
    "health",
    [
        answer(200, b"<html>It works!</html>"),
        answer(200, b"\xff"),
        canned(200, {"status": "ok"}),
        canned(200, []),
        canned(404, {"error": "Not found"}),
        answer(404, b"<html>"),
        answer(301, b""),
    ],
)
def test_an_answer_of_no_such_server_is_told_once(machine: Machine, health: Response) -> None:
    """A web server on that port, for instance."""
    assert f"curl {URL}/health" in machine.finds(BAD, "server-strange", answering(health=health))


def test_the_node_server_is_known_by_the_list_that_it_lacks(machine: Machine) -> None:
    """The Node server has no list of projects; no other request follows."""
    network = answering(health=HEALTHY, projects=canned(404, {"error": "Not found"}))
    findings = machine.examined(network)
    assert bad(findings) == {"server-node"}
    assert "1.2.3" in findings["server-reachable"].found
    assert network.paths() == ["GET /health", "GET /projects"]


def test_a_server_whose_lists_lack_digests_is_too_old(machine: Machine) -> None:
    """A mneme server of an earlier version, that this client could not pull from."""
    file = {"name": "log.jsonl", "size": 4, "mtime": "2026-02-04T15:00:00.000Z", "version": 1}
    listed = {"id": "app", "size": 4, "mtime": None, "lock": None, "waiting": [], "files": [file]}
    network = answering(projects=canned(200, {"projects": [listed]}))
    assert "sha256" in machine.finds(BAD, "server-strange", network)
    assert "server-speaks" not in machine.examined(network)


@pytest.mark.parametrize("status", [429, 507])
@pytest.mark.parametrize("request_", ["health", "projects", "lock"])
def test_a_server_in_trouble_is_told_once(machine: Machine, status: int, request_: str) -> None:
    """Wherever it begins, what was told before stands, and what comes after is left out."""
    network = answering(**{request_: canned(status, {"error": "It is full"})})
    assert "It is full" in machine.finds(BAD, "server-trouble", network)
    findings = machine.examined(network)
    assert "lock-free" not in findings
    assert ("server-reachable" in findings) is (request_ != "health")
    assert ("uploads-merged" in findings) is (request_ == "lock")


def test_a_lock_with_times_that_are_none_is_a_strange_answer(machine: Machine) -> None:
    """Answers before the failure are used."""
    lock = {"clientId": "x", "acquiredAt": "yesterday", "expiresAt": "", "token": 1}
    network = answering(lock=canned(200, {"locked": True, "lock": lock}))
    machine.finds(BAD, "server-strange", network)
    assert "project-new" in machine.examined(network)


def test_a_slow_server_is_doubtful(machine: Machine) -> None:
    """The finding has the milliseconds."""
    assert "1500 ms" in machine.finds(DOUBTFUL, "server-slow", Network(Stub(), seconds=1.5))
    assert "250 ms" in machine.finds(GOOD, "server-reachable", Network(Stub(), seconds=0.25))


# The key


def test_a_key_that_is_missing_is_not_a_wrong_one(machine: Machine) -> None:
    """The health of the server is told without one; no key is repeated."""
    assert machine.finds(BAD, "key-missing", Network(Stub(keys=[KEY]))).endswith(f"mneme connect {URL}")
    findings = machine.examined(Network(Stub(keys=[KEY])))
    assert "server-reachable" in findings
    assert not {"lock-free", "project-new", "server-speaks"} & set(findings)
    assert "guessed" not in machine.finds(BAD, "key-wrong", Network(Stub(keys=[KEY])), URL, "guessed-0123")


def test_the_right_key_is_right(machine: Machine) -> None:
    """A key from settings or option; the settings' key goes to its server alone."""
    machine.configure(serverUrl=URL, apiKey=KEY)
    machine.finds(GOOD, "key-right", Network(Stub(keys=[KEY])))
    machine.finds(GOOD, "key-right", Network(Stub(keys=[KEY])), URL)
    machine.finds(GOOD, "key-right", Network(Stub(keys=[KEY])), "http://another.invalid", KEY)
    machine.finds(BAD, "key-missing", Network(Stub(keys=[KEY])), "http://another.invalid")


def test_a_proxy_that_wants_a_password_wants_a_key(machine: Machine) -> None:
    """Whatever the 401 is made of."""
    machine.finds(BAD, "key-missing", answering(health=answer(401, b"<html>")))


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
    said = machine.finds(DOUBTFUL, "clocks-apart", Network(Stub(), ahead=ahead))
    assert words in said
    assert "NTP" in said


@pytest.mark.parametrize("ahead", [0, 1, 4, -1, -4])
def test_clocks_a_few_seconds_apart_are_good_enough(machine: Machine, ahead: float) -> None:
    """The date in an answer has whole seconds."""
    machine.finds(GOOD, "clocks-agree", Network(Stub(), ahead=ahead))


def test_a_server_that_shows_no_clock_is_doubtful(machine: Machine) -> None:
    """A proxy may have taken the date away."""
    machine.finds(DOUBTFUL, "clocks-unknown", answering(health=HEALTHY))


# The project


def test_a_project_that_the_server_knows_is_known(machine: Machine) -> None:
    """With the source of its id."""
    assert "app, from sync.projectId, which is one id for all" in machine.finds(
        GOOD, "project-known", Network(having("app", "else"))
    )


def test_a_project_that_the_server_knows_by_another_name_is_known(machine: Machine) -> None:
    """With the id that lists and history have it by."""
    stub = having("else")
    headers = {"X-Client-Id": "other", "Content-Type": "application/json"}
    assert stub.ask("PUT", "/projects/app/alias", headers, b'{"of": "else"}').status == 200
    said = machine.finds(GOOD, "project-known", Network(stub))
    assert "and the server knows it as another name of else" in said


def test_a_project_that_the_server_does_not_know_among_others_is_doubtful(machine: Machine) -> None:
    """The others are named, some of them: one may be it."""
    said = machine.finds(DOUBTFUL, "project-unknown", Network(having(*(f"number-{n}" for n in range(7)))))
    assert "number-0" in said
    assert "and 2 more -> " in said
    assert "`mneme link app THAT-ID`" in said


def test_the_home_directory_is_not_offered_as_a_project(machine: Machine) -> None:
    """Machines are connected there as often as not."""
    machine.configure(serverUrl=URL)
    machine.directory = machine.home
    network = Network(having("one", "else"))
    said = machine.finds(GOOD, "project-at-home", network)
    assert said.endswith("run mneme doctor in its directory")
    assert not {"project-new", "project-unknown"} & set(machine.examined(network))


def test_the_path_is_an_id_of_its_own(machine: Machine) -> None:
    """Without sync.projectId the path is named as where the id comes from."""
    machine.configure(serverUrl=URL)
    said = machine.finds(GOOD, "project-new")
    assert str(machine.directory) in said
    assert machine.folder.name in said


@pytest.mark.parametrize(
    "twin", ["-Users-ana-src-my-app", "my-app", "MY-APP", "org/my-app", "-home-ana-src-My-App"]
)
def test_a_project_of_this_name_by_another_id_is_doubtful(machine: Machine, twin: str) -> None:
    """A Mac and a Linux machine have other paths, and never meet."""
    machine.configure(serverUrl=URL)
    network = Network(having(twin, "else"))
    said = machine.finds(DOUBTFUL, "project-twins", network)
    mine = machine.folder.name
    pair = (twin, mine) if twin.startswith("-") else (mine, twin)
    assert f"make them one memory: `mneme link {' '.join(pair)}`" in said
    assert "project-unknown" not in machine.examined(network)


@pytest.mark.parametrize("other", ["app", "my-app-2", "xmy-app", "my-app/docs", "-home-my_app"])
def test_a_project_of_another_name_is_no_twin(machine: Machine, other: str) -> None:
    """A part of the name is not the name; the root directory has none."""
    machine.configure(serverUrl=URL)
    assert "project-twins" not in machine.examined(Network(having(other)))
    machine.directory = Path("/")
    assert "project-twins" not in machine.examined(Network(having("strange-")))


def test_a_name_with_an_accent_is_the_same_on_a_mac(machine: Machine) -> None:
    """Which writes it as two characters."""
    machine.directory = machine.home / "cafe\N{COMBINING ACUTE ACCENT}"
    machine.directory.mkdir()
    machine.finds(DOUBTFUL, "project-twins", Network(having("-Users-ana-caf%C3%A9")))


# The lock, and the uploads that wait


def test_the_lock_of_another_machine_is_told_with_its_times(machine: Machine) -> None:
    """Another's lock is doubtful, not bad: a session may run there."""
    stub = having("app")
    stub.acquire("desktop-5e6f7a8b", "app")
    said = machine.finds(DOUBTFUL, "lock-taken", Network(stub))
    assert "desktop-5e6f7a8b holds the lock of app, since 2026-02-0" in said
    assert "until 2026-02-0" in said


def test_an_id_in_two_places_is_told_with_advice(machine: Machine) -> None:
    """Two folders with one id, or a cloned machine; only this project's are reported."""
    stub = Stub()
    for project in ("app", "other"):
        for content in ("one", "two"):
            stub.acquire("desktop-5e6f7a8b", project)
            stub.upload("desktop-5e6f7a8b", entry(content), project=project)
            stub.release("desktop-5e6f7a8b", project)
    said = machine.finds(DOUBTFUL, "id-in-two-places", Network(stub))
    assert "desktop-5e6f7a8b seems to use the id app in two places: its log.jsonl of 2026-" in said
    assert "remove sync.projectId" in said


def test_the_lock_of_this_machine_is_ours(machine: Machine) -> None:
    """And stays so: it is neither extended nor released."""
    stub = having("app")
    stub.acquire(client_id(machine.home).value, "app")
    before = stub.ask("GET", "/projects/app/lock").json
    stub.clock.advance(60)
    machine.finds(GOOD, "lock-ours", Network(stub))
    assert stub.ask("GET", "/projects/app/lock").json == before


def test_uploads_of_this_machine_that_wait_are_told(machine: Machine) -> None:
    """Of every project, and of no other machine."""
    stub = having("app", "else")
    mine = client_id(machine.home).value
    for project in ("app", "else"):
        stub.acquire("desktop", project)
    assert stub.upload("third", "{}", "entities.json", project="app").status == 403
    machine.finds(GOOD, "uploads-merged", Network(stub))
    for project in ("app", "else"):
        assert stub.upload(mine, entry("mine"), project=project).status == 403
    assert ": log.jsonl of app, log.jsonl of else ->" in machine.finds(
        DOUBTFUL, "uploads-waiting", Network(stub)
    )


# The folders


@pytest.mark.parametrize(
    "spoil",
    [
        lambda machine: machine.folder.write_text("in the way"),
        lambda machine: machine.folder.symlink_to(machine.home / "unmounted"),
        pytest.param(
            lambda machine: machine.folder.mkdir(0o500),
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere"),
        ),
    ],
)
def test_a_folder_that_cannot_be_written_is_bad(machine: Machine, spoil: Callable[[Machine], object]) -> None:
    """A file in its place, a link to nowhere, or no permission."""
    machine.folder.parent.mkdir()
    spoil(machine)
    assert str(machine.folder) in machine.finds(BAD, "project-folder-not-writable")
    assert "changes-pushed" not in machine.examined()


def test_a_full_disk_is_told_with_advice(machine: Machine, faults: Faults) -> None:
    """Both folders are on it, and nothing is left behind."""
    client_id(machine.home)
    machine.write(entry("one"))
    before = set(machine.home.rglob("*"))
    with faults.failing(0, FULL):
        findings = machine.examined()
    for code in ("home-folder-not-writable", "project-folder-not-writable"):
        assert findings[code].state is BAD
        assert "Free some space" in str(findings[code].advice)
    assert set(machine.home.rglob("*")) == before


@pytest.mark.parametrize(
    ("free", "state", "code", "told"),
    [
        (90_000_000, DOUBTFUL, "home-folder-low-space", "only 90 MB free"),
        (83_900_000_000, GOOD, "home-folder-writable", "with 84 GB free"),
    ],
)
def test_little_space_is_doubtful(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, free: int, state: State, code: str, told: str
) -> None:
    """While it can still be written."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    assert told in machine.finds(state, code)


# Changes that were not sent


def test_files_that_the_server_lacks_are_told(machine: Machine) -> None:
    """Never pushed, or changed since; the others are not told."""
    machine.write(entry("one"))
    machine.write("{}", "entities.json")
    said = machine.finds(DOUBTFUL, "changes-unpushed")
    assert "Not pushed yet: log.jsonl (the server has none), entities.json (the server has none) -> " in said
    (machine.folder / "entities.json").unlink()
    machine.received(entry("app"))
    machine.write(entry("app") + entry("new"))
    said = machine.finds(DOUBTFUL, "changes-unpushed", Network(having("app")))
    assert "Not pushed yet: log.jsonl (changed since version 1) -> " in said
    assert "mneme push" in said


def test_a_file_that_the_server_has_is_not_to_be_pushed(machine: Machine) -> None:
    """Nor is an older file, nor a refused upload that the server kept."""
    network = Network(having("app"))
    machine.write(entry("app"))
    machine.finds(GOOD, "changes-pushed", network)
    folder = machine.received(entry("older"))
    machine.finds(GOOD, "changes-pushed", network)
    newer = entry("newer")
    folder.note_refused(FileName.LOG, Kept(2, newer.encode(), digest(newer.encode())))
    machine.write(newer)
    machine.finds(GOOD, "changes-pushed", network)


def test_changes_are_known_without_the_server(machine: Machine) -> None:
    """By the versions that it was last seen to have."""
    down = answering(health=RemoteDisconnected(""))
    machine.received(entry("one"))
    assert machine.examined(down)["changes-pushed"].state is GOOD
    machine.write("{}", "summary.json")
    found = machine.examined(down)["changes-unpushed"].found
    assert found == "Not pushed yet: summary.json (never pushed from here to this server)"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_directory_in_the_place_of_a_file_is_bad(machine: Machine, make: Callable[[Path], None]) -> None:
    """No pull can write the file then; a pipe keeps nobody waiting."""
    machine.folder.mkdir(parents=True)
    make(machine.folder / "log.jsonl")
    assert f"{machine.folder}/log.jsonl is no plain file" in machine.finds(BAD, "file-strange")


@pytest.mark.parametrize(
    "damaged", ["", "\0" * 100, entry("one") + entry("two")[:20]], ids=["empty", "zeros", "half a line"]
)
def test_a_damaged_file_is_named_once(machine: Machine, damaged: str) -> None:
    """To push it is no advice, for it is not sent."""
    machine.received(entry("one") + entry("two"))
    machine.write(damaged)
    found = machine.examined(Network(having("app")))
    assert found["file-damaged"].state is BAD
    assert found["changes-pushed"].state is GOOD


def test_a_memory_that_cannot_be_read_is_bad(machine: Machine) -> None:
    """A directory where its own notes should be: one sentence, and the rest goes on."""
    machine.write(entry("one"))
    (machine.folder / ".mneme").write_text("in the way")
    machine.finds(BAD, "changes-unreadable")
    assert "sync-by-hooks" in machine.examined()


def test_a_process_that_hangs_in_a_memory_is_bad(machine: Machine) -> None:
    """The doctor waits for it a moment only."""
    with machine.received(entry("one")).step():
        assert "at work on" in machine.finds(BAD, "folder-busy")


# Who syncs


def test_hooks_and_the_plugin_are_two_syncs(machine: Machine) -> None:
    """The plugin overwrites newer files, alone it is one sync; neither is doubtful."""
    machine.configure(serverUrl=URL, enabled=True)
    assert '"enabled": false' in machine.finds(BAD, "sync-twice")
    machine.hooks.write_text('{"hooks": {"Stop": []}}')
    machine.finds(GOOD, "sync-by-plugin")
    machine.configure(serverUrl=URL)
    assert "mneme hooks --install" in machine.finds(DOUBTFUL, "sync-by-nobody")


@pytest.mark.parametrize("event", ["SessionStart", "SessionEnd"])
def test_one_hook_of_two_is_doubtful(machine: Machine, event: str) -> None:
    """A hook for only one event is doubtful."""
    settings = json.loads(machine.hooks.read_text())
    del settings["hooks"][event]
    machine.hooks.write_text(json.dumps(settings))
    machine.finds(DOUBTFUL, "hooks-half")


@pytest.mark.parametrize("name", ["settings.json", "settings.local.json"])
def test_the_hooks_of_a_project_count(machine: Machine, name: str) -> None:
    """Wherever Claude Code reads them from, also behind a link."""
    elsewhere = machine.hooks.rename(machine.home / "dotfiles.json")
    (machine.directory / ".claude").mkdir()
    (machine.directory / ".claude" / name).symlink_to(elsewhere)
    machine.finds(GOOD, "sync-by-hooks")


def test_hooks_that_call_a_missing_program_are_bad(machine: Machine) -> None:
    """An environment that was removed, for instance."""
    machine.program.unlink()
    said = machine.finds(BAD, "hooks-broken")
    assert str(machine.program) in said
    assert "--install" in said


@pytest.mark.parametrize("content", ["", "{", "[]", '{"hooks": 1}', '{"hooks": {"SessionStart": [1]}}'])
def test_settings_of_claude_code_that_cannot_be_read_are_doubtful(machine: Machine, content: str) -> None:
    """The sentence names the file; whether hooks sync is not told, for nobody knows."""
    machine.hooks.write_text(content)
    assert str(machine.hooks) in machine.finds(DOUBTFUL, "hooks-unreadable")
    assert not {"sync-by-hooks", "sync-by-nobody"} & set(machine.examined())


def test_without_git_it_is_doubtful_which_project_it_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each directory is a project then."""
    monkeypatch.setenv("PATH", str(tmp_path))
    machine.finds(DOUBTFUL, "git-missing")


@pytest.mark.parametrize(
    ("health", "does"), [(HEALTHY, "keeps all projects"), (RemoteDisconnected(""), "tries again")]
)
def test_an_agent_is_in_step_only_with_a_server_that_answers(health: Response | Exception, does: str) -> None:
    """The other findings say what is wrong with the server."""
    with TemporaryDirectory(dir="/tmp", prefix="m") as short:
        machine = Machine(Path(short))
        agent = FakeAgent(machine.home, b"{}\n")
        found = machine.examined(answering(health=health))["agent-runs"].found
        agent.stop()
    assert f"The agent runs, and {does}" in found


# Text from elsewhere


WAITING = {"version": 1, "file": "\x1b]0;", "mtime": "", "clientId": "laptop-00000000"}
PROJECT = {"id": "\x1b[2J/my-app", "files": [], "size": 0, "mtime": None, "lock": None, "waiting": [WAITING]}
LOCK = {
    "clientId": "\x1b[2J",
    "acquiredAt": "2026-02-04T15:00:00.000Z",
    "expiresAt": "2026-02-04T15:30:00.000Z",
}


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("health", canned(200, {"status": "ok", "version": "\x1b[2J\r1\u202e", "authRequired": False})),
        ("health", canned(500, {"error": "\x1b[31m\n\x07" + "x" * 100_000})),
        ("projects", canned(200, {"projects": [PROJECT]})),
        ("lock", canned(200, {"locked": True, "lock": {**LOCK, "token": 1}})),
    ],
)
def test_nothing_that_a_server_says_garbles_the_terminal(
    machine: Machine, request_: str, answer: Any
) -> None:
    """Control characters in anything from the server are escaped."""
    machine.identify("laptop-00000000\n")
    for finding in machine.examined(answering(**{request_: answer})).values():
        assert finding.found.isprintable()
        assert len(finding.found) < 7000
        assert (finding.advice or "").isprintable()


def test_text_is_shown_so_that_each_character_can_be_seen() -> None:
    """Umlauts stay; control and bidirectional characters are escaped."""
    assert printable("größe 漢\x1b\n\u202e\udcff") == "größe 漢\\x1b\\n\\u202e\\udcff"
