"""`verify`: the server's data is read through, and what is damaged is named."""

import sys
from collections.abc import Sequence

import click

from mneme.cli import output
from mneme.cli.local import data_options, loaded
from mneme.cli.options import as_json
from mneme.readable import counted, plain


@click.command()
@data_options
@as_json
def verify(data_dir: str | None, config_file: str | None, as_json: bool) -> None:
    """Look for damage in the server's data.

    The database, each content in it against its digest, and the plain files of the heads. The server may run.
    Nothing is changed; the status is 1 if something is damaged.
    """
    from mneme.store import backup
    from mneme.store.sqlite import NAME
    from mneme.store.verifying import verify as verified

    config = loaded(data_dir, config_file).config
    with output.progress() as show:
        findings = list(verified(config.data_dir, lambda done, all_: show(f"{done} of {all_} contents")))
    damages = [one.sentence for one in findings if one.is_damage]
    others = [one.sentence for one in findings if not one.is_damage]
    if as_json:
        output.print_json({"damaged": damages, "differing": others})
    else:
        _print([*damages, *others])
        _sum_up(str(config.data_dir), damages, others)
        if damages:
            output.warn(f"Stop the server first. {backup.way_back(config.data_dir / NAME, config.backups)}")
    sys.exit(1 if damages else 0)


def _print(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        click.echo(plain(sentence))


def _sum_up(directory: str, damages: Sequence[str], others: Sequence[str]) -> None:
    if damages:
        output.warn(f"{directory} is damaged ({counted(len(damages), 'finding')})")
    elif others:
        output.tell(f"{directory} is whole ({counted(len(others), 'difference')}, which can be)")
    else:
        output.tell(f"{directory} is whole")
