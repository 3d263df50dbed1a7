"""The client of the server, for Twisted code.

`connected` gives a `Client`, which has a method for each call of the API. `Sync` keeps the memory of one project on
this machine, a `Folder`, in step with the server; a `Watch` does so for as long as it runs.
"""

from mneme.client.calls import Client, Download, Outdated, Unmodified
from mneme.client.connection import connected
from mneme.client.errors import (
    ClientError,
    KeyRefused,
    Refused,
    ServerTrouble,
    SettingsError,
    StrangeAnswer,
    Unreachable,
)
from mneme.client.exchange import Address, Exchange, Patience
from mneme.client.folder import Folder
from mneme.client.sync import Action, FileReport, Report, Sync
from mneme.client.watch import Event, Happened, Watch

__all__ = [
    "Action",
    "Address",
    "Client",
    "ClientError",
    "Download",
    "Event",
    "Exchange",
    "FileReport",
    "Folder",
    "Happened",
    "KeyRefused",
    "Outdated",
    "Patience",
    "Refused",
    "Report",
    "ServerTrouble",
    "SettingsError",
    "StrangeAnswer",
    "Sync",
    "Unmodified",
    "Unreachable",
    "Watch",
    "connected",
]
