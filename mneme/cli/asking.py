"""Requests of a person to the server, most of them without this machine's client id."""

import sys
from collections.abc import Callable
from typing import TypeVar

from mneme import homedir
from mneme.client.calls import Client
from mneme.client.connection import connected
from mneme.client.settings import address_in, client_id, load, needed
from mneme.model import ClientId

T = TypeVar("T")

VISITOR = ClientId("mneme-restore")
"""The client id of a restore.

No machine has it, so that the server takes no machine to have the restored content.
"""


def ask_as_machine(server: str | None, key: str | None, question: Callable[[Client], T]) -> T:
    """Ask the server as this machine, whose own locks are in no way then."""
    home = needed(homedir.home())
    settings = load(home, server, key)
    with connected(address_in(settings, home), client_id(home), settings.patience) as client:
        return question(client)


def ask(server: str | None, key: str | None, question: Callable[[Client], T]) -> T:
    """Ask the server, and return the result of `question`; raises `SettingsError`."""
    home = homedir.home()
    settings = load(home, server, key)
    with connected(address_in(settings, home), VISITOR, settings.patience) as client:
        return question(client)


def is_attended() -> bool:
    """Whether a person can be asked; stdin may be closed."""
    return bool(sys.stdin and sys.stdin.isatty())
