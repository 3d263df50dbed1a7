"""Requests to the server that a person makes, without this machine's client id."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from mneme.cli.run import CommandContext, run
from mneme.client import Client
from mneme.client.settings import address_in, load
from mneme.model import ClientId

T = TypeVar("T")

VISITOR = ClientId("mneme-restore")
"""The client id of a restore.

No machine has it, so that the server takes no machine to have the restored content.
"""


@asynccontextmanager
async def visitor_of(context: CommandContext, server: str | None, key: str | None) -> AsyncIterator[Client]:
    """A client of the server, without the id of this machine; raises `SettingsError`."""
    settings = await context.worker.run(lambda: load(context.settings_home, server, key))
    address = address_in(settings, context.settings_home)
    async with context.connect(address, VISITOR, settings.patience) as client:
        yield client


def ask(
    server: str | None,
    key: str | None,
    question: Callable[[Client], Coroutine[Any, Any, T]],
    *,
    patiently: bool = False,
) -> T:
    """Ask the server, and return the result of `question`; `patiently` as in `run`."""

    async def command(context: CommandContext) -> T:
        async with visitor_of(context, server, key) as client:
            return await question(client)

    return run(command, patiently=patiently)
