"""The place of the agent's socket, for those who only ask it."""

import os
from pathlib import Path

from mneme.client.errors import SettingsError
from mneme.client.settings import FOLDER

SOCKET = ".mneme-agent.sock"
_LONGEST_PATH = 100
"""Most bytes in the path of a socket; systems take from 104 to 108."""


def socket_path(home: Path) -> Path:
    """The path of the agent's socket; raises `SettingsError` if it is too long."""
    path = home / FOLDER / SOCKET
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise SettingsError(
            f"{path} is too long a path for a socket: the agent cannot run for this home directory"
        )
    return path
