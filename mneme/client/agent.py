"""The agent keeps all projects on this machine in step, and answers hooks and people."""

from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from twisted.internet import defer
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mneme.client import arrivals, plugin
from mneme.client.briefings import Briefings
from mneme.client.calls import Client
from mneme.client.control import Answer, Request
from mneme.client.files import FilesWatch
from mneme.client.folder import Folder, Marks, adopt, was_adopted
from mneme.client.happening import Happened, Happening, in_words
from mneme.client.identity import Origin, Rules, link_command, offered, twins
from mneme.client.keeper import Keeper
from mneme.client.listener import Heard
from mneme.client.localproject import LocalMemory, LocalProject, local_project, memory_of, project_root
from mneme.client.news import briefing, told
from mneme.client.settings import FOLDER, config_path
from mneme.client.sync import Report, Sync
from mneme.clocks import SleepingClock
from mneme.errors import MnemeError
from mneme.model import EventKind, ProjectId
from mneme.wire import WireEvent, WireProject
from mneme.work import Worker

T = TypeVar("T")

LOOK_EVERY = 60.0
"""Seconds between two looks at all folders, for changes of which the system did not tell."""

FIND_AFTER = 0.1
"""Seconds from a write in an unknown folder to a look at all folders."""

BUSY_SECONDS = 1.0
"""Seconds that a step waits for another process in its folder; the steps of other folders wait, too."""

KNOWN_TROUBLE_SECONDS = 0.3
"""Seconds that a session waits for a server that could not be reached lately."""

AWAY_SECONDS = 600.0
"""Seconds for which a server counts as such after it has kept a session waiting."""


class Told(Struct, frozen=True):
    """The answer to a hook: news for the session, and the problem, if any."""

    news: str = ""
    problem: str | None = None


class Source(Protocol):
    """A source of changes, which tells of them between its start and its stop."""

    def start(self) -> None:
        """Begin to tell."""
        ...

    def stop(self) -> None:
        """Tell no more."""
        ...


class Server(Struct, frozen=True):
    """The server of an agent: a client for questions, and a listener for changes."""

    client: Client
    rules: Rules
    listen: Callable[[Callable[[Heard], object]], Source]


class _Kept(Struct, frozen=True, eq=False):
    local: LocalMemory
    folder: Folder
    keeper: Keeper
    briefings: Briefings


