"""All commands, in the order in which they are needed; each is imported late."""

from importlib import import_module

import click

from mneme import __version__

_MODULES = {
    "connect": "connecting",
    "agent": "agent",
    "pull": "syncing",
    "push": "syncing",
    "watch": "agent",
    "hooks": "hooks",
    "doctor": "doctor",
    "status": "serving",
    "projects": "serving",
    "link": "linking",
    "unlock": "unlocking",
    "history": "history",
    "show": "history",
    "diff": "comparing",
    "restore": "restoring",
    "rm": "removing",
    "verify": "data",
    "backup": "data",
    "restore-backup": "data",
}


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See `click.Group`."""
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See `click.Group`."""
        module = _MODULES.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(import_module(f"mneme.cli.{module}"), cmd_name.replace("-", "_"))
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mneme", message="%(prog)s %(version)s")
def mneme() -> None:
    """Keep the memory of coding agents in step across your machines."""
