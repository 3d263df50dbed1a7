"""The `mneme` command."""

import signal
import sys
from contextlib import suppress

from mneme.readable import print_whatever_the_encoding


def main() -> None:
    """Run the command that the command line asks for."""
    print_whatever_the_encoding()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        # Ctrl-C during the imports shows no traceback. A shell has jobs in the background ignore it, and they go on to.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1:2] in (["session-start"], ["session-end"]):
        # A session waits for its hooks, so these import as little as they can.
        from mneme.cli import session

        session.main(sys.argv[1], sys.argv[0])
        return
    if sys.argv[1:] == ["session-late"]:
        from mneme.cli import sessionalone
        from mneme.errors import MnemeError

        # Nobody reads what it would say.
        with suppress(MnemeError, OSError):
            sessionalone.send_late()
        return
    from mneme.cli.commands import mneme

    mneme()
