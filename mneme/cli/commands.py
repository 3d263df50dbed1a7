"""All commands, in the order in which they are needed."""

import click

from mneme import __version__
from mneme.cli import (
    comparing,
    data,
    doctor,
    history,
    hooks,
    restoring,
    serving,
    syncing,
    unlocking,
)


class InOrder(click.Group):
    """A group that lists its commands in the order in which they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See `click.Group`."""
        return list(self.commands)


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mneme", message="%(prog)s %(version)s")
def mneme() -> None:
    """Keep the memory of coding agents in step across your machines."""


for command in (
    *(syncing.pull, syncing.push, syncing.watch),
    *(hooks.hooks, doctor.doctor),
    *(serving.status, serving.projects, unlocking.unlock),
    *(history.history, history.show, comparing.diff, restoring.restore),
    *(data.verify, data.backup, data.restore_backup),
):
    mneme.add_command(command)
