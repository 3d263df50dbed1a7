"""Requests to the server that a person makes, without this machine's client id."""

from collections.abc import Callable
from typing import TypeVar

from mneme import homedir
from mneme.client.calls import Client
from mneme.client.connection import connected
from mneme.client.settings import address_in, load
from mneme.model import ClientId

T = TypeVar("T")

VISITOR = ClientId("mneme-restore")
"""The client id of a restore.

No machine has it, so that the server takes no machine to have the restored content.
"""


def ask(server: str | None, key: str | None, question: Callable[[Client], T]) -> T:
    """Ask the server, and return the result of `question`; raises `SettingsError`."""
    home = homedir.home()
    settings = load(home, server, key)
    with connected(address_in(settings, home), VISITOR, settings.patience) as client:
        return question(client)
