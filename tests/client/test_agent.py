"""The agent, with real folders, a server in this process, and a fake reactor."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher

from mneme import durable
from mneme.client.agent import KNOWN_TROUBLE_SECONDS, LOOK_EVERY, Agent, Server, Told
from mneme.client.arrivals import BEFORE
from mneme.client.calls import Client
from mneme.client.control import Request
from mneme.client.exchange import Exchange, Patience
from mneme.client.folder import Folder
from mneme.client.http import Address
from mneme.client.identity import Rules
from mneme.client.listener import Heard
from mneme.model import ClientId, FileName, Merging, ProjectId
from mneme.wire import WireEvent
from tests.client.lines import Line
from tests.immediate import ImmediateWorker
from tests.results import result_of, waits
from tests.stepped import SteppedWorker
from tests.web.stub import Stub, entry

URL = "http://stub.invalid"


class Reactor(Clock):
    """A clock that also takes calls from threads."""

    def __init__(self) -> None:
        super().__init__()
        self.inbox: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self.rightNow = 1_770_217_200.0

    def callFromThread(self, call: Callable[..., object], *arguments: object) -> None:
        """Take a call."""
        self.inbox.put(partial(call, *arguments))


class Ears:
    """A listener that hears what the test says."""

    def __init__(self, heard: Callable[[Heard], object]) -> None:
        self.heard = heard

    def start(self) -> None:
        """See `Source`."""

    def stop(self) -> None:
        """See `Source`."""


class Eyes:
    """A watch that tells of changes when the test says `look`."""

    def __init__(self, directory: Path, changed: Callable[[Path], object]) -> None:
        self._directory = directory
        self._changed = changed
        self._seen: dict[Path, object] | None = None

    def start(self) -> None:
        """See `Source`."""
        self._seen = self._found()

    def stop(self) -> None:
        """See `Source`."""
        self._seen = None

    def look(self) -> None:
        """Tell of the folders that have changed since the last look."""
        if self._seen is None:
            return
        before, self._seen = self._seen, self._found()
        for path in before.keys() | self._seen.keys():
            if before.get(path) != self._seen.get(path):
                self._changed(path)

    def _found(self) -> dict[Path, object]:
        folders = self._directory.iterdir() if self._directory.exists() else ()
        return {path: {file: durable.look(path / file.value) for file in FileName} for path in folders}


class Wall:
    """A time of day that passes at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def seconds(self) -> float:
        """See `SleepingClock`."""
        return self._clock.seconds()

    def sleep(self, seconds: float) -> None:
        """See `SleepingClock`."""


STOCK = Rules()
"""The rules of settings that say nothing of ids."""


class World:
    """A machine with an agent, and a server."""

    def __init__(self, home: Path, rules: Rules = STOCK) -> None:
        self.home = home
        self.projects = home / ".claude-mneme/projects"
        self.projects.mkdir(parents=True)
        self.stub = Stub()
        self.reactor = Reactor()
        self.line = Line(self.stub)
        self.syncing = SteppedWorker(holding=False)
        address = Address(URL)
        wall = Wall(self.reactor)
        client = Client(Exchange(self.line, wall, address, Patience(10, 0)), ClientId("laptop"))
        server = Server(client, rules, self._listen)
        self.agent = Agent(self.reactor, wall, self.syncing, ImmediateWorker(), home, server, self._watch)

    def _listen(self, heard: Callable[[Heard], object]) -> Ears:
        self.ears = Ears(heard)
        return self.ears

    def _watch(self, directory: Path, changed: Callable[[Path], object]) -> Eyes:
        self.eyes = Eyes(directory, changed)
        return self.eyes

    def turn_until(self, is_so: Callable[[], object]) -> None:
        """Turn the reactor until something is so, with calls of threads and some time."""
        for _ in range(600):
            if is_so():
                return
            self._turn(0.1)
        raise AssertionError("it does not come about")

    def settle(self) -> None:
        """Let all come to rest that has been noticed, or is about to be."""
        for _ in range(7):
            self._turn(0.3)

    def _turn(self, seconds: float) -> None:
        self.eyes.look()
        while not self.reactor.inbox.empty():
            self.reactor.inbox.get()()
        self.reactor.advance(seconds)

    def folder(self, name: str, log: str | None = None) -> Path:
        """A folder of the plugin, with a log."""
        path = self.projects / name
        path.mkdir(exist_ok=True)
        if log is not None:
            (path / "log.jsonl").write_text(log)
        return path

    def on_server(self, project: str) -> str | None:
        """The log of a project on the server."""
        reply = self.stub.download(project=project, client="looker")
        return reply.json["content"] if reply.status == 200 else None

    def other_machine_writes(self, project: str, log: str) -> None:
        """An upload of another machine."""
        self.stub.acquire("desk", project=project)
        assert self.stub.upload("desk", log, project=project).status == 200
        self.stub.release("desk", project=project)

    def event(
        self,
        project: str,
        version: int | None,
        kind: str = "head",
        file: str | None = "log.jsonl",
        aliases: Sequence[str] = (),
    ) -> None:
        """Have the server tell of a change."""
        self.ears.heard(Heard(WireEvent("l-1", kind, project, file, version, None, "desk", None, aliases)))

    def ready(self) -> None:
        """Have the server say that nothing is known to have happened."""
        self.ears.heard(Heard(None))

    def requests(self) -> list[str]:
        """The requests since the last call."""
        return self.line.paths()

    def status(self) -> list[dict[str, Any]]:
        """The status of all projects, as it is told."""
        return list(self.told()["projects"])

    def told(self) -> dict[str, Any]:
        """The answer to the question about the status."""
        found: Any = result_of(_awaited(self.agent.questions["status"](Request("status"))))
        return dict(json.loads(json.dumps(found)))


