"""The configuration: a frozen `Config`, which `load` builds from four layers.

The layers are: defaults < config.json < environment < command line.

All layers pass the same checks (`_checked`), even where a higher layer overrides them. An error is one sentence. It
says where the error is, for which key, and which value is expected. It never repeats the value: an API key pasted into
the wrong place must not end up in a log.
"""

from __future__ import annotations

import codecs
import difflib
import os
import re
import shlex
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, cast, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from mneme.errors import MnemeError
from mneme.model import Merging, Millis
from mneme.retention import Retention


class ConfigError(MnemeError):
    """A configuration that cannot be used. The sentence is for its author."""


def _at_commas(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


# Each type has the values that a key may have, and their description for error messages.
_NAME = r"\A[^\s\x00-\x1f\x7f]+\Z"
_ORIGIN = r"\A(?:\*|[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?)\Z"
_Switch = Annotated[bool, Meta(description="true or false")]
# `~name` is refused. Only `~` is expanded, and a directory with the name `~name` would surprise the user.
_PathText = Annotated[
    str,
    Meta(pattern=r"\A(?:~(?:/|\Z)|[^~\0])[^\0]*\Z", description="a path, with ~/ for the home directory"),
]
_Port = Annotated[int, Meta(ge=0, le=65535, description="a whole number from 0 to 65535")]
_Host = Annotated[str, Meta(pattern=_NAME, description="a host name or an IP address")]
_Endpoint = Annotated[
    str,
    Meta(
        pattern=r"\A[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*\Z",
        description="a Twisted endpoint string such as tcp:3847",
    ),
]
_Secret = Annotated[
    str, Meta(pattern=r"\A[!-~]+\Z", description="printable ASCII without spaces, and not empty")
]
_Origin = Annotated[str, Meta(pattern=_ORIGIN, description='"*" or scheme://host[:port], lower case')]
_Proxy = Annotated[
    str, Meta(pattern=_NAME, description="an IP address, a network such as 10.0.0.0/8, or unix")
]
_Minutes = Annotated[
    float, Meta(gt=0, le=365 * 24 * 60, description="a number over 0, at most 525600 (a year)")
]
# More than a hundred million has no effect as a limit; 0 is the clear way to say so.
_Limit = Annotated[int, Meta(ge=0, le=100_000_000, description="a whole number from 0 (off) to 100000000")]
# A body is held in memory, several times while it is parsed. More than 1 GiB is a mistake in the unit.
_BodyBytes = Annotated[int, Meta(ge=1, le=1024**3, description="a whole number from 1 to 1073741824 (1 GiB)")]
_Hours = Annotated[float, Meta(ge=0, le=100 * 365 * 24, description="a number from 0 to 876000 (100 years)")]
_Days = Annotated[float, Meta(ge=0, le=100 * 365, description="a number from 0 to 36500 (100 years)")]
_Backups = Annotated[int, Meta(ge=0, le=10_000, description="a whole number from 0 (no backups) to 10000")]
# No disk is larger than that. More is a mistake in the unit, too.
_DiskBytes = Annotated[
    int,
    Meta(ge=0, le=1024**5, description="a whole number from 0 (no bound) to 1125899906842624 (1 PiB)"),
]

_QUOTES = ("'", '"')
# Variables of a shell ($HOME, ${HOME}, $(pwd)), systemd (%h) and Windows (%HOME%), which nobody has expanded here.
_UNEXPANDED = re.compile(r"\$[A-Za-z_{(]|%[A-Za-z_]+%|%[A-Za-z](?![A-Za-z0-9])")


class _Key(Struct, frozen=True, eq=False, kw_only=True):
    """A configuration key with the schema of its value.

    `split` is for lists: it splits the text of an environment variable into items. Then the schema is that of an item.
    `section` is the object in the file that has the key, empty for the top level.
    """

    field: str
    name: str
    schema: Any
    split: Callable[[str], list[str]] | None = None
    section: str = ""

    @property
    def expected(self) -> str:
        return str(self.schema.__metadata__[0].description)

    @property
    def full_name(self) -> str:
        return f"{self.name} of {self.section}" if self.section else self.name

    @property
    def variable(self) -> str:
        return f"MNEME_{self.field.upper()}"

    @property
    def option(self) -> str:
        return f"--{self.field.replace('_', '-')}"


class Config(Struct, frozen=True, kw_only=True):
    """The settings of the server. The values are checked by `load`, not by the class.

    The keys of config.json are the same names in camelCase. The fields with `history_` are in an object `history`, and
    the fields with `backup_` in an object `backup`.
    """

    port: _Port = 3847
    """The TCP port, 0 for any free one."""
    host: _Host | None = None
    """The name or address to listen on; None if none was given."""
    listen: tuple[_Endpoint, ...] = ()
    """Twisted endpoint strings to listen on."""
    data_dir: Path
    """The data directory. `~` is replaced by the home directory; a relative path stays relative."""
    api_keys: tuple[_Secret, ...] = ()
    """The API keys that clients may use. Without keys, clients need none."""
    lock_ttl_minutes: _Minutes = 30.0
    """Life time of a lock in minutes. Fractions are allowed."""
    allowed_origins: tuple[_Origin, ...] = ()
    """Web origins that may call the API from a browser, in lower case, or `*`."""
    rate_limit_per_minute: _Limit = 1200
    """Most requests a minute for each API key, or for each address without keys. 0 is no limit."""
    trusted_proxies: tuple[_Proxy, ...] = ()
    """The reverse proxies whose headers are trusted to name the client's address."""
    max_connections_per_address: _Limit = 64
    """Most connections of one address at a time. 0 is no limit other than that on all connections."""
    max_body_bytes: _BodyBytes = 10 * 1024 * 1024
    """The largest request body, in bytes."""
    merge: _Switch = True
    """Whether uploads that were not made from the head are merged with it."""
    stock_push_help: _Switch = True
    """Whether the server helps the stock client's push, so that it does not lose uploads of other machines."""
    working_copy: _Switch = True
    """Whether heads and locks are also exported as plain files into the data directory."""
    history_keep_all_hours: _Hours = 48.0
    """All versions younger than this stay, in hours. Fractions are allowed here and in the days."""
    history_keep_daily_days: _Days = 30.0
    """The newest version of a file on each day stays for this time, in days."""
    history_keep_weekly_days: _Days = 365.0
    """Days for which the newest version of a file in each week stays."""
    history_max_bytes_per_project: _DiskBytes = 1024**3
    """Largest size of a project's history in bytes. 0 is no limit."""
    backup_dir: Path | None = None
    """Directory of the daily backups; None for `backups` in the data directory."""
    backup_keep: _Backups = 7
    """Number of daily backups that stay. With 0, none are made."""

    def __repr__(self) -> str:
        """The class alone, for a key is in no log."""
        return "Config(…)"

    @property
    def backups(self) -> Path:
        """The directory of the daily backups."""
        return self.backup_dir or self.data_dir / "backups"

    @property
    def lock_ttl_ms(self) -> int:
        """Life time of a lock in whole milliseconds, at least 1."""
        return max(1, round(self.lock_ttl_minutes * 60_000))

    @property
    def merging(self) -> Merging:
        """The settings for merges."""
        return Merging(self.merge, self.max_body_bytes)

    @property
    def retention(self) -> Retention:
        """The settings for the pruner."""
        return Retention(
            keep_all=Millis(round(self.history_keep_all_hours * _HOUR_MS)),
            keep_daily=Millis(round(self.history_keep_daily_days * 24 * _HOUR_MS)),
            keep_weekly=Millis(round(self.history_keep_weekly_days * 24 * _HOUR_MS)),
            max_bytes=self.history_max_bytes_per_project,
        )


_NO_HOME = "This user has no home directory (HOME is no whole path, and the list of users has no entry)"
_HOUR_MS = 60 * 60 * 1000
_SECTION_NAMES = ("history", "backup")


def _key(field: str, hint: Any) -> _Key:  # noqa: ANN401 - a type of any form
    """The key for a field of `Config` with this type."""
    inner = get_args(hint)
    is_list = Ellipsis in inner
    schema = inner[0] if is_list or NoneType in inner else hint
    words = field.split("_")
    section = words.pop(0) if words[0] in _SECTION_NAMES else ""
    capitals = ("TTL" if word == "ttl" else word.title() for word in words[1:])
    return _Key(
        field=field,
        name="".join((words[0], *capitals)),
        schema=_PathText if schema is Path else schema,
        split=(str.split if field == "listen" else _at_commas) if is_list else None,
        section=section,
    )


_KEYS = tuple(_key(*one) for one in get_type_hints(Config, include_extras=True).items())
_IN_FILE = {key.name: key for key in _KEYS if not key.section}
_SECTIONS = {
    section: {key.name: key for key in _KEYS if key.section == section} for section in _SECTION_NAMES
}
_JSON_LIST = re.compile(r"""\A\[\s*["'].*["']\s*\]\Z""", re.DOTALL)
_HOST, _API_KEYS = _IN_FILE["host"], _IN_FILE["apiKeys"]
_FIXED = tuple(_IN_FILE[name] for name in ("port", "host", "listen", "dataDir", "workingCopy"))
_CONFIG = _Key(field="config", name="config", schema=_PathText)
_IN_ENVIRONMENT = {key.variable: key for key in (*_KEYS, _CONFIG)}
# There is no option for API keys: `ps` shows the options of every process to all users.
_OPTIONS = {key.name: key for key in (*_FIXED, _CONFIG)}


class Loaded(Struct, frozen=True):
    """A configuration with its warnings and the path of its file.

    `warnings` are sentences for the log. `path` is the config file, and `found` is whether it exists. The path is None
    if no file was named and there is no home directory.
    """

    config: Config
    warnings: tuple[str, ...]
    path: Path | None
    found: bool = False

    @property
    def file(self) -> Path | None:
        """The config file, if it exists."""
        return self.path if self.found else None


def load(
    command_line: Mapping[str, str | list[str]], environ: Mapping[str, str], home: Path | None
) -> Loaded:
    """Build the configuration from the config file, the `MNEME_*` variables and the command line.

    `command_line` has the given options as text, under `port`, `host`, `listen`, `dataDir` and `config`. An empty list
    counts as not given. `home` replaces `~`. The default config file is `.mneme-server/config.json` in `home`, and may
    be missing. A file named by `config` or `MNEME_CONFIG` must exist. Only that file is read, and nothing is written.
    Without a `home`, the data directory must be given.

    Raises `ConfigError`.
    """
    warnings = list(_unknown_variables(environ))
    options = _checked(_command_line(command_line))
    variables = _checked(_environment(environ))
    named = options.pop(_CONFIG.field, variables.pop(_CONFIG.field, None))
    path, of_file, found = _config_file(named, home, warnings)
    values = {**of_file, **variables, **options}
    if home is None and "data_dir" not in values:
        raise ConfigError(
            f"{_NO_HOME}: give the data directory with --data-dir or {_IN_FILE['dataDir'].variable}"
        )
    values.setdefault("data_dir", "~/.mneme-server")
    config = msgspec.convert(values, Config, dec_hook=lambda _, text: _expanded(text, home))
    warnings += _short_keys(config)
    if named is None:
        warnings += _unused_file(config.data_dir.absolute() / "config.json", path, found)
    return Loaded(config, tuple(warnings), path, found)


def _config_file(
    named: object, home: Path | None, warnings: list[str]
) -> tuple[Path | None, dict[str, object], bool]:
    """Read the config file: its path, its values, and whether it exists.

    Warnings are added to `warnings`.
    """
    if named is not None:
        path = _expanded(str(named), home)
    elif home is not None:
        path = home / ".mneme-server" / "config.json"
    else:
        return None, {}, False
    document, mode = _read(path, required=named is not None)
    warnings += _file_warnings(path, document, mode)
    return path, _checked(_file(path, document)), bool(mode)


def changes_needing_restart(old: Config, new: Config) -> tuple[str, ...]:
    """The changed keys that need a restart, by their names in the file."""
    return tuple(key.name for key in _FIXED if getattr(old, key.field) != getattr(new, key.field))


def refuse_reload(old: Config, new: Config) -> str | None:
    """Return the reason why a running server must not change to `new`; None without one.

    Addresses are bound at the start. If the keys were removed later, the network could use the server without a key.
    """
    if old.api_keys and not new.api_keys:
        return "apiKeys is gone, and a running server does not drop authentication: restart it to do so"
    return None


class _Layer(Struct, frozen=True):
    """A layer of the configuration: the raw value of each key, and its source.

    `source` names the source of a key in messages. `strict` is False if numbers come as text.
    """

    given: Mapping[_Key, object]
    source: Callable[[_Key], str]
    strict: bool

    def __repr__(self) -> str:
        """The class alone, for a key is in no log."""
        return "_Layer(…)"


def _file(path: Path, document: Mapping[str, object]) -> _Layer:
    """The layer of the file. Only `"host": null` is allowed as null: not given."""
    top = {key: document[name] for name, key in _IN_FILE.items() if name in document}
    nested = {
        key: raw
        for section, keys in _SECTIONS.items()
        for name, raw in _section(path, document, section).items()
        if (key := keys.get(name))
    }
    given = {key: raw for key, raw in (top | nested).items() if not (key is _HOST and raw is None)}
    return _Layer(given, lambda _: str(path), strict=True)


def _section(path: Path, document: Mapping[str, object], name: str) -> Mapping[str, object]:
    section = document.get(name, {})
    if not isinstance(section, dict):
        raise _refused(f"{path}: {name}", section, "an object")
    return section


def _environment(environ: Mapping[str, str]) -> _Layer:
    """The layer of the environment. An empty variable counts as not set.

    An empty variable for API keys is an error: it must not switch authentication off.
    """
    texts = {key: environ[name].strip() for name, key in _IN_ENVIRONMENT.items() if name in environ}
    for key, text in texts.items():
        _refuse_quotes(f"environment variable {key.variable}", text, key)
        if key.split and _JSON_LIST.match(text):
            raise ConfigError(
                f"environment variable {key.variable} is a list as in the file: give its items alone, "
                f"with {'spaces' if key.split is str.split else 'commas'} between them"
            )
    if texts.get(_API_KEYS) == "":
        raise ConfigError(f"environment variable {_API_KEYS.variable} is empty: unset it, or give keys")
    given = {key: key.split(text) if key.split else text for key, text in texts.items() if text}
    return _Layer(given, lambda key: f"environment variable {key.variable}", strict=False)


def _command_line(options: Mapping[str, str | list[str]]) -> _Layer:
    """The layer of the command line; a repeatable option is a list or a text."""
    for name in options:
        if name not in _OPTIONS:
            raise ConfigError(f"{name} is no option: set it in the file or in the environment")
    named = {_OPTIONS[name]: raw for name, raw in options.items() if raw != []}
    given = {key: [raw] if key.split and isinstance(raw, str) else raw for key, raw in named.items()}
    return _Layer(given, lambda key: f"option {key.option}", strict=False)


def _checked(layer: _Layer) -> dict[str, object]:
    """Turn a layer's raw values into values for the fields of `Config`."""
    return {key.field: _value(key, raw, layer) for key, raw in layer.given.items()}


def _value(key: _Key, raw: object, layer: _Layer) -> object:
    source = layer.source(key)
    if key.split is None:
        return _converted(f"{source}: {key.full_name}", raw, key, layer.strict)
    if not isinstance(raw, list):
        raise _refused(f"{source}: {key.full_name}", raw, "an array of strings")
    return tuple(
        _converted(f"{source}: item {position} of {key.full_name}", item, key, layer.strict)
        for position, item in enumerate(raw, start=1)
    )


def _converted(what: str, raw: object, key: _Key, strict: bool) -> object:
    if isinstance(raw, str):
        _refuse_quotes(what, raw, key)
        if key.schema is _PathText and _UNEXPANDED.search(raw):
            raise ConfigError(
                f"{what} holds a $ or % that nobody has filled in: give the path itself, or ~/ for the home directory"
            )
    try:
        value: object = msgspec.convert(raw, key.schema, strict=strict)
        if key.schema is _Proxy and value != "unix":
            ip_network(cast(str, value), strict=False)
    except (
        msgspec.ValidationError,
        ValueError,
    ):  # ValueError for text from the environment that is not UTF-8
        # A value from the command line or the environment is always text, so its type says nothing.
        raise (
            _refused(what, raw, key.expected) if strict else ConfigError(f"{what} must be {key.expected}")
        ) from None
    return value


def _refuse_quotes(what: str, text: str, key: _Key) -> None:
    """Raise `ConfigError` for a text in quotes: some env files do not remove them.

    An API key may begin or end with a quote by chance, so it is refused only if it does both.
    """
    first, last = text[:1] in _QUOTES, text[-1:] in _QUOTES
    if text and (len(text) > 1 and first and last if key is _API_KEYS else first or last):
        raise ConfigError(
            f"{what} begins or ends with a quote: give the value itself, without quotes around it"
        )


def _refused(what: str, raw: object, expected: str) -> ConfigError:
    return ConfigError(f"{what} must be {expected}, not {_kind(raw)}")


def _kind(raw: object) -> str:
    """Name the type of a JSON value; the value itself may be a secret key."""
    match raw:
        case None:
            return "null"
        case "":
            return "an empty string"
        case bool():
            return "this boolean"
        case str():
            return "this string"
        case int() | float():
            return "this number"
        case list():
            return "this array"
        case _:
            return "this object"


def _expanded(text: str, home: Path | None) -> Path:
    if not text.startswith("~"):
        return Path(text)
    if home is None:
        raise ConfigError(f"{_NO_HOME}, so ~/ has no meaning: give the whole path")
    return home / text[1:].lstrip("/")


def _read(path: Path, required: bool) -> tuple[Mapping[str, object], int]:
    """Read the file: its top-level object and its mode bits.

    A missing file counts as empty, with mode 0, unless it is required.
    """
    try:
        with path.open("rb") as file:
            raw, mode = file.read(), os.fstat(file.fileno()).st_mode
    except FileNotFoundError:
        if required:
            raise ConfigError(f"{path}: there is no such file") from None
        return {}, 0
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    document = _parsed(path, raw)
    if not isinstance(document, dict):
        raise _refused(f"{path}: the top level", document, "an object")
    return document, mode


def _parsed(path: Path, raw: bytes) -> object:
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8") from None
    try:
        # With this hook a number too large for a float becomes inf. The check of its key refuses that, with its name.
        return msgspec.json.Decoder(object, float_hook=float).decode(text)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: {_syntax_error(raw, str(error))}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None


def _syntax_error(raw: bytes, message: str) -> str:
    """Turn msgspec's message into one with line and column.

    Its own position is in bytes. Without a position, the error is at the end of the file.
    """
    found = re.search(r" \(byte (\d+)\)", message)
    before = raw[: int(found[1])] if found else raw
    line, start = before.count(b"\n") + 1, before.rfind(b"\n") + 1
    column = len(before[start:].decode(errors="replace")) + 1
    return f"line {line}, column {column}: {message[: found.start()] if found else message}"


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    ours = [name for name in environ if name.upper().startswith("MNEME_")]
    return _unknown("environment variable", ours, _IN_ENVIRONMENT, _API_KEYS.variable)


def _file_warnings(path: Path, document: Mapping[str, object], mode: int) -> Iterator[str]:
    yield from _unknown(f"{path}:", document, (*_IN_FILE, *_SECTIONS), _API_KEYS.name)
    for section, keys in _SECTIONS.items():
        inside, outside = f"{path}: in {section}", f"{_API_KEYS.name} outside {section}"
        yield from _unknown(inside, _section(path, document, section), keys, outside)
    if document.get(_API_KEYS.name) and mode & (stat.S_IRGRP | stat.S_IROTH):
        yield f"{path}: holds apiKeys and other users can read it: chmod 600 it"


def _unused_file(beside: Path, path: Path | None, found: bool) -> Iterator[str]:
    """Warn of a config file in the data directory that is not in use."""
    # If the directory cannot be read, the start of the server says so.
    with suppress(OSError):
        if beside.is_file() and not (found and path and beside.samefile(path)):
            used = f"the settings are from {path}" if found else "no config file is used"
            option = f"--config {shlex.quote(str(beside))}"
            yield f"{beside} is not read: {used}. Start the server with {option} to use it, or remove it"


def _short_keys(config: Config) -> Iterator[str]:
    for position, key in enumerate(config.api_keys, start=1):
        if len(key) < 16:
            yield f"item {position} of apiKeys is shorter than 16 characters and can be guessed"


_ABOUT_KEYS = re.compile("key|token|secret|auth|passw")


def _unknown(source: str, names: Iterable[str], known: Collection[str], keys: str) -> Iterator[str]:
    """Warn of each unknown name, with the most similar known one.

    Raises `ConfigError` for a name that may have meant the API keys; `keys` is their right name. A typo must never turn
    authentication off.
    """
    folded = {_folded(name): name for name in known} | {_folded(_API_KEYS.name): keys}
    for name in names:
        if name in known:
            continue
        nearest = [folded[near] for near in difflib.get_close_matches(_folded(name), folded, n=1)]
        # "allowedKeys" is most similar to allowedOrigins, "token" to nothing. Both may be meant as API keys.
        if nearest == [keys] or _ABOUT_KEYS.search(_folded(name)):
            raise ConfigError(f"{source} {name!r} is unknown: write {keys} if it was meant, else remove it")
        hint = f"did you mean {nearest[0]}?" if nearest else f"the known ones are {', '.join(known)}"
        yield f"{source} {name!r} is unknown and ignored: {hint}"


def _folded(name: str) -> str:
    """Return a name in lower case, without separators and prefix, for comparison."""
    return re.sub("[^a-z0-9]", "", name.lower().removeprefix("mneme_"))
