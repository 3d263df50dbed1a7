"""The `mneme` command."""

import signal


def main() -> None:
    """Run the command that the command line asks for."""
    # Whoever ends it while it is still being read gets no traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mneme.cli.commands import mneme

    mneme()