class Agent:
    """The keepers of all folders, with a worker for syncs, and one for all else."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - it provides several interfaces
        wall: SleepingClock,
        syncing: Worker,
        helping: Worker,
        home: Path,
        server: Server,
        watch: Callable[[Path, Callable[[Path], object]], Source] = FilesWatch,
    ) -> None:
        """Set up an agent; `watch` makes the source of changes in a directory."""
        self._reactor = reactor
        self._wall = wall
        self._syncing = syncing
        self._helping = helping
        self._home = home
        self._server = server
        self._projects = home / FOLDER / "projects"
        self._kept: dict[Path, _Kept] = {}
        self._files = watch(self._projects, partial(reactor.callFromThread, self._changed))
        self._listener = server.listen(partial(reactor.callFromThread, self._heard))
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor
        self._marks: Mapping[Path, Marks] = {}
        """Marks of the files in each folder, at the last look."""
        self._finding: IDelayedCall | None = None
        self._is_stopped = False
        self._away_until = 0.0
        self._links: Sequence[tuple[ProjectId, ProjectId]] = ()
        """Pairs of ids that may be of one project: `mneme link` makes them one."""
        self._compared: Collection[ProjectId] = ()
        """The ids here, when they were last compared with those on the server."""
        self._there: Collection[frozenset[str]] = ()
        """The ids of each project on the server at that time."""

    def start(self) -> None:
        """Begin to keep all folders in step."""
        self._projects.mkdir(parents=True, exist_ok=True)
        try:
            self._files.start()
        except OSError:
            # Other programs may watch as many files as the system allows.
            self._log.failure("Changes here are seen once a minute only: the system tells of no more files")
        self._listener.start()
        self._looking.start(LOOK_EVERY)

    async def stop(self) -> None:
        """Stop, once running syncs have ended."""
        self._is_stopped = True
        self._files.stop()
        self._looking.stop()
        if self._finding and self._finding.active():
            self._finding.cancel()
        await gatherResults([kept.keeper.stop() for kept in self._kept.values()])
        await self._helping.run(self._listener.stop)

    # Sessions

    async def session_begins(self, directory: Path, seconds: float) -> Told:
        """Bring a directory's project in step, within `seconds`; the news since the session began."""
        began, until = self._wall.seconds(), self._reactor.seconds() + seconds
        kept = await self._kept_of(directory)
        if kept is None:
            return Told()
        waits = await self._helping.run(lambda: kept.briefings.is_waiting)
        is_away = kept.keeper.condition.problem or self._reactor.seconds() < self._away_until
        outcome = await self._in_step(kept.keeper, KNOWN_TROUBLE_SECONDS if is_away else seconds)
        since = partial(arrivals.since, kept.folder.path, began - arrivals.BEFORE, self._wall.seconds())
        # Whatever was here before, the plugin tells.
        briefed = "" if waits or outcome else await self._briefed(kept.briefings, until)
        return Told("\n".join(filter(None, (briefed, told(await self._helping.run(since))))), outcome)

    async def _briefed(self, briefings: Briefings, until: float) -> str:
        """The briefing that came while a session began, for that session, which waits `until` then."""
        left = until - self._reactor.seconds()
        if left <= 0:
            return ""
        try:
            content = await self._helping.run(partial(briefings.take, left))
        except (MnemeError, OSError):
            # It is told to the next session.
            return ""
        if content is None:
            return ""
        claim = self._syncing.run(partial(briefings.claim, content))
        try:
            wait = min(KNOWN_TROUBLE_SECONDS, max(0.0, until - self._reactor.seconds()))
            is_ours = await _waiting_for(claim).addTimeout(wait, self._reactor)
        except defer.TimeoutError:
            is_ours = True
        return briefing(content) if is_ours else ""

    async def session_ends(self, directory: Path, seconds: float) -> Told:
        """Have the plugin write what it still holds, and send it."""
        kept = await self._kept_of(directory)
        if kept is None:
            return Told()
        root = await self._helping.run(partial(project_root, directory))
        await self._helping.run(partial(plugin.flush, self._home, root))
        return Told(problem=await self._in_step(kept.keeper, seconds))

    @property
    def questions(self) -> Mapping[str, Answer]:
        """The questions that hooks and people ask, by name."""
        return {
            "session-start": lambda request: self._hook(self.session_begins, request),
            "session-end": lambda request: self._hook(self.session_ends, request),
            "status": self._status,
        }

    async def _hook(
        self, act: Callable[[Path, float], Coroutine[Any, Any, Told]], request: Request
    ) -> Mapping[str, str | None]:
        try:
            told = await act(Path(request.cwd), request.seconds)
        except MnemeError as problem:
            told = Told(problem=str(problem))
        return {"news": told.news, "problem": told.problem}

    async def _status(self, _request: Request) -> Mapping[str, object]:
        """The condition of each folder, and ids that may be of one project."""
        return {
            "projects": [_told(kept) for _, kept in sorted(self._kept.items())],
            "links": [{"old": old.value, "new": new.value} for old, new in self._links],
        }

    async def _kept_of(self, directory: Path) -> _Kept | None:
        """The keeper of the project of a directory; None where the plugin is off."""
        why = await self._helping.run(partial(plugin.why_off, str(directory), config_path(self._home)))
        if why:
            return None
        local = await self._helping.run(partial(local_project, directory, self._home, self._server.rules))
        await self._helping.run(partial(adopt, local.folder))
        self._keep(local)
        return self._kept.get(local.folder)

    async def _in_step(self, keeper: Keeper, seconds: float) -> str | None:
        """The problem of a run within some seconds; None if it ended well."""
        run = keeper.in_step().addCallback(self._reached)
        try:
            await _waiting_for(run).addTimeout(seconds, self._reactor)
        except defer.TimeoutError:
            known = keeper.condition.problem
            if known:
                # Perhaps it is not the server that keeps it waiting.
                return known
            self._away_until = self._reactor.seconds() + AWAY_SECONDS
            return f"The server at {self._server.client.url} did not answer within {seconds:g} s"
        except MnemeError as problem:
            return str(problem)
        return None

    def _reached(self, report: T) -> T:
        """Take note of a run that has ended, perhaps late."""
        self._away_until = 0.0
        return report

    # Changes

    def _changed(self, path: Path) -> None:
        """Take note of a file that was written in the folder at `path`."""
        kept = self._kept.get(path)
        if kept:
            kept.keeper.changed_here()
        elif path.parent == self._projects and not (self._finding and self._finding.active()):
            self._finding = self._reactor.callLater(FIND_AFTER, self._find_soon)

    def _heard(self, heard: Heard) -> None:
        """Take note of a change on the server."""
        event = heard.event
        if event and frozenset(event.ids) not in self._there:
            # A new project, or a new name of one.
            self._compared = ()
        for kept in tuple(self._kept.values()):
            if event is None:
                kept.keeper.server_is_back()
            elif any(map(heard.concerns, kept.local.ids)) and not _is_known(kept.keeper, event):
                kept.keeper.changed_there()

    async def _look(self) -> None:
        """Look for folders and changes of which the system did not tell."""
        await self._find()
        kept = dict(self._kept)
        marks = await self._helping.run(lambda: {path: one.folder.marks() for path, one in kept.items()})
        for path in marks:
            if path in self._kept and marks[path] != self._marks.get(path):
                self._kept[path].keeper.changed_here()
        self._marks = marks
        if self._ids() != self._compared:
            Deferred.fromCoroutine(self._compare()).addErrback(
                lambda failure: self._log.failure("Could not compare ids", failure)
            )

    def _find_soon(self) -> None:
        Deferred.fromCoroutine(self._find())

    async def _find(self) -> None:
        """Keep the folders that are there, and no others."""
        before = set(self._kept)
        try:
            found = await self._helping.run(self._folders)
        except OSError:
            self._log.failure("Could not look at the projects in {path}", path=self._projects)
            return
        for path in before - found:
            self._kept.pop(path).keeper.stop()
        for local in await self._helping.run(partial(self._locals, found - before)):
            self._keep(local)

    def _folders(self) -> set[Path]:
        patterns = [pattern.replace("/", "-") for pattern in plugin.excluded(config_path(self._home))]
        return {
            path
            for path in self._projects.iterdir()
            # An older plugin named folders otherwise, and renames them.
            if path.name.startswith("-") and path.is_dir() and not any(one in path.name for one in patterns)
        }

    def _locals(self, paths: Iterable[Path]) -> Sequence[LocalMemory]:
        """The memories in folders, those that are to be kept."""
        found = []
        for path in paths:
            try:
                local = memory_of(path, self._server.rules)
            except MnemeError as problem:
                self._log.warn("{path} is not kept in step: {problem}", path=path, problem=problem)
                continue
            # With one id for all, a folder without a session so far is another project perhaps.
            if local.origin is not Origin.ONE_FOR_ALL or was_adopted(path):
                found.append(local)
        return found

    def _keep(self, local: LocalMemory) -> None:
        """Begin to keep a folder in step, or to do so under another id."""
        path = local.folder
        before = self._kept.get(path)
        if self._is_stopped or not path.name.startswith("-"):
            return
        if before and before.local.project == local.project:
            return
        if before:
            before.keeper.stop()
        folder = local.opened(self._wall, BUSY_SECONDS)
        sync = Sync(self._server.client, self._wall, folder)
        keeper = Keeper(
            self._reactor, self._syncing, partial(_step, sync, path), partial(self._tell, local.project)
        )
        self._kept[path] = _Kept(local, folder, keeper, sync.briefings)
        keeper.changed_here()

    # Ids

    def _ids(self) -> Collection[ProjectId]:
        return {one for kept in self._kept.values() for one in kept.local.ids}

    async def _compare(self) -> None:
        """Find ids here and on the server that may be of one project."""
        self._compared = self._ids()
        here = [kept.local for kept in self._kept.values() if isinstance(kept.local, LocalProject)]
        try:
            projects = await self._syncing.run(self._server.client.projects)
        except MnemeError:
            self._compared = ()
            return
        self._there = {frozenset(one.ids) for one in projects}
        links = list(_pairs(here, self._compared, projects))
        for old, new in links:
            if (old, new) not in self._links:
                self._log.info(
                    "{old} and {new} may be one project: `{command}` makes them one",
                    old=old,
                    new=new,
                    command=link_command(old, new),
                )
        self._links = links

    def _tell(self, project: ProjectId, happening: Happening) -> None:
        match happening:
            case Happening(Happened.TROUBLE, _, problem):
                self._log.warn("{project}: {problem}", project=project.value, problem=problem)
            case Happening(Happened.RECOVERED):
                self._log.info("{project}: in step again", project=project.value)
            case Happening(Happened.SYNCED, report) if report:
                self._log.info("{project}: {done}", project=project.value, done=in_words(report))


