"""The home directory of the user."""

import os
import pwd
from pathlib import Path


def home() -> Path | None:
    """The home directory of the user; None without one.

    This is HOME, if HOME is an absolute path. Else it is the entry in the list of users.
    """
    named = os.environ.get("HOME", "")
    if not named.startswith("/"):
        try:
            named = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            return None
    return Path(named) if named else None