async def _awaited(answer: Any) -> Any:
    return await answer


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An agent that is not started yet, for a home without a repository around it."""
    monkeypatch.delenv("MNEME_DISABLED", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    world = World(tmp_path / "home")
    yield world
    end(world)


def end(world: World) -> None:
    """Stop an agent that was started."""
    if world.agent._looking.running:
        stopped = Deferred.fromCoroutine(world.agent.stop())
        world.syncing.finish()
        result_of(stopped)


ONE, TWO, THREE = (entry(f"entry {n}", n) for n in (1, 2, 3))


# Folders


def test_folders_that_are_there_are_sent_and_fetched(world: World) -> None:
    """All of them; a name of an older plugin is none of a folder."""
    world.folder("-app", ONE)
    world.folder("-lib")
    world.folder("old", ONE)
    (world.projects / "-file").write_text("")
    world.other_machine_writes("-lib", TWO)
    world.agent.start()
    world.settle()
    assert world.on_server("-app") == ONE
    assert (world.projects / "-lib/log.jsonl").read_text() == TWO
    assert [(one["project"], one["inStep"]) for one in world.status()] == [("-app", True), ("-lib", True)]
    assert world.on_server("old") is None


def test_what_changes_is_sent(world: World) -> None:
    """The system tells of it."""
    path = world.folder("-app", ONE)
    world.agent.start()
    world.settle()
    with (path / "log.jsonl").open("a") as log:
        log.write(TWO)
    world.turn_until(lambda: world.on_server("-app") == ONE + TWO)


def test_a_new_folder_is_kept_from_then_on(world: World) -> None:
    """That of a first session in a project."""
    world.agent.start()
    world.settle()
    world.folder("-new", ONE)
    world.turn_until(lambda: world.on_server("-new") == ONE)


def test_excluded_folders_are_left_alone(world: World) -> None:
    """Those that are there, and new ones, by the patterns of that moment."""
    world.folder("-home-ana-secret-app", ONE)
    world.folder("-app", ONE)
    (world.home / ".claude-mneme/config.json").write_text('{"excludePatterns": ["/secret"]}')
    world.agent.start()
    world.settle()
    world.folder("-home-ana-secrets", ONE)
    world.folder("-lib", ONE)
    world.settle()
    assert [one["project"] for one in world.status()] == ["-app", "-lib"]
    (world.home / ".claude-mneme/config.json").write_text('{"excludePatterns": ["/secret", "lib"]}')
    world.reactor.advance(LOOK_EVERY)
    assert [one["project"] for one in world.status()] == ["-app"]
    assert world.on_server("-home-ana-secrets") is None


def test_a_busy_folder_that_is_excluded_costs_few_looks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is written."""
    path = world.folder("-.ao-worktrees-app", ONE)
    world.agent.start()
    world.settle()
    looks: list[set[Path]] = []

    def look() -> set[Path]:
        looks.append(real())
        return looks[-1]

    real = world.agent._folders
    monkeypatch.setattr(world.agent, "_folders", look)
    for _ in range(100):
        world.agent._changed(path)
        world.reactor.advance(0.01)
    assert 5 <= len(looks) <= 10
    world.agent._changed(path)