def _told(kept: _Kept) -> Mapping[str, object]:
    condition = kept.keeper.condition
    return {
        "project": kept.local.project.value,
        "inStep": condition.is_in_step,
        "problem": condition.problem,
        "waiting": condition.waiting,
    }


def _pairs(
    here: Iterable[LocalProject], ours: Collection[ProjectId], projects: Iterable[WireProject]
) -> Iterator[tuple[ProjectId, ProjectId]]:
    """Ids here and on the server that may be of one project."""
    others = [[ProjectId(one) for one in project.ids] for project in projects]
    strangers = [ids for ids in others if not set(ids) & set(ours)]
    for local in here:
        for ids in strangers:
            if twins(local.project, local.root, ids):
                yield offered(local.project, ids[0])


def _is_known(keeper: Keeper, event: WireEvent) -> bool:
    """Whether an event tells a keeper nothing that a file waits for or lacks."""
    if event.kind == EventKind.LOCK.value:
        return event.lock is not None or not keeper.waits_for_lock
    return keeper.has(event.file, event.version)


def _waiting_for(run: "Deferred[T]") -> "Deferred[T]":
    """A Deferred with the outcome of another, which goes on if this one is cancelled."""
    waiter: Deferred[T] = Deferred()

    def settle(outcome: T | Failure) -> None:
        if not waiter.called:
            waiter.callback(outcome)

    run.addBoth(settle)
    return waiter


def _step(sync: Sync, path: Path) -> Report:
    """A step of a folder; nothing where a person has removed it."""
    return sync.step() if path.is_dir() else Report(sync.project)
