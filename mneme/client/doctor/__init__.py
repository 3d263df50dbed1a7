"""Checks of this machine's memory, its server and the network between, which change nothing.

It takes no lock, downloads nothing, and makes no project on the server. Here it may make the client id, no more.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from mneme.client.calls import Client
from mneme.client.doctor.findings import Finding, State, bad
from mneme.client.doctor.machine import (
    changes_finding,
    damage_findings,
    disk_findings,
    folder_finding,
    git_findings,
    largest_upload,
    removed_finding,
    settings_found,
    sync_findings,
)
from mneme.client.doctor.server import (
    ServerAnswers,
    lock_finding,
    project_findings,
    server_findings,
    two_places_findings,
    waiting_finding,
)
from mneme.client.errors import ClientError, SettingsError, TooLarge
from mneme.client.exchange import Patience
from mneme.client.folder import Folder
from mneme.client.http import Address
from mneme.client.identity import Rules
from mneme.client.localproject import LocalProject, local_project
from mneme.client.settings import FOLDER, Settings, client_id
from mneme.client.sync import is_removed_there
from mneme.errors import InvalidProjectId, MnemeError
from mneme.model import ClientId, ProjectId

_BUSY_SECONDS = 1.0
"""Seconds that the doctor waits for another process in the memory folder."""

_WORTH_TRYING = 256 * 1024
"""Bytes of the body with which the doctor tries a proxy; few proxies have a lower limit."""

Connect = Callable[[Address, ClientId, Patience], AbstractContextManager[Client]]


class Doctor(Struct, frozen=True):
    """The checks of a machine with the home directory `home`, for the project in `directory`.

    `connect` makes the client of a server.
    """

    monotonic: Callable[[], float]
    home: Path
    directory: Path
    connect: Connect

    def examine(self, server: str | None = None, key: str | None = None) -> tuple[Finding, ...]:
        """All findings; `server` and `key` replace those of the settings.

        Checks that a finding makes impossible are left out.
        """
        settings, of_settings = settings_found(self.home, server, key)
        findings = [of_settings]
        local: LocalProject | None = None
        try:
            rules = settings.rules if settings else Rules()
            local = local_project(self.directory, self.home, rules)
        except InvalidProjectId as problem:
            advice = "Give it an id: git config mneme.project NAME, or sync.projects in the settings"
            findings.append(
                bad("project-unusable", f"The path of this project is too long: {problem}", advice)
            )
        except SettingsError as problem:
            findings.append(bad("project-unusable", str(problem), "Mend it, or remove it"))
        answers: ServerAnswers | None = None
        if settings and settings.address and local:
            answers, of_server = self._of_server(settings, settings.address, local)
            findings += of_server
        findings += self._of_machine(settings, local, answers)
        return tuple(findings)

    def _of_server(
        self, settings: Settings, address: Address, local: LocalProject
    ) -> tuple[ServerAnswers | None, Sequence[Finding]]:
        try:
            machine = client_id(self.home)
        except (SettingsError, OSError) as problem:
            advice = f"See that {self.home / FOLDER} can be written, and what is in it"
            return None, [bad("machine-unnamed", f"This machine has no client id: {problem}", advice)]
        # A person waits for the answer, so nothing is tried twice.
        with self.connect(address, machine, replace(settings.patience, retries=0)) as client:
            answers = ask(client, self.monotonic, local.project)
            answers, of_limit = asked_about(client, answers, local.opened(patience=_BUSY_SECONDS))
        findings = [*server_findings(answers, address), *of_limit]
        if answers.projects is not None:
            findings += project_findings(local, answers.projects, at_home=local.root == self.home)
            findings += [] if answers.problem else [lock_finding(answers, local.project, machine)]
            findings.append(waiting_finding(answers.projects, machine))
            findings += two_places_findings(answers, local.project)
        return answers, findings

    def _of_machine(
        self, settings: Settings | None, local: LocalProject | None, answers: ServerAnswers | None
    ) -> list[Finding]:
        findings = [folder_finding("home-folder", self.home / FOLDER)]
        if local:
            of_folder = folder_finding("project-folder", local.folder)
            findings.append(of_folder)
            if settings and settings.address and of_folder.state is not State.BAD:
                folder = local.opened(patience=_BUSY_SECONDS)
                removed = answers.removed if answers else ()
                findings.append(changes_finding(folder, _heads(answers, local.project), removed))
                findings += [removed_finding(folder, removed)] if removed else []
                findings += damage_findings(folder)
                findings += disk_findings(folder)
        if settings and local:
            server_answers = answers is None or answers.is_serving
            findings += sync_findings(
                self.home, local.root, settings.plugin_syncs, server_answers=server_answers
            )
        return [*findings, *git_findings()]


def ask(client: Client, monotonic: Callable[[], float], project: ProjectId) -> ServerAnswers:
    """Answers of a server, up to the first request that fails."""
    answers = ServerAnswers()
    try:
        began = monotonic()
        health = client.health()
        answers = ServerAnswers(health, monotonic() - began, client.server_ahead)
        answers = replace(answers, projects=client.projects())
        answers = replace(answers, lock=client.lock(project))
        return replace(answers, status=client.status())
    except ClientError as problem:
        return replace(answers, problem=problem)


def asked_about(
    client: Client, answers: ServerAnswers, folder: Folder
) -> tuple[ServerAnswers, Sequence[Finding]]:
    """The answers with files that were removed on the server, and findings about a proxy."""
    if answers.problem:
        return answers, ()
    try:
        seen, heads = folder.look(), _heads(answers, folder.project) or {}
    except (OSError, MnemeError):
        # Another check tells of it.
        return answers, ()
    lacking = [file for file in seen if file.value not in heads]
    try:
        removed = [file for file in lacking if is_removed_there(client, folder.project, file, seen[file])]
    except ClientError as problem:
        return replace(answers, problem=problem), ()
    largest = largest_upload(seen.values())
    return replace(answers, removed=removed), list(limit_findings(client, folder.project, largest))


def limit_findings(client: Client, project: ProjectId, size: int) -> Iterator[Finding]:
    """A finding if a proxy does not take bodies of a size."""
    if size < _WORTH_TRYING:
        return
    try:
        client.try_size(project, size)
    except TooLarge as problem:
        if problem.by_proxy:
            yield bad(
                "body-limit-of-proxy",
                str(problem),
                "Set it in the proxy and have it read its configuration again; all smaller files are in step meanwhile",
            )
    except ClientError:
        # Whatever it is, the other checks tell it.
        return


def _heads(answers: ServerAnswers | None, project: ProjectId) -> dict[str, str] | None:
    """The digests of a project's heads; None if the server did not list projects."""
    if answers is None or answers.projects is None:
        return None
    known = answers.project(project)
    return {head.name: head.sha256 for head in known.files} if known else {}
