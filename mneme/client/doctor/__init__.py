"""What is wrong with this machine's memory, its server, and the way between: looked at, and left as it is.

It takes no lock, downloads nothing, and makes no project on the server. Here it may make the client id, no more.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from attrs import evolve, frozen
from twisted.internet.interfaces import IReactorTime

from mneme.client.calls import Client
from mneme.client.doctor.findings import Finding, State, bad
from mneme.client.doctor.machine import (
    changes_finding,
    damage_findings,
    folder_finding,
    git_findings,
    settings_found,
    sync_findings,
)
from mneme.client.doctor.project import project_findings
from mneme.client.doctor.server import (
    Told,
    lock_finding,
    server_findings,
    two_places_findings,
    waiting_finding,
)
from mneme.client.errors import ClientError, SettingsError
from mneme.client.exchange import Address, Patience
from mneme.client.folder import Folder
from mneme.client.place import Place, place_of
from mneme.client.settings import FOLDER, Settings, client_id
from mneme.errors import InvalidProjectId
from mneme.model import ClientId, ProjectId
from mneme.work import Worker

Connect = Callable[[Address, ClientId, Patience], AbstractAsyncContextManager[Client]]


@frozen
class Doctor:
    """Looks at the machine of a person, whose `home` it is and who works in `directory`.

    `connect` makes the client of a server; blocking code runs on `worker`.
    """

    clock: IReactorTime
    worker: Worker
    home: Path
    directory: Path
    connect: Connect

    async def examine(self, server: str | None = None, key: str | None = None) -> tuple[Finding, ...]:
        """All findings, `server` and `key` in the place of what the settings say.

        What one finding makes impossible to look at is left out.
        """
        settings, of_settings = await self.worker.run(lambda: settings_found(self.home, server, key))
        findings = [of_settings]
        place: Place | None = None
        try:
            chosen = settings.project if settings else None
            place = await self.worker.run(lambda: place_of(self.directory, self.home, chosen))
        except InvalidProjectId as problem:
            findings.append(
                bad(
                    "project-unusable",
                    f"The path of this project is too long: {problem}",
                    "Set sync.projectId",
                )
            )
        told: Told | None = None
        if settings and settings.address and place:
            told, of_server = await self._of_server(settings, settings.address, place)
            findings += of_server
        findings += await self.worker.run(lambda: self._of_machine(settings, place, told))
        return tuple(findings)

    async def _of_server(
        self, settings: Settings, address: Address, place: Place
    ) -> tuple[Told | None, Sequence[Finding]]:
        try:
            machine = await self.worker.run(lambda: client_id(self.home))
        except (SettingsError, OSError) as problem:
            advice = f"See that {self.home / FOLDER} can be written, and what is in it"
            return None, [bad("machine-unnamed", f"This machine has no client id: {problem}", advice)]
        # Somebody waits for this, and wants to know how it is now: nothing is tried twice.
        async with self.connect(address, machine, evolve(settings.patience, retries=0)) as client:
            told = await ask(client, self.clock, place.project)
        findings = list(server_findings(told, address))
        if told.projects is not None:
            findings += project_findings(place, settings.project is not None, told.projects)
            findings += [] if told.problem else [lock_finding(told, place.project, machine)]
            findings.append(waiting_finding(told.projects, machine))
            findings += two_places_findings(told, place.project)
        return told, findings

    def _of_machine(self, settings: Settings | None, place: Place | None, told: Told | None) -> list[Finding]:
        findings = [folder_finding("home-folder", self.home / FOLDER)]
        if place:
            of_folder = folder_finding("project-folder", place.folder)
            findings.append(of_folder)
            if settings and settings.address and of_folder.state is not State.BAD:
                folder = Folder(place.folder, settings.address.url, place.project)
                findings.append(changes_finding(folder, _heads(told, place.project)))
                findings += damage_findings(folder)
        if settings and place:
            findings += sync_findings(self.home, place.root, settings.plugin_syncs)
        return [*findings, *git_findings()]


async def ask(client: Client, clock: IReactorTime, project: ProjectId) -> Told:
    """Ask a server what it can tell, up to the first thing that it does not."""
    told = Told()
    try:
        began = clock.seconds()
        health = await client.health()
        told = Told(health, clock.seconds() - began, client.server_ahead)
        told = evolve(told, projects=await client.projects())
        told = evolve(told, lock=await client.lock(project))
        return evolve(told, status=await client.status())
    except ClientError as problem:
        return evolve(told, problem=problem)


def _heads(told: Told | None, project: ProjectId) -> dict[str, str] | None:
    """The digests of what the server has of a project; None if it has not told."""
    if told is None or told.projects is None:
        return None
    known = told.project(project)
    return {head.name: head.sha256 for head in known.files} if known else {}