def test_a_folder_that_a_person_removes_does_not_come_back(world: World) -> None:
    """Whatever changes on the server; a new session has it again."""
    path = world.folder("-app", ONE)
    world.agent.start()
    world.settle()
    for one in (path / ".mneme").iterdir():
        one.unlink()
    (path / ".mneme").rmdir()
    for one in path.iterdir():
        one.unlink()
    path.rmdir()
    world.settle()
    world.other_machine_writes("-app", ONE + TWO)
    world.ready()
    world.settle()
    assert not path.exists()
    world.reactor.advance(LOOK_EVERY)
    assert world.status() == []
    assert world.on_server("-app") == ONE + TWO


def test_changes_that_nobody_told_are_found_by_a_look(world: World) -> None:
    """The system tells of no more files, say; it costs a minute, no more."""
    path = world.folder("-app", ONE)
    world.agent.start()
    world.settle()
    world.eyes.stop()
    (path / "log.jsonl").write_text(ONE + TWO)
    world.folder("-new", ONE)
    world.settle()
    assert world.on_server("-app") == ONE
    world.reactor.advance(LOOK_EVERY)
    world.settle()
    assert world.on_server("-app") == ONE + TWO
    assert world.on_server("-new") == ONE


def test_without_notices_of_the_system_the_agent_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where other programs watch all that can be watched."""

    def start() -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(world.agent._files, "start", start)
    world.folder("-app", ONE)
    world.agent.start()
    world.settle()
    assert world.on_server("-app") == ONE


def test_projects_that_cannot_be_read_for_a_while_are_looked_at_again(world: World) -> None:
    """A directory that is moved away and back, say."""
    world.agent.start()
    world.settle()
    away = world.projects.rename(world.home / "away")
    world.reactor.advance(LOOK_EVERY)
    away.rename(world.projects)
    world.folder("-app", ONE)
    world.reactor.advance(LOOK_EVERY)
    world.settle()
    assert world.on_server("-app") == ONE


def test_a_name_that_is_no_text_is_a_project(world: World) -> None:
    """With a replacement character; one that is too long for an id is none."""
    world.folder(os.fsdecode(b"-caf\xe9"), ONE)
    world.folder("-" + "x" * 200)
    world.agent.start()
    world.settle()
    assert world.on_server("-caf%EF%BF%BD") == ONE


def test_one_id_for_all_is_given_to_no_folder_without_a_session(tmp_path: Path) -> None:
    """Projects would be mixed for good; folders that had the id before keep it."""
    world = World(tmp_path / "home", Rules(one_for_all=ProjectId("shared")))
    world.folder("-other", TWO)
    (world.folder("-app", ONE) / ".mneme").mkdir()
    world.agent.start()
    world.settle()
    assert world.on_server("shared") == ONE
    assert not (world.projects / "-other/.mneme").exists()
    directory = tmp_path / "third"
    directory.mkdir()
    begin(world, directory)
    world.settle()
    folder = world.projects / str(directory).replace("/", "-")
    assert (folder / "log.jsonl").read_text() == ONE
    world.reactor.advance(LOOK_EVERY)
    assert len(world.status()) == 2
    end(world)


def test_the_folder_of_a_first_session_stays_kept(tmp_path: Path) -> None:
    """Also with one id for all, where a look comes before the first sync."""
    world = World(tmp_path / "home", Rules(one_for_all=ProjectId("shared")))
    world.agent.start()
    world.settle()
    world.other_machine_writes("shared", ONE)
    directory = tmp_path / "app"
    directory.mkdir()
    world.syncing.holding = True
    begun = begin(world, directory, LOOK_EVERY * 2)
    world.reactor.advance(LOOK_EVERY)
    assert [one["project"] for one in world.status()] == ["shared"]
    world.syncing.finish()
    told = result_of(begun)
    assert told.problem is None
    assert "entry 1" in told.news
    end(world)


# Events


@pytest.fixture
def kept(world: World) -> World:
    """An agent with two projects that are in step."""
    world.folder("-app", ONE)
    world.folder("-lib", ONE)
    world.agent.start()
    world.settle()
    world.requests()
    return world


def test_a_change_there_is_fetched(kept: World) -> None:
    """Of the project that it is about, and no other."""
    kept.other_machine_writes("-app", ONE + TWO)
    kept.event("-app", 9)
    kept.turn_until(lambda: (kept.projects / "-app/log.jsonl").read_text() == ONE + TWO)
    kept.settle()
    assert all("-app" in one for one in kept.requests())


@pytest.mark.parametrize(
    ("project", "version", "kind", "file"),
    [
        ("-none", 9, "head", "log.jsonl"),
        ("-app", 1, "head", "log.jsonl"),
        ("-app", None, "lock", None),
    ],
)
def test_an_event_that_tells_nothing_asks_nothing(
    kept: World, project: str, version: int | None, kind: str, file: str | None
) -> None:
    """Another project's, one's own upload that comes back, a lock."""
    kept.event(project, version, kind, file)
    kept.settle()
    assert kept.requests() == []


@pytest.mark.parametrize("file", ["log.jsonl", "later.json", None])
def test_a_removal_or_an_unknown_file_is_looked_at(kept: World, file: str | None) -> None:
    """There is no version of it to know."""
    kept.event("-app", None, file=file)
    kept.settle()
    assert kept.requests() == ["GET /projects/-app/files"]


def test_after_a_new_beginning_all_projects_are_looked_at(kept: World) -> None:
    """Anything may have changed."""
    kept.ready()
    kept.settle()
    assert sorted(kept.requests()) == ["GET /projects/-app/files", "GET /projects/-lib/files"]


def test_a_change_under_another_name_is_fetched(kept: World) -> None:
    """The folder goes by an alias."""
    kept.other_machine_writes("-app", ONE + TWO)
    kept.event("github.com/ana/app", 9, aliases=["-home-bo-app", "-app"])
    kept.turn_until(lambda: (kept.projects / "-app/log.jsonl").read_text() == ONE + TWO)


# Ids


REMOTE = "github.com/ana/app"
QUOTED = "github.com%2Fana%2Fapp"


def clone(world: World) -> Path:
    """A clone of a repository."""
    root = world.home / "app"
    root.mkdir()
    for words in (["init", "-q"], ["remote", "add", "origin", f"https://{REMOTE}"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    return root


@pytest.fixture
def by_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An agent whose projects go by their remotes."""
    monkeypatch.delenv("MNEME_DISABLED", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    world = World(tmp_path / "home", Rules(uses_remote=True))
    yield world
    end(world)


def test_no_folder_is_kept_under_two_ids(by_git: World) -> None:
    """The directory of a folder is found; a session says the same id."""
    root = clone(by_git)
    by_git.folder(str(root).replace("/", "-"), ONE)
    by_git.agent.start()
    by_git.settle()
    by_git.turn_until(lambda: by_git.on_server(QUOTED) == ONE)
    session = Deferred.fromCoroutine(by_git.agent.session_begins(root, 2.0))
    by_git.settle()
    assert not result_of(session).problem
    assert [one["project"] for one in by_git.status()] == [REMOTE]
    assert [one["id"] for one in by_git.stub.ask("GET", "/projects").json["projects"]] == [REMOTE]


def test_a_session_finds_that_the_id_has_changed(by_git: World) -> None:
    """The project got a remote: from then on its path is another name of that."""
    root = clone(by_git)
    path = str(root).replace("/", "-")
    subprocess.run(["git", "remote", "rename", "origin", "gone"], cwd=root, check=True)
    subprocess.run(["git", "remote", "add", "second", "https://example.org/a/b"], cwd=root, check=True)
    by_git.folder(path, ONE)
    by_git.agent.start()
    by_git.settle()
    by_git.turn_until(lambda: by_git.on_server(path) == ONE)
    subprocess.run(["git", "remote", "rename", "gone", "origin"], cwd=root, check=True)
    session = Deferred.fromCoroutine(by_git.agent.session_begins(root, 2.0))
    by_git.settle()
    assert not result_of(session).problem
    assert by_git.on_server(QUOTED) == ONE
    [project] = by_git.stub.ask("GET", "/projects").json["projects"]
    assert (project["id"], project["aliases"]) == (REMOTE, [path])


def test_ids_that_may_be_of_one_project_are_told_once(by_git: World, request: pytest.FixtureRequest) -> None:
    """The log and the status have the command that links them."""
    told: list[str] = []

    def observe(event: LogEvent) -> None:
        told.append(formatEvent(event))

    observer = cast(ILogObserver, observe)
    globalLogPublisher.addObserver(observer)
    request.addfinalizer(lambda: globalLogPublisher.removeObserver(observer))
    by_git.other_machine_writes("-Users-bo-src-app", ONE)
    by_git.other_machine_writes("-Users-bo-src-lib", ONE)
    root = clone(by_git)
    by_git.folder(str(root).replace("/", "-"), TWO)
    by_git.agent.start()
    by_git.settle()
    by_git.folder("-new", ONE)
    by_git.settle()
    by_git.reactor.advance(LOOK_EVERY)
    by_git.settle()
    assert by_git.told()["links"] == [{"old": "-Users-bo-src-app", "new": REMOTE}]
    by_git.other_machine_writes("-srv-app", ONE)
    by_git.event("-srv-app", 1)
    by_git.settle()
    by_git.reactor.advance(LOOK_EVERY)
    by_git.settle()
    assert len(by_git.told()["links"]) == 2
    offers = [one for one in told if "may be one project" in one]
    assert len(offers) == 2
    assert f"`mneme link -Users-bo-src-app {REMOTE}`" in offers[0]
    assert f"`mneme link -srv-app {REMOTE}`" in offers[1]


# Sessions


def app(world: World) -> tuple[Path, Path]:
    """A directory without a repository, and its folder."""
    directory = world.home / "app"
    directory.mkdir(exist_ok=True)
    return directory, world.projects / str(directory).replace("/", "-")


def begin(world: World, directory: Path, seconds: float = 2.0) -> Deferred[Told]:
    """A session that begins."""
    begun = Deferred.fromCoroutine(world.agent.session_begins(directory, seconds))
    world.reactor.advance(0)
    return begun


def test_a_session_is_told_what_came_since_it_began(world: World) -> None:
    """Then nothing, as the memory has it."""
    directory, folder = app(world)
    world.agent.start()
    world.other_machine_writes(folder.name, ONE + TWO)
    told = result_of(begin(world, directory))
    assert told.problem is None
    assert told.news.endswith(
        "### Lately\n- 2026-02-04 14:02 note: entry 2\n- 2026-02-04 14:01 note: entry 1\n"
    )
    assert (folder / "log.jsonl").read_text() == ONE + TWO
    world.reactor.advance(BEFORE + 1)
    assert result_of(begin(world, directory)) == Told()


def test_a_session_is_told_what_came_while_its_hook_started(world: World) -> None:
    """The plugin may have read the memory just before the agent fetched."""
    directory, folder = app(world)
    world.agent.start()
    begin(world, directory)
    world.other_machine_writes(folder.name, ONE)
    world.event(folder.name, 9)
    world.turn_until((folder / "log.jsonl").exists)
    world.reactor.advance(1)
    assert "entry 1" in result_of(begin(world, directory)).news


def test_a_session_is_told_what_waits_for_the_summarizer(world: World) -> None:
    """Each session, until the memory has it."""
    directory, folder = app(world)
    world.agent.start()
    world.folder(folder.name, ONE)
    begin(world, directory)
    lock = folder / "log.jsonl.lock"
    lock.touch()
    world.other_machine_writes(folder.name, ONE + TWO)
    for _ in range(2):
        now = world.reactor.seconds()
        os.utime(lock, (now, now))
        news = result_of(begin(world, directory)).news
        assert "entry 2" in news
        assert "entry 1" not in news
        assert (folder / "log.jsonl").read_text() == ONE
        world.reactor.advance(30)


def test_own_lines_are_no_news(world: World) -> None:
    """The plugin may write its last ones while a session begins."""
    directory, folder = app(world)
    world.agent.start()
    begin(world, directory)
    world.folder(folder.name, ONE)
    world.other_machine_writes(folder.name, TWO)
    world.syncing.holding = True
    begun = begin(world, directory)
    with (folder / "log.jsonl").open("a") as log:
        log.write(THREE)
    world.syncing.finish()
    news = result_of(begun).news
    assert [n for n in (1, 2, 3) if f"entry {n}" in news] == [2]


BRIEFING = '{"ts": "2026-02-04T14:00:00.000Z", "summary": "Mend the build"}'
TOLD = "## A briefing from another machine\n\nMend the build\n"


def leave(world: World, project: str) -> None:
    """Another machine leaves a briefing."""
    headers = {"X-Client-Id": "desk", "Content-Type": "text/plain", "If-None-Match": "*"}
    path = f"/projects/{project}/files/briefing.json"
    assert world.stub.ask("PUT", path, headers, BRIEFING).status == 200


def has_briefing(world: World, project: str) -> bool:
    """Whether the server has a briefing."""
    return world.stub.download("briefing.json", project, "looker").status == 200


def test_a_session_is_told_the_briefing_that_comes_as_it_begins(world: World) -> None:
    """Before all else, and once: it is gone here and on the server."""
    directory, folder = app(world)
    world.agent.start()
    leave(world, folder.name)
    world.other_machine_writes(folder.name, ONE)
    told = result_of(begin(world, directory))
    assert told.news.startswith(f"{TOLD}\n## New from your other machines\n")
    assert not (folder / "briefing.json").exists()
    assert not has_briefing(world, folder.name)
    assert TOLD not in result_of(begin(world, directory)).news


def test_a_briefing_that_was_here_before_is_left_to_the_plugin(world: World) -> None:
    """Which has looked, or is about to."""
    directory, folder = app(world)
    world.agent.start()
    leave(world, folder.name)
    world.folder(folder.name, ONE)
    world.turn_until((folder / "briefing.json").exists)
    assert result_of(begin(world, directory)) == Told()
    assert (folder / "briefing.json").exists()
    assert has_briefing(world, folder.name)


def test_a_briefing_is_told_though_the_server_does_not_answer_any_more(world: World) -> None:
    """The next step removes it from the server."""
    directory, folder = app(world)
    world.agent.start()
    leave(world, folder.name)
    world.syncing.holding = True
    begun = begin(world, directory)
    world.syncing.step()
    world.reactor.advance(KNOWN_TROUBLE_SECONDS)
    assert result_of(begun).news == TOLD
    assert has_briefing(world, folder.name)
    world.syncing.finish()
    world.turn_until(lambda: not has_briefing(world, folder.name))


def test_a_briefing_that_comes_late_keeps_a_session_no_longer_than_its_time(world: World) -> None:
    """For a hook that has ended, a briefing would be told to nobody."""
    directory, folder = app(world)
    world.agent.start()
    leave(world, folder.name)
    world.syncing.holding = True
    begun = begin(world, directory, 2.0)
    world.reactor.advance(1.95)
    world.syncing.step()
    world.reactor.advance(0.05)
    assert result_of(begun).news == TOLD


def test_a_session_that_begins_sends_what_waits(world: World) -> None:
    """At once, with what is fetched merged in; its own lines are no news."""
    directory, folder = app(world)
    world.agent.start()
    world.other_machine_writes(folder.name, TWO)
    world.folder(folder.name, ONE)
    told = result_of(begin(world, directory))
    assert "entry 2" in told.news
    assert "entry 1" not in told.news
    assert world.on_server(folder.name) == ONE + TWO


def test_a_slow_server_keeps_a_session_for_two_seconds(world: World) -> None:
    """The sync goes on, and does its work afterwards."""
    directory, folder = app(world)
    world.agent.start()
    world.settle()
    world.other_machine_writes(folder.name, ONE)
    world.syncing.holding = True
    begun = begin(world, directory)
    world.reactor.advance(1.9)
    assert waits(begun)
    world.reactor.advance(0.2)
    told = result_of(begun)
    assert (told.news, told.problem) == ("", f"The server at {URL} did not answer within 2 s")
    world.syncing.finish()
    assert (folder / "log.jsonl").read_text() == ONE


def test_a_server_that_is_known_to_be_away_costs_a_session_a_moment(world: World) -> None:
    """Its absence is told; a server that is back is used."""
    directory, _ = app(world)
    world.agent.start()
    world.line.is_cut = True
    problem = result_of(begin(world, directory)).problem
    assert problem == f"The server at {URL} cannot be reached: connection refused"
    world.syncing.holding = True
    begun = begin(world, directory)
    world.reactor.advance(KNOWN_TROUBLE_SECONDS + 0.01)
    assert result_of(begun).problem == problem
    world.syncing.holding = False
    world.syncing.finish()
    world.line.is_cut = False
    assert result_of(begin(world, directory)) == Told()


def test_a_stopped_process_in_a_folder_is_no_word_against_the_server(world: World) -> None:
    """Sessions are told of the process; other projects wait for the server as ever."""
    directory, folder = app(world)
    other = world.home / "lib"
    other.mkdir()
    world.agent.start()
    world.settle()
    with Folder(folder, ProjectId("any")).step():
        problem = result_of(begin(world, directory)).problem
        assert "Another mneme process" in (problem or "")
        world.syncing.holding = True
        begun = begin(world, directory)
        world.reactor.advance(KNOWN_TROUBLE_SECONDS)
        assert result_of(begun).problem == problem
    begun = begin(world, other)
    world.reactor.advance(KNOWN_TROUBLE_SECONDS)
    assert waits(begun)


def test_the_end_of_a_session_sends_its_last_lines(world: World) -> None:
    """Without waiting for quiet."""
    directory, folder = app(world)
    world.agent.start()
    begin(world, directory)
    world.folder(folder.name, ONE)
    ended = Deferred.fromCoroutine(world.agent.session_ends(directory, 10))
    world.reactor.advance(0)
    assert result_of(ended) == Told()
    assert world.on_server(folder.name) == ONE


@pytest.mark.parametrize("switch", ["MNEME_DISABLED", "excludePatterns"])
def test_a_session_that_the_plugin_leaves_alone_is_left_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    """Nothing is pulled, pushed or made."""
    directory, folder = app(world)
    if switch == "MNEME_DISABLED":
        monkeypatch.setenv(switch, "1")
    else:
        (world.home / ".claude-mneme/config.json").write_text(f'{{"excludePatterns": ["{directory}"]}}')
    world.agent.start()
    world.requests()
    assert result_of(begin(world, directory)) == Told()
    assert result_of(Deferred.fromCoroutine(world.agent.session_ends(directory, 10))) == Told()
    assert not folder.exists()
    assert world.requests() == []


def test_hooks_are_answered_by_name(world: World) -> None:
    """With the news and the problem, as JSON; trouble with a folder is a sentence."""
    directory, folder = app(world)
    world.agent.start()
    world.other_machine_writes(folder.name, ONE)
    begun = Deferred.fromCoroutine(
        _awaited(world.agent.questions["session-start"](Request("session-start", str(directory), 2)))
    )
    world.reactor.advance(0)
    assert "entry 1" in result_of(begun)["news"]
    long = Path("/" + "/".join(["x" * 200] * 3))
    answer = world.agent.questions["session-end"](Request("session-end", str(long), 2))
    told = result_of(_awaited(answer))
    assert told["news"] == ""
    assert "512" in told["problem"]


# Status and end


def test_the_status_tells_what_waits_and_why(kept: World) -> None:
    """For another machine's lock, and for a server that is away."""
    kept.stub.acquire("desk", project="-app")
    (kept.projects / "-app/log.jsonl").write_text(ONE + TWO)
    kept.settle()
    assert kept.status()[0] == {
        "project": "-app",
        "inStep": False,
        "problem": None,
        "waiting": {"log.jsonl": "kept"},
    }
    kept.event("-lib", 9)
    kept.event("-app", 1)
    kept.settle()
    assert kept.status()[0]["waiting"] == {"log.jsonl": "kept"}
    kept.line.is_cut = True
    kept.ready()
    kept.settle()
    assert "cannot be reached" in kept.status()[1]["problem"]
    assert not kept.status()[1]["inStep"]


def test_a_lock_that_becomes_free_is_heard_of_by_files_that_wait_for_it(kept: World) -> None:
    """The server here does not merge, so that the agent sends its upload again."""
    kept.stub.store.merging = Merging(enabled=False)
    kept.stub.acquire("desk", project="-app")
    (kept.projects / "-app/log.jsonl").write_text(ONE + TWO)
    kept.settle()
    assert kept.status()[0]["waiting"] == {"log.jsonl": "kept"}
    kept.stub.release("desk", project="-app")
    kept.event("-app", None, "lock", None)
    kept.settle()
    assert kept.on_server("-app") == ONE + TWO
    assert kept.status()[0]["inStep"]


def test_a_stop_waits_for_a_sync(kept: World) -> None:
    """The upload is finished; nothing begins any more."""
    kept.syncing.holding = True
    (kept.projects / "-app/log.jsonl").write_text(ONE + TWO)
    kept.turn_until(lambda: len(kept.syncing))
    stopped = Deferred.fromCoroutine(kept.agent.stop())
    assert waits(stopped)
    kept.syncing.finish()
    result_of(stopped)
    assert kept.on_server("-app") == ONE + TWO
    kept.folder("-late", ONE)
    assert kept.reactor.inbox.empty()
