"""The `mneme` command."""

import signal
import sys


def main() -> None:
    """Run the command that the command line asks for."""
    # Ctrl-C during the imports shows no traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1:2] in (["session-start"], ["session-end"]):
        # A session waits for its hooks, so these import as little as they can.
        from mneme.cli import session

        session.main(sys.argv[1], sys.argv[0])
        return
    if sys.argv[1:] == ["session-late"]:
        from mneme.cli import sessionalone

        sessionalone.send_late()
        return
    from mneme.cli.commands import mneme

    mneme()
