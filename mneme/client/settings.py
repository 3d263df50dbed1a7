"""The plugin's settings and client id on this machine."""

import secrets
import socket
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from mneme import durable
from mneme.client.errors import SettingsError
from mneme.client.exchange import Patience
from mneme.client.http import Address
from mneme.client.identity import Rules, checked, patterns_of
from mneme.client.jsonfile import Rewritten, an_object, rewrite
from mneme.errors import NOT_JSON, MnemeError
from mneme.merge import jsonvalues
from mneme.model import MAX_CLIENT_ID, ClientId

FOLDER = ".claude-mneme"
"""The plugin's folder, in the home directory."""

_MARK_LENGTH = 9
_LONGEST = 2**31 - 1
"""Milliseconds; a timer of the plugin can be no longer."""

_CUT_OFF = "Input data was truncated"
"""The message of msgspec for JSON without an end."""

_QUOTES = ("'", '"')

PRIVATE = 0o600
"""The mode of a file that holds a key."""

BY_GIT = "git"
_IDENTITIES = (BY_GIT, "path")

CONNECT = "mneme connect http://homeserver:3847"
EXAMPLE = '{"sync": {"serverUrl": "http://homeserver:3847", "apiKey": "the server\'s key"}}'


class SyncSection(msgspec.Struct, frozen=True, rename="camel"):
    """The `sync` section of the plugin's `config.json`."""

    enabled: bool = False
    server_url: str | None = None
    api_key: str | None = None
    ca_file: str | None = None
    project_id: str | None = None
    projects: dict[str, str] = {}
    identity: str | None = None
    timeout_ms: Annotated[int, msgspec.Meta(gt=0, le=_LONGEST)] = 10_000
    retries: Annotated[int, msgspec.Meta(ge=0)] = 3
    hook_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 2.0


class _Config(msgspec.Struct, frozen=True):
    sync: SyncSection = SyncSection()


class Settings(Struct, frozen=True):
    """Server address, timeouts and rules of project ids, as far as they are set.

    `plugin_syncs` is whether the plugin's own sync is on, too. `hook_seconds` is the longest time that the start of a
    session waits for the server.
    """

    address: Address | None
    rules: Rules
    patience: Patience
    plugin_syncs: bool
    hook_seconds: float = 2.0


def config_path(home: Path) -> Path:
    """The path of the plugin's settings."""
    return home / FOLDER / "config.json"


def load(home: Path | None, server: str | None = None, key: str | None = None) -> Settings:
    """The settings, overridden by `server` and `key`; raises `SettingsError`.

    A key belongs to its server: with another `server`, the key in the file is not shown to it. Without a home directory
    there is no file.
    """
    sync = _section(config_path(home)) if home else SyncSection()
    url = server or sync.server_url
    shown = key or (sync.api_key if _is_same(url, sync.server_url) else None)
    for text, name, option in ((url, "serverUrl", "--server"), (shown, "apiKey", "--key")):
        _refuse_quotes(text or "", f"sync.{name}, or {option},")
    return Settings(
        address=_address(home, url, shown or None, sync.ca_file) if url else None,
        rules=_rules(sync, home),
        patience=Patience(sync.timeout_ms / 1000, sync.retries),
        plugin_syncs=sync.enabled,
        hook_seconds=sync.hook_seconds,
    )


def with_server(settings: object, url: str, key: str | None) -> dict[str, object]:
    """Settings that name a server, with ids by git, and without the plugin's own sync.

    A key belongs to its server: that of another is left out. Raises `SettingsError` for other JSON.
    """
    whole = an_object(settings)
    sync = an_object(whole.get("sync", {}), '"sync" in it')
    is_same = _is_same(sync.get("serverUrl"), url)
    kept = {name: value for name, value in sync.items() if is_same or name != "apiKey"}
    ours = {"enabled": False, "serverUrl": url, "identity": sync.get("identity") or BY_GIT}
    return {**whole, "sync": {**kept, **ours, **({"apiKey": key} if key else {})}}


def connect(home: Path, url: str, key: str | None) -> Rewritten:
    """Put a server into the plugin's settings, which only this user can read then."""
    return rewrite(config_path(home), lambda settings: with_server(settings, url, key), PRIVATE)


def _address(home: Path | None, url: str, key: str | None, ca_file: str | None) -> Address:
    url = _checked_url(url)
    if not ca_file:
        return Address(url, key)
    _refuse_quotes(ca_file, "sync.caFile")
    in_home = ca_file.startswith("~/")
    path = home / ca_file[2:] if home and in_home else Path(ca_file)
    if not path.is_absolute():
        raise SettingsError("sync.caFile must be a whole path to a PEM file, from / or ~/ on")
    _check_authorities(path)
    return Address(url, key, path)


