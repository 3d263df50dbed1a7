"""`agent` and `watch`: keep all projects in step, or one while a terminal is open."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import click

from mneme import homedir
from mneme.cli import output, session, wording
from mneme.cli.hooks import this_program
from mneme.cli.options import as_json, fail, server_options
from mneme.client import plugin, units
from mneme.client.errors import SettingsError
from mneme.client.localproject import working_directory
from mneme.client.settings import address_in, config_path, load, needed

_BAD_SETTINGS = 78
"""The exit status after which the service is not started again: EX_CONFIG of sysexits.h."""


@click.command(short_help="Keep all projects of this machine in step.")
@click.option("--install", "action", flag_value="install", help="Start it now, and whenever you log in.")
@click.option("--uninstall", "action", flag_value="uninstall", help="Stop it, and start it no more.")
@click.option("--status", "action", flag_value="status", help="Show what is in step, and what waits.")
@as_json
def agent(action: str | None, as_json: bool) -> None:
    """Keep all projects of this machine in step with the server, until it is ended.

    What changes here is sent within two seconds, what changes on the server is fetched. It goes on through outages,
    and answers the hooks of sessions. --install makes it a service of yours (systemd or launchd), without root.
    """
    home = needed(homedir.home())
    match action:
        case "status":
            _show_status(home, as_json)
        case "install":
            address_in(load(home), home)
            install(unit_here(home))
        case "uninstall":
            _uninstall(home)
        case _:
            try:
                _keeping().run_agent(home)
            except SettingsError as problem:
                output.warn(str(problem))
                sys.exit(_BAD_SETTINGS)


def unit_here(home: Path) -> units.Unit:
    """The service for the agent on this system; raises `SettingsError` where there is none."""
    program = this_program().path
    unit = units.unit_of(home, program)
    if unit is None:
        raise SettingsError(f"This system has neither systemd nor launchd: {_by_hand(program)}")
    return unit


def install(unit: units.Unit) -> None:
    """Start the agent as a service."""
    try:
        is_new = units.install(unit)
    except SettingsError as problem:
        # In a container, and after `su`, there is a systemctl, and nobody answers it.
        raise SettingsError(f"{problem}. Mend that, or {_by_hand(this_program().path)}") from None
    output.tell(
        f"{'The agent runs now, and whenever you log in' if is_new else 'The agent was installed already; it runs'}: "
        f"{unit.path}"
    )


def _by_hand(program: str) -> str:
    line = f"{program} agent >>~/.claude-mneme/mneme-agent.log 2>&1 &"
    return f"have it started when you log in, by this line in ~/.profile: {line}"


def _uninstall(home: Path) -> None:
    unit = units.unit_of(home, this_program().path)
    if unit and units.uninstall(unit):
        output.tell(f"The agent is stopped, and {unit.path} is removed")
    else:
        output.tell("The agent is not installed: nothing to do")


def _show_status(home: Path, as_json: bool) -> None:
    told: Any = session.ask(home, {"do": "status", "seconds": 5.0})
    if told is None:
        fail("No agent runs: `mneme agent --install` starts it", as_json)
    if told.get("problem"):
        fail(told["problem"], as_json)
    if as_json:
        output.print_json(told)
        return
    output.print_table(
        ("project", "state"),
        [(one["project"], wording.condition(one)) for one in told["projects"]],
        "No project has memory on this machine yet",
    )
    for link in told.get("links", ()):
        command = output.command_line("link", link["old"], link["new"])
        output.tell(f"{link['old']} and {link['new']} may be one project: {command} makes them one")


@click.command(short_help="Keep one project in step while it runs.")
@server_options
@as_json
def watch(server: str | None, key: str | None, as_json: bool) -> None:
    """Keep the project of the working directory in step until you end it.

    It goes on through restarts of the server and cuts of the network. Ctrl-C, SIGTERM and a closed terminal end it:
    then it pushes; a second Ctrl-C ends it at once. With --json it prints an object for each event, one a line.
    """
    home = needed(homedir.home())
    if why := plugin.why_off(str(working_directory()), config_path(home)):
        output.tell(f"Nothing is watched, for the plugin is off here: {why}")
        return
    _keeping().run_watch(home, server, key, as_json)


def _keeping() -> ModuleType:
    """The module that needs a reactor, imported late and without TLS."""
    if "OpenSSL" not in sys.modules:
        # Twisted would load it, and the client has TLS by the standard library: 12 MB that no agent needs.
        cast(dict[str, Any], sys.modules)["OpenSSL"] = None
    return import_module("mneme.cli.keeping")
