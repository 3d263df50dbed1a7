"""Checks of a server, and of a project on it, by its answers. Pure."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from mneme import times, wire
from mneme.client.doctor.findings import Finding, bad, doubtful, good
from mneme.client.errors import ClientError, KeyRefused, Refused, ServerTrouble, Unreachable, Untrusted
from mneme.client.http import Address
from mneme.client.identity import Origin, link_command, offered, twins
from mneme.client.localproject import LocalProject
from mneme.model import ClientId, FileName, Lock, ProjectId
from mneme.readable import span

_SLOW_SECONDS = 1.0
_APART_SECONDS = 5.0
_SHOWN = 5
IN_TWO_PLACES = (
    "Nothing was lost, both memories were merged. If two folders of that machine share this id, remove sync.projectId "
    "from its settings, so that each has its own. If the machine was cloned, remove ~/.claude-mneme/.client-id on one"
)


class ServerAnswers(Struct, frozen=True):
    """Answers of a server up to the first failed request, which is `problem`.

    `seconds` is how long its first answer took, `ahead` by how many seconds its clock is ahead of this machine's.
    """

    health: wire.Health | None = None
    seconds: float = 0.0
    ahead: float | None = None
    projects: Sequence[wire.WireProject] | None = None
    lock: Lock | None = None
    status: wire.Status | None = None
    problem: ClientError | None = None
    removed: Sequence[FileName] = ()
    """Files that were removed there, and are as they were on this machine."""

    @property
    def is_serving(self) -> bool:
        """Whether the server answers requests of this machine, perhaps as an older server."""
        return self.problem is None or isinstance(self.problem, Refused)

    def project(self, project: ProjectId) -> wire.WireProject | None:
        """A project as the server listed it."""
        return wire.named(project, self.projects or ())


def server_findings(answers: ServerAnswers, address: Address) -> Iterator[Finding]:
    """Checks of the server: reachable, of this version, key accepted, clock right."""
    if answers.health is None:
        yield trouble_finding(answers.problem, address)
        return
    yield _reached(answers.health, answers.seconds, address)
    yield _clocks(answers.ahead)
    if answers.projects is not None:
        yield good("server-speaks", "It is a mneme server that speaks as this client needs")
        yield _key(answers.health)
    elif isinstance(answers.problem, Refused):
        yield bad(
            "server-node",
            "It has no list of projects, and so is the Node server, or a mneme server older than this client",
            "Run a mneme server of this version in its place: it takes over the memory that is there",
        )
        return
    if answers.problem:
        yield trouble_finding(answers.problem, address)


def project_findings(
    local: LocalProject, projects: Sequence[wire.WireProject], *, at_home: bool
) -> Iterator[Finding]:
    """Whether the server knows the project, and perhaps by other ids, too.

    `at_home` says that its root is the home directory, where a person types commands that are for no project.
    """
    mine = local.project
    origin = f"the path {local.root}" if local.origin is Origin.PATH else local.origin.value
    found = f"The project is {mine.value}, from {origin}"
    known = wire.named(mine, projects)
    others = [one for one in projects if one is not known]
    same = [
        ProjectId(one.id) for one in others if twins(mine, local.root, [ProjectId(name) for name in one.ids])
    ]
    if known:
        knows = "knows it" if known.id == mine.value else f"knows it as another name of {known.id}"
        yield good("project-known", f"{found}, and the server {knows}")
    elif at_home:
        yield good(
            "project-at-home",
            f"This is the home directory, and no project that the server knows ({mine.value})",
            "To see how a project is, run mneme doctor in its directory",
        )
    elif same or not others:
        yield good("project-new", f"{found}: the server does not know it yet, the first push brings it there")
    else:
        yield doubtful(
            "project-unknown",
            f"{found}, and the server does not know it; it knows {_listed([ProjectId(one.id) for one in others])}",
            "If it is new, nothing: the first push brings it there. If it is one of these, make that one memory: "
            f"`{link_command(mine, ProjectId('THAT-ID'))}`",
        )
    if same:
        commands = ", or ".join(f"`{link_command(*offered(mine, one))}`" for one in same[:_SHOWN])
        yield doubtful(
            "project-twins",
            f"The server knows a project of this name by other ids: {_listed(same)}",
            f"If it is the same project, make them one memory: {commands}",
        )


def lock_finding(answers: ServerAnswers, project: ProjectId, machine: ClientId) -> Finding:
    """The holder of the lock of a project."""
    lock = answers.lock
    if lock is None:
        return good("lock-free", f"Nobody holds the lock of {project.value}")
    when = times.span_to_local_text(lock.acquired_at, lock.expires_at)
    if lock.client == machine:
        return good("lock-ours", f"This machine holds the lock of {project.value}, {when}")
    return doubtful(
        "lock-taken",
        f"{lock.client.value} holds the lock of {project.value}, {when}",
        "Nothing to do while a session runs there: what is pushed meanwhile is kept, and merged when the lock is free",
    )


def waiting_finding(projects: Sequence[wire.WireProject], machine: ClientId) -> Finding:
    """Uploads of this machine that the server has kept and is yet to merge."""
    waiting = [
        f"{one.file} of {project.id}"
        for project in projects
        for one in project.waiting
        if one.client_id == machine.value
    ]
    if not waiting:
        return good("uploads-merged", "No upload of this machine waits to be merged")
    return doubtful(
        "uploads-waiting",
        f"Uploads of this machine wait to be merged: {', '.join(waiting)}",
        "Nothing to do: the server has them, and merges each when nobody holds the lock of its project",
    )


def two_places_findings(answers: ServerAnswers, project: ProjectId) -> Iterator[Finding]:
    """Clients that seem to use the id of a project in two places."""
    known = answers.project(project)
    for one in answers.status.in_two_places if answers.status else ():
        if known and one.project == known.id:
            when = times.text_to_local_text(one.time)
            yield doubtful(
                "id-in-two-places",
                f"{one.client_id} seems to use the id {one.project} in two places: its {one.file} of {when} had "
                "nothing in common with what it had before",
                IN_TWO_PLACES,
            )


def _reached(health: wire.Health, seconds: float, address: Address) -> Finding:
    found = f"The server at {address.url} answers in {round(seconds * 1000)} ms, and is of version {health.version}"
    if seconds <= _SLOW_SECONDS:
        return good("server-reachable", found)
    return doubtful(
        "server-slow", found, "That is slow: see how busy the server is, and the network in between"
    )


def _clocks(ahead: float | None) -> Finding:
    if ahead is None:
        return doubtful(
            "clocks-unknown",
            "The server does not say what its clock shows",
            "See whether a proxy in between removes the header Date",
        )
    apart = round(abs(ahead))
    if not apart:
        return good("clocks-agree", "The clocks of this machine and of the server agree to the second")
    found = f"The clock of the server is {span(apart)} {'ahead of' if ahead > 0 else 'behind'} this machine's"
    if abs(ahead) <= _APART_SECONDS:
        return good("clocks-agree", found)
    return doubtful(
        "clocks-apart",
        found,
        "Set the clocks of all machines by NTP: mneme compares none, but the plugin's own sync goes by them, "
        "and takes an older file for a newer one",
    )


def _key(health: wire.Health) -> Finding:
    if health.auth_required:
        return good("key-right", "The API key is right")
    return good("key-not-needed", "The server wants no API key")


def trouble_finding(problem: ClientError | None, address: Address) -> Finding:
    """A check that failed, by its request."""
    if isinstance(problem, Untrusted):
        return bad(
            "certificate-untrusted",
            str(problem),
            "Copy the server's certificate (cert.pem) to this machine, and put its path into sync.caFile; where it is "
            "there already, see that it is the one which the server has now, and that its time is not over",
        )
    if isinstance(problem, Unreachable):
        return bad(
            "server-unreachable",
            str(problem),
            "See that the server runs and that this is its address; one that has no API keys is reached from its "
            "own machine only",
        )
    if isinstance(problem, KeyRefused):
        return _no_entry(address)
    if isinstance(problem, ServerTrouble):
        return bad("server-trouble", str(problem), "Look into the log of the server, then try again")
    return bad("server-strange", str(problem), f"Look at what answers there: curl {address.url}/health")


def _no_entry(address: Address) -> Finding:
    if address.key is None:
        return bad(
            "key-missing",
            "The server wants an API key, and none is set",
            f"It is one of the apiKeys in the server's config.json; this asks for it: mneme connect {address.url}",
        )
    return bad(
        "key-wrong",
        "The server does not know the API key that is set",
        f"It is one of the apiKeys in the server's config.json; this asks for it: mneme connect {address.url}",
    )


def _listed(projects: Sequence[ProjectId]) -> str:
    shown = ", ".join(project.value for project in projects[:_SHOWN])
    more = len(projects) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