def _check_authorities(path: Path) -> None:
    """Check that a file has certificates; raises `SettingsError`."""
    import ssl

    try:
        path.read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise SettingsError(
            f"sync.caFile names {path}, which holds no certificate that can be read: it must be a PEM file, with "
            "-----BEGIN CERTIFICATE----- in it"
        ) from None
    except OSError as error:
        raise SettingsError(
            f"sync.caFile names {path}, which cannot be read: {error.strerror}; copy the server's certificate there"
        ) from None


def needed(home: Path | None) -> Path:
    """The home directory; raises `SettingsError` without one."""
    if home is None:
        raise SettingsError(
            "This user has no home directory, where the plugin keeps memory and settings: set HOME to the directory"
        )
    return home


def address_in(settings: Settings, home: Path | None) -> Address:
    """The address of the server; raises `SettingsError` if not set."""
    if settings.address is None:
        if home is None:
            raise SettingsError(
                "No server is set, and this user has no home directory with settings: give --server, or set HOME"
            )
        raise SettingsError(
            f"No server is set in {config_path(home)}: `{CONNECT}` connects this machine; or give --server"
        )
    return settings.address


def client_id(home: Path) -> ClientId:
    """The client id of this machine, `<hostname>-<8 hex>`, made once."""
    path = home / FOLDER / ".client-id"
    found = _read(path)
    if found is None or not found.strip():
        host = socket.gethostname()[: MAX_CLIENT_ID - _MARK_LENGTH] or "machine"
        try:
            durable.make_directory(path.parent)
            found = _kept(path, f"{host}-{secrets.token_hex(4)}".encode())
        except OSError as error:
            raise SettingsError(
                f"{path.parent} cannot be written, where the name of this machine is kept: {error.strerror}"
            ) from None
    try:
        return ClientId.parse(jsonvalues.unmarked(found).decode().strip())
    except (ValueError, MnemeError):
        raise SettingsError(
            f"{path} must hold a name for this machine of at most {MAX_CLIENT_ID} characters, in one line: "
            "remove it, and a new one is made"
        ) from None


def _kept(path: Path, content: bytes) -> bytes:
    """The client id at a path: `content`, or that of a process that was quicker."""
    staged = path.with_name(f"{path.name}.{secrets.token_hex(4)}{durable.TEMPORARY}")
    durable.write_new(staged, content + b"\n")
    try:
        durable.link(staged, path)
    except FileExistsError:
        found = _read(path)
        if found and found.strip():
            return found
        # A crash left the file empty.
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    durable.sync_directory(path.parent)
    return content


def _section(path: Path) -> SyncSection:
    content = _read(path)
    if content is None:
        return SyncSection()
    try:
        return msgspec.json.decode(jsonvalues.unmarked(content), type=_Config).sync
    except (*NOT_JSON, ValueError) as error:
        problem = "it is not complete JSON" if str(error) == _CUT_OFF else error
        raise SettingsError(f"{path} cannot be used: {problem}; what is needed of it is {EXAMPLE}") from None


def _read(path: Path) -> bytes | None:
    try:
        if path.exists() and not path.is_file():
            raise SettingsError(f"{path} cannot be read: it is no file")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None


def _is_same(url: object, other: object) -> bool:
    """Whether two addresses are written alike, but for slashes at the end."""
    return str(url or "").rstrip("/") == str(other or "").rstrip("/")


def _refuse_quotes(text: str, name: str) -> None:
    if len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES:
        raise SettingsError(f"{name} is in quotes: give the value itself, without quotes around it")


def _checked_url(url: str) -> str:
    if not _is_url(url):
        # The URL is not repeated: it may hold a password, or be a key pasted by mistake.
        raise SettingsError(
            "The server's address (sync.serverUrl, or --server) must look like http://homeserver:3847, or "
            "http://[::1]:3847 for an address of IPv6, in ASCII and without a user, a query or a fragment"
        )
    return url.rstrip("/")


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_host = bool(parts.scheme in ("http", "https") and parts.hostname and parts.port != 0)
    except ValueError:
        return False
    return has_host and "@" not in parts.netloc and all("!" <= c <= "~" and c not in "?#" for c in url)


def _rules(sync: SyncSection, home: Path | None) -> Rules:
    if sync.identity not in (None, "", *_IDENTITIES):
        raise SettingsError(f'sync.identity must be "git" or "path", and is {sync.identity!r}')
    return Rules(
        chosen=patterns_of(sync.projects, home),
        uses_remote=sync.identity == BY_GIT,
        one_for_all=checked(sync.project_id, "sync.projectId") if sync.project_id else None,
    )
