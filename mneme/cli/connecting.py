"""`connect`: a machine joins a server."""

import sys
from pathlib import Path

import click
from msgspec.structs import replace

from mneme import homedir
from mneme.cli import agent as agents
from mneme.cli import doctor, output, session
from mneme.cli.asking import VISITOR, is_attended
from mneme.cli.hooks import left_in, tell_hooks, this_program
from mneme.cli.options import as_json
from mneme.client import units
from mneme.client.calls import Client
from mneme.client.connection import connected
from mneme.client.doctor.server import trouble_finding
from mneme.client.errors import ClientError, KeyRefused, Refused, SettingsError
from mneme.client.folder import was_adopted
from mneme.client.hooks import install, settings_path, with_hooks
from mneme.client.http import Address
from mneme.client.jsonfile import Rewritten, read
from mneme.client.localproject import memory_of
from mneme.client.settings import FOLDER, Settings, address_in, client_id, load, needed
from mneme.client.settings import connect as write_settings
from mneme.client.sync import Sync
from mneme.clocks import TimeOfDay
from mneme.errors import MnemeError
from mneme.model import ProjectId

_AGENT_SECONDS = 5.0
"""Seconds that an agent has to begin to answer."""


@click.command(short_help="Connect this machine to a server.")
@click.argument("url")
@click.option(
    "--key-stdin", is_flag=True, help="Read the server's API key from stdin, and do not ask for it."
)
@click.option(
    "--agent",
    "with_agent",
    is_flag=True,
    help="Start the agent, too, now and whenever you log in.",
)
@as_json
def connect(url: str, key_stdin: bool, with_agent: bool, as_json: bool) -> None:
    """Connect this machine to the server at URL, such as http://homeserver:3847.

    Asks for the API key if the server wants one, and tries it. Then puts both into the plugin's settings, has
    projects go by their git remotes, turns off the plugin's own sync, whose place mneme takes, and installs the hooks.
    Ends with what the doctor finds. To connect again changes nothing.
    """
    home = needed(homedir.home())
    # Whatever can fail does so before anything is written.
    unit = _unit(home) if with_agent else None
    found = read(settings_path(home))
    with_hooks(found[1] if found else {}, this_program())
    before = load(home, url, None)
    address = _admitted(home, url, before, _key_from_stdin() if key_stdin else None)
    written = write_settings(home, address.url, address.key)
    _tell_settings(written, address, before)
    hooks = install(settings_path(home), this_program())
    tell_hooks(hooks)
    for warning in left_in(hooks, "install"):
        output.warn(warning)
    linked = _join(home)
    trouble = _start(home, unit) if unit else None
    findings = doctor.examined()
    if as_json:
        output.print_json(
            {
                "settings": str(written.path),
                "changed": written.is_changed,
                "backup": str(written.backup) if written.backup else None,
                "hooks": hooks.change.value,
                "linked": [{"old": old.value, "new": new.value} for old, new in linked],
                "findings": findings,
            }
        )
    else:
        doctor.show(findings)
    if trouble:
        # Last, for "All is well" is not the end of it.
        output.warn(trouble)
    sys.exit(1 if trouble else doctor.status_of(findings))


def _unit(home: Path) -> units.Unit:
    try:
        return agents.unit_here(home)
    except SettingsError as problem:
        raise SettingsError(f"Nothing was changed: leave out --agent. {problem}") from None


def _key_from_stdin() -> str:
    key = sys.stdin.readline().strip() if sys.stdin else ""
    if not key:
        raise SettingsError("No key came on stdin, and nothing was changed: write it there, in one line")
    return key


def _admitted(home: Path, url: str, settings: Settings, key: str | None) -> Address:
    """The server's address with a key that it takes; raises `SettingsError`."""
    address = replace(address_in(settings, home), key=key or address_in(settings, home).key)
    if _is_admitted(address, settings):
        return address
    if key or not is_attended():
        why = "does not know this API key" if address.key else "wants an API key"
        how = "" if is_attended() else f", on stdin: {output.command_line('connect', url, '--key-stdin')}"
        raise SettingsError(
            f"The server at {address.url} {why}, and nothing was changed: give one of the apiKeys in the server's "
            f"config.json{how}"
        )
    asked = click.prompt("API key, one of the apiKeys in the server's config.json", hide_input=True, err=True)
    return _admitted(home, url, load(home, url, asked), asked)


def _is_admitted(address: Address, settings: Settings) -> bool:
    """Whether the server takes the key; raises `SettingsError` if there is no mneme server."""
    try:
        with connected(address, VISITOR, replace(settings.patience, retries=0)) as client:
            _check_is_server(client, address)
            client.projects()
    except KeyRefused:
        return False
    except Refused:
        raise SettingsError(
            f"The server at {address.url} has no list of projects, and nothing was changed: it is the Node server, or "
            "older than this mneme. Run a mneme server of this version in its place: it takes over the memory there"
        ) from None
    except ClientError as problem:
        trouble = trouble_finding(problem, address)
        raise SettingsError(f"{trouble.found}. Nothing was changed. {trouble.advice}") from None
    return True


def _check_is_server(client: Client, address: Address) -> None:
    """Check that a server answers at this very address; raises `SettingsError`."""
    try:
        client.health()
    except Refused as problem:
        raise SettingsError(
            f"There is no mneme server at {address.url} ({problem}), and nothing was changed: see that the address is "
            "right, and what comes after the host in it, too"
        ) from None


def _tell_settings(written: Rewritten, address: Address, before: Settings) -> None:
    if not written.is_changed:
        output.tell(f"{written.path} names the server at {address.url} already: nothing to do")
        return
    output.tell(f"The server at {address.url} is in {written.path} now")
    if written.backup:
        output.tell(f"What it held before is in {written.backup}")
    if before.plugin_syncs:
        output.tell("The plugin's own sync is off now: mneme takes its place")


def _join(home: Path) -> list[tuple[ProjectId, ProjectId]]:
    """Link the ids by path of folders here to the ids by their remotes."""
    settings, linked = load(home), []
    with connected(address_in(settings, home), client_id(home), settings.patience) as client:
        for folder in filter(was_adopted, sorted((home / FOLDER / "projects").glob("-*"))):
            try:
                memory = memory_of(folder, settings.rules)
                old = Sync(client, TimeOfDay(), memory.opened()).join() if memory.path_id else None
            except (MnemeError, OSError) as problem:
                # The next sync of the folder tries again.
                output.warn(f"{folder.name} is not linked yet: {output.sentence_of(problem)}")
                continue
            if old:
                output.tell(f"{old.value} is another name of {memory.project.value} from now on")
                linked.append((old, memory.project))
    return linked


def _start(home: Path, unit: units.Unit) -> str | None:
    """Start the agent, and wait until it answers; the sentence of what went wrong."""
    try:
        agents.install(unit)
    except SettingsError as problem:
        return str(problem)
    wall = TimeOfDay()
    until = wall.seconds() + _AGENT_SECONDS
    while session.ask(home, {"do": "status", "seconds": 1.0}) is None and wall.seconds() < until:
        wall.sleep(0.1)
    return None
