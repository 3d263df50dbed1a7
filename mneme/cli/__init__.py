"""The `mneme` command."""

import signal


def main() -> None:
    """Run the command that the command line asks for."""
    # Ctrl-C during the imports shows no traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mneme.cli.commands import mneme

    mneme()
