"""Configuration: its layers, the values of each key, and the sentences about wrong ones."""

from __future__ import annotations

import codecs
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mneme.config import Config, ConfigError, Loaded, changes_needing_restart, load, refuse_reload
from mneme.model import Merging, Millis
from mneme.retention import Retention

HOUR = 60 * 60 * 1000
KEY = "a-key-of-more-than-16-characters"
OTHER = "another-key-of-more-than-16-characters"
Options = str | list[str]


class House:
    """A home directory, and a way to write and load its config file."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.file = home / ".mneme-server" / "config.json"
        self.default = Config(data_dir=home / ".mneme-server")

    def write(self, content: object, path: Path | None = None) -> Path:
        """Write a config file for its owner alone: bytes, or a value as JSON."""
        path = path or self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        path.chmod(0o600)
        return path

    def write_key(self, section: str, key: str, raw: object) -> None:
        """Write a config file with a single key, in a section or at the top."""
        self.write({section: {key: raw}} if section else {key: raw})

    def load(self, environ: Mapping[str, str] | None = None, **options: Options) -> Loaded:
        """Load what is here."""
        return load(options, environ or {}, self.home)

    def config(self, environ: Mapping[str, str] | None = None, **options: Options) -> Config:
        """Load what is here, for the configuration alone."""
        return self.load(environ, **options).config

    def error(self, environ: Mapping[str, str] | None = None, **options: Options) -> str:
        """The sentence with which loading fails; it never has a key."""
        with pytest.raises(ConfigError) as caught:
            self.load(environ, **options)
        assert KEY not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A home directory without a config file."""
    return House(tmp_path)


def test_defaults_need_no_file(house: House) -> None:
    """Without any layer, the documented defaults hold, and nothing is created."""
    loaded = house.load()
    assert loaded == Loaded(house.default, (), house.file)
    assert (loaded.config.port, loaded.config.lock_ttl_ms) == (3847, 1_800_000)
    assert (loaded.config.rate_limit_per_minute, loaded.config.max_body_bytes) == (1200, 10_485_760)
    assert (loaded.config.merging, loaded.config.stock_push_help) == (Merging(True, 10_485_760), True)
    assert loaded.config.retention == Retention(
        Millis(48 * HOUR), Millis(30 * 24 * HOUR), Millis(365 * 24 * HOUR), 1024**3
    )
    assert list(house.home.iterdir()) == []


SETTINGS: list[tuple[str, str, str, Any, str, Any]] = [
    ("", "port", "port", 0, " 0 ", 0),
    ("", "host", "host", "null", "null", "null"),
    ("", "listen", "listen", ["tcp:80", "unix:/a,b"], "tcp:80  unix:/a,b", ("tcp:80", "unix:/a,b")),
    ("", "dataDir", "data_dir", "/srv/memory", "/srv/memory", Path("/srv/memory")),
    ("", "apiKeys", "api_keys", [KEY, OTHER], f"{KEY}, {OTHER}", (KEY, OTHER)),
    ("", "lockTTLMinutes", "lock_ttl_minutes", 0.5, "0.5", 0.5),
    ("", "allowedOrigins", "allowed_origins", ["http://[::1]:8"], "http://[::1]:8", ("http://[::1]:8",)),
    ("", "allowedOrigins", "allowed_origins", ["*", "app://b"], "*,app://b", ("*", "app://b")),
    ("", "rateLimitPerMinute", "rate_limit_per_minute", 0, "0", 0),
    ("", "trustedProxies", "trusted_proxies", ["10.1.2.3/8"], "10.1.2.3/8", ("10.1.2.3/8",)),
    ("", "trustedProxies", "trusted_proxies", ["::1", "unix"], "::1, unix", ("::1", "unix")),
    ("", "maxConnectionsPerAddress", "max_connections_per_address", 0, "0", 0),
    ("", "maxBodyBytes", "max_body_bytes", 1024**3, "1073741824", 1024**3),
    ("", "merge", "merge", False, "false", False),
    ("", "stockPushHelp", "stock_push_help", False, " False ", False),
    ("", "workingCopy", "working_copy", False, "0", False),
    ("history", "keepAllHours", "history_keep_all_hours", 0, "0", 0),
    ("history", "keepDailyDays", "history_keep_daily_days", 0.5, "0.5", 0.5),
    ("history", "keepWeeklyDays", "history_keep_weekly_days", 36500, "36500", 36500),
    ("history", "maxBytesPerProject", "history_max_bytes_per_project", 1024**5, "1125899906842624", 1024**5),
    ("backup", "dir", "backup_dir", "/mnt/backups", "/mnt/backups", Path("/mnt/backups")),
    ("backup", "keep", "backup_keep", 10_000, "10000", 10_000),
]
"""Each key: its section and name in the file, its field, its value in the file and in a variable, its value."""
VARIABLES = {f"MNEME_{field.upper()}": text for _, _, field, _, text, _ in SETTINGS} | {
    "MNEME_CONFIG": "/c.json"
}


@pytest.mark.parametrize(("section", "name", "field", "raw", "text", "value"), SETTINGS)
def test_the_file_and_the_environment_set_every_key(
    house: House, section: str, name: str, field: str, raw: object, text: str, value: Any
) -> None:
    """Each arrives in its field alone; variables have lists taken apart at commas or spaces."""
    wanted = replace(house.default, **{field: value})
    assert house.config({f"MNEME_{field.upper()}": text}) == wanted
    house.write_key(section, name, raw)
    assert house.load() == Loaded(wanted, (), house.file, found=True)


def test_the_command_line_sets_its_options(house: House) -> None:
    """Endpoints keep their spaces and commas; an option that was not used overrides nothing."""
    config = house.config(port="0", host="a.example", listen=["tcp:1", "unix:/a b,c"], dataDir="rel/dir")
    assert config == Config(
        port=0, host="a.example", listen=("tcp:1", "unix:/a b,c"), data_dir=Path("rel/dir")
    )
    house.write({"listen": ["tcp:1"]})
    assert house.config(listen=[]).listen == ("tcp:1",)
    assert house.config(listen="tcp:2").listen == ("tcp:2",)


@given(st.lists(st.booleans(), min_size=3, max_size=3), st.permutations(["1", "2", "3"]))
def test_the_highest_layer_that_sets_a_key_wins(layers: list[bool], ports: list[str]) -> None:
    """Whatever the values, command line beats environment beats file beats default."""
    in_file, in_environment, on_command_line = layers
    with tempfile.TemporaryDirectory() as home:
        house = House(Path(home))
        house.write({"port": int(ports[0])} if in_file else {})
        config = house.config(
            {"MNEME_PORT": ports[1]} if in_environment else {},
            **({"port": ports[2]} if on_command_line else {}),
        )
    given_ports = [int(port) for port, used in zip(ports, layers, strict=True) if used]
    assert config.port == [3847, *given_ports][-1]


def test_a_higher_layer_replaces_a_list_and_hides_no_bad_value(house: House) -> None:
    """A key of the file that the environment replaces is a key no longer."""
    house.write({"apiKeys": [KEY]})
    assert house.config({"MNEME_API_KEYS": OTHER}).api_keys == (OTHER,)
    house.write({"port": "80"})
    wanted = "port must be a whole number from 0 to 65535, not this string"
    assert house.error(port="80") == f"{house.file}: {wanted}"


@pytest.mark.parametrize(
    ("minutes", "life"), [(0.5, 30_000), (1 / 3, 20_000), (1e-12, 1), (525_600.0, 31_536_000_000)]
)
def test_the_life_of_a_lock_is_whole_milliseconds(minutes: float, life: int) -> None:
    """Rounded, and never none."""
    assert Config(data_dir=Path(), lock_ttl_minutes=minutes).lock_ttl_ms == life


@pytest.mark.parametrize(
    ("hours", "span"), [(0.0, 0), (1 / 3, 1_200_000), (1e-12, 0), (876_000.0, 876_000 * HOUR)]
)
def test_the_ages_of_history_are_whole_milliseconds(hours: float, span: int) -> None:
    """Rounded; here none at all is a span, too."""
    config = Config(
        data_dir=Path(),
        history_keep_all_hours=hours,
        history_keep_daily_days=hours / 24,
        history_keep_weekly_days=hours / 24,
    )
    kept = config.retention
    assert (kept.keep_all, kept.keep_daily, kept.keep_weekly) == (span, span, span)


@pytest.mark.parametrize("text", ["true", "True", "TRUE", "1"])
def test_a_switch_in_the_environment_is_true_in_any_case(house: House, text: str) -> None:
    """Spellings as people use them."""
    house.write({"merge": False})
    assert house.config({"MNEME_MERGE": text}).merge


def test_a_logged_configuration_shows_no_key(house: House) -> None:
    """Neither the configuration itself nor what was loaded."""
    loaded = house.load({"MNEME_API_KEYS": KEY})
    assert KEY not in repr(loaded) + repr(loaded.config)


NOT_INT: list[object] = [True, "1", 1.5, None, [], {}, -1, 10**30]
NOT_BOOL: list[object] = [0, 1, "true", "false", None, [], {}, 1.0]
NOT_SPAN: list[object] = [True, "1", None, [], {}, -1, -0.001, 10**400]
NOT_TEXT: list[object] = [True, 1, None, [], {}, ""]
NOT_LIST: list[object] = [True, 1, None, {}, "", "x"]
WRONG: dict[str, list[object]] = {
    "port": [*NOT_INT, 65536],
    "host": [raw for raw in NOT_TEXT if raw is not None] + ["a b", "a\n", "a\0"],
    "listen": [*NOT_LIST, *([raw] for raw in NOT_TEXT), [" "], ["tcp:1\n"]],
    "dataDir": [*NOT_TEXT, "~bob/memory", "/a\0b"],
    "apiKeys": [*NOT_LIST, *([KEY, raw] for raw in NOT_TEXT), [f"{KEY} "], [f"{KEY}\n"], ["ключ"], [[KEY]]],
    "lockTTLMinutes": [True, "1", None, [], {}, -1, 0, -0.0, 525_600.1, 10**400],
    "allowedOrigins": [
        *NOT_LIST,
        *([raw] for raw in NOT_TEXT),
        *([raw] for raw in ("null", "a.example", "https://", "https://a/", "https://A", "https://a:b", "**")),
    ],
    "rateLimitPerMinute": [*NOT_INT, 100_000_001],
    "trustedProxies": [
        *NOT_LIST,
        *([raw] for raw in NOT_TEXT),
        *(["::1", raw] for raw in ("*", "proxy.example", "10.0.0.0/33", "[::1]", "127.0.0.1:80", "UNIX")),
    ],
    "maxConnectionsPerAddress": [*NOT_INT, 100_000_001],
    "maxBodyBytes": [*NOT_INT, 0, 1024**3 + 1],
    "merge": NOT_BOOL,
    "stockPushHelp": NOT_BOOL,
    "backup": [True, 1, None, [], "", "x"],
}
WRONG_IN_HISTORY: dict[str, list[object]] = {
    "keepAllHours": [*NOT_SPAN, 876_000.1],
    "keepDailyDays": [*NOT_SPAN, 36_500.1],
    "keepWeeklyDays": [*NOT_SPAN, 36_501],
    "maxBytesPerProject": [*NOT_INT, 1024**5 + 1],
}
WRONG_IN_BACKUP: dict[str, list[object]] = {
    "dir": [*NOT_TEXT, "~bob/backups", "$HOME/backups", "/a\0b"],
    "keep": [*NOT_INT, -1, 10_001],
}


@pytest.mark.parametrize(
    ("section", "key", "raw"),
    [
        pytest.param(section, key, raw, id=f"{section}{key}-{number}")
        for section, wrong in {"": WRONG, "history": WRONG_IN_HISTORY, "backup": WRONG_IN_BACKUP}.items()
        for key, values in wrong.items()
        for number, raw in enumerate(values)
    ],
)
def test_a_wrong_value_in_the_file_stops_the_start(house: House, section: str, key: str, raw: object) -> None:
    """The sentence names the file, the key, its object, and the expected value."""
    house.write_key(section, key, raw)
    sentence = house.error()
    name = f"{key} of {section}" if section else key
    assert sentence.startswith(f"{house.file}: ")
    assert f"{name} must be " in sentence or raw == "$HOME/backups"


@pytest.mark.parametrize("raw", [KEY, [KEY], [{"apiKeys": KEY}], None, 1, True])
def test_history_that_is_no_object_stops_the_start(house: House, raw: object) -> None:
    """A list of keys in its place is not repeated."""
    house.write({"history": raw})
    assert house.error().startswith(f"{house.file}: history must be an object, not ")


def test_backups_lie_beside_the_database_unless_told_otherwise(house: House) -> None:
    """The last seven of them; the environment overrides single keys of the file."""
    config = house.config()
    assert (config.backups, config.backup_keep) == (house.home / ".mneme-server" / "backups", 7)
    house.write({"dataDir": "/srv/memory", "backup": {"keep": 3}})
    assert house.config().backups == Path("/srv/memory/backups")
    changed = house.config({"MNEME_BACKUP_DIR": "~/b"})
    assert (changed.backups, changed.backup_keep) == (house.home / "b", 3)


@pytest.mark.parametrize("number", [b"1e999", b"-1e999"])
def test_a_number_beyond_floats_is_refused_by_name(house: House, number: bytes) -> None:
    """A number that would be infinite is refused like any other, with its key."""
    house.write(b'{"lockTTLMinutes": ' + number + b"}")
    wanted = "lockTTLMinutes must be a number over 0, at most 525600 (a year), not this number"
    assert house.error() == f"{house.file}: {wanted}"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        *(
            ("MNEME_PORT", one)
            for one in ("-1", "65536", "0x50", "80.5", "true", "8 0", "\udcff", "9" * 5000)
        ),
        *(("MNEME_LOCK_TTL_MINUTES", one) for one in ("0", "-1", "inf", "nan", "1e999", "half", "\udcff")),
        *(("MNEME_MERGE", one) for one in ("yes please", "2", "fals", "\udcff")),
        *(("MNEME_HISTORY_MAX_BYTES_PER_PROJECT", one) for one in ("1.5", "-1", "1GB")),
        *(("MNEME_API_KEYS", one) for one in (f"{KEY},", ",", f"{KEY} {KEY}")),
        ("MNEME_HOST", "a b"),
        ("MNEME_CONFIG", "~bob/config.json"),
        ("MNEME_ALLOWED_ORIGINS", "https://a.example/"),
    ],
)
def test_a_wrong_variable_stops_the_start(house: House, variable: str, text: str) -> None:
    """A wrong variable is refused by its name, without its text."""
    sentence = house.error({variable: text})
    assert sentence.startswith(f"environment variable {variable}: ")
    assert " must be " in sentence


@pytest.mark.parametrize(
    ("option", "name", "raw"),
    [
        ("port", "--port", "http"),
        ("port", "--port", ""),
        ("port", "--port", ["1", "2"]),
        ("host", "--host", ""),
        ("listen", "--listen", ["tcp:1", ""]),
        ("dataDir", "--data-dir", ""),
        ("config", "--config", ""),
    ],
)
def test_a_wrong_option_stops_the_start(house: House, option: str, name: str, raw: Options) -> None:
    """A wrong option is refused by the name it was typed with."""
    assert house.error({}, **{option: raw}).startswith(f"option {name}: ")


@pytest.mark.parametrize("name", ["apiKeys", "maxBodyBytes", "data_dir", *WRONG_IN_HISTORY])
def test_the_command_line_takes_no_other_keys(house: House, name: str) -> None:
    """Keys above all: everybody on the machine can see the options in `ps`."""
    assert house.error({}, **{name: KEY}) == f"{name} is no option: set it in the file or in the environment"


def test_a_wrong_item_is_named_by_its_position(house: House) -> None:
    """Its type is told, and its text is not."""
    house.write({"apiKeys": [KEY, 7]})
    wanted = "item 2 of apiKeys must be printable ASCII without spaces, and not empty, not this number"
    assert house.error() == f"{house.file}: {wanted}"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.just(KEY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just(KEY), inner),
    max_leaves=5,
)


@given(st.sampled_from([setting[:2] for setting in SETTINGS]), JSON)
def test_no_value_ever_leaks(place: tuple[str, str], raw: object) -> None:
    """Any value is loaded or refused, and no message repeats an API key."""
    section, key = place
    with tempfile.TemporaryDirectory() as home:
        house = House(Path(home))
        house.write_key(section, key, raw)
        try:
            loaded = house.load()
        except ConfigError as error:
            told = [str(error)]
        else:
            told = [*loaded.warnings]
            assert key != "apiKeys" or list(loaded.config.api_keys) == raw
    assert KEY not in "".join(told)


@given(
    st.text(st.characters(exclude_categories=()), max_size=20),
    st.sampled_from(["PORT", "API_KEYS", "LISTEN"]),
)
def test_any_text_in_a_variable_is_a_value_or_a_sentence(text: str, variable: str) -> None:
    """No text, surrogates included, raises anything but a `ConfigError`."""
    with tempfile.TemporaryDirectory() as home:
        try:
            config = House(Path(home)).config({f"MNEME_{variable}": text})
        except ConfigError:
            return
    assert variable != "API_KEYS" or config.api_keys


def test_a_host_of_null_means_not_given(house: House) -> None:
    """The file says with it what leaving it out says."""
    house.write({"host": None})
    assert house.config().host is None


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_key_variable_does_not_turn_authentication_off(house: House, text: str) -> None:
    """An empty MNEME_API_KEYS, as a broken secrets file leaves it, stops the start."""
    house.write({"apiKeys": [KEY]})
    wanted = "environment variable MNEME_API_KEYS is empty: unset it, or give keys"
    assert house.error({"MNEME_API_KEYS": text}) == wanted


def test_other_empty_variables_count_as_unset(house: House) -> None:
    """An empty variable overrides nothing."""
    house.write({"port": 80, "listen": ["tcp:1"]})
    loaded = house.load({name: "" for name in VARIABLES if name != "MNEME_API_KEYS"})
    assert (loaded, loaded.config.port) == (house.load(), 80)


@pytest.mark.parametrize(
    "name", "apikeys apiKey api_keys keys key APIKEYS apiKesy аpiKeys allowedKeys token".split()
)
def test_a_typo_in_the_file_never_turns_authentication_off(house: House, name: str) -> None:
    """An unknown name that may have meant the API keys stops the start."""
    house.write({name: [KEY]})
    assert house.error().startswith(f"{house.file}: {name!r} is unknown: write apiKeys if it was meant")
    house.write({"history": {name: [KEY]}})
    wanted = f"in history {name!r} is unknown: write apiKeys outside history if it was meant, else remove it"
    assert house.error() == f"{house.file}: {wanted}"


@pytest.mark.parametrize("name", "MNEME_API_KEY MNEME_APIKEYS MNEME_KEYS mneme_api_keys MNEME_TOKEN".split())
def test_a_typo_in_the_environment_never_turns_authentication_off(house: House, name: str) -> None:
    """An unknown variable that may have meant the API keys stops the start."""
    for text in (KEY, ""):
        sentence = house.error({name: text})
        assert sentence.startswith(f"environment variable {name!r} is unknown: write MNEME_API_KEYS")


@pytest.mark.parametrize(
    ("section", "name", "hint"),
    [
        ("", "prot", "did you mean port?"),
        ("", "Port", "did you mean port?"),
        ("", "lock_ttl_minutes", "did you mean lockTTLMinutes?"),
        ("", "rateLimit", "did you mean rateLimitPerMinute?"),
        ("history", "keepAllHour", "did you mean keepAllHours?"),
        ("history", "keep_daily_days", "did you mean keepDailyDays?"),
        ("history", "maxBytes", "did you mean maxBytesPerProject?"),
        ("backup", "keeps", "did you mean keep?"),
        ("", "colour", "the known ones are port, host, listen, dataDir"),
        ("", "keepAllHours", "the known ones are port, host, listen, dataDir"),
        (
            "history",
            "port",
            "the known ones are keepAllHours, keepDailyDays, keepWeeklyDays, maxBytesPerProject",
        ),
    ],
)
def test_an_unknown_key_is_a_warning(house: House, section: str, name: str, hint: str) -> None:
    """The warning has the nearest name in that object, or all that there are."""
    house.write_key(section, name, 1)
    loaded = house.load()
    where = f" in {section}" if section else ""
    (warning,) = loaded.warnings
    assert warning.startswith(f"{house.file}:{where} {name!r} is unknown and ignored: {hint}")
    assert loaded.config == house.default


def test_an_unknown_variable_is_a_warning_with_the_nearest(house: House) -> None:
    """Variables without the prefix are none of our business."""
    wanted = "environment variable 'MNEME_PROT' is unknown and ignored: did you mean MNEME_PORT?"
    assert house.load({"MNEME_PROT": "1", "APIKEYS": "1", "XMNEME_PORT": "x"}).warnings == (wanted,)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "line 1, column 1: Input data was truncated"),
        (b'{"port": 1,}', "line 1, column 12: JSON is malformed: trailing comma in object"),
        ('{\n "host": "é", x}'.encode(), "line 2, column 15: JSON is malformed"),
        (b'{\n"port": 1', "line 2, column 10: Input data was truncated"),
        (b'{"lockTTLMinutes": NaN}', "line 1, column 20: JSON is malformed"),
        (b'{"port": ' + b"9" * 5000 + b"}", "Integer value out of range"),
        (b'{"host": "\xff"}', "byte 10 is not UTF-8"),
        ("{}".encode("utf-16"), "byte 0 is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1]", "the top level must be an object, not this array"),
        (b"null", "the top level must be an object, not null"),
    ],
)
def test_a_broken_file_stops_the_start(house: House, content: bytes, found: str) -> None:
    """The sentence has the path and the place of the trouble."""
    house.write(content)
    sentence = house.error()
    assert sentence.startswith(f"{house.file}: ")
    assert found in sentence


def test_a_byte_order_mark_is_tolerated(house: House) -> None:
    """Some editors begin files with such a mark."""
    house.write(codecs.BOM_UTF8 + b'{"port": 80}')
    assert house.config().port == 80


def test_a_named_file_replaces_the_default_one(house: House, tmp_path: Path) -> None:
    """The option, else the variable, names the file; the default one is not read."""
    house.write(b"broken")
    first = house.write({"port": 1}, tmp_path / "first.json")
    house.write({"port": 2}, tmp_path / "second.json")
    environ = {"MNEME_CONFIG": "~/second.json"}
    assert house.config(environ).port == 2
    loaded = house.load(environ, config=str(first))
    assert (loaded.config.port, loaded.path) == (1, first)


def test_a_named_file_must_be_there(house: House) -> None:
    """A missing file stops the start, whichever way it was named."""
    missing = house.home / "missing.json"
    assert house.error(config=str(missing)) == f"{missing}: there is no such file"
    assert house.error({"MNEME_CONFIG": str(missing)}) == f"{missing}: there is no such file"


def test_an_unreadable_file_stops_the_start(house: House) -> None:
    """A directory, or a place below a file, is one sentence and no traceback."""
    house.file.mkdir(parents=True)
    assert house.error() == f"{house.file}: cannot be read: Is a directory"
    house.file.rmdir()
    house.file.parent.rmdir()
    house.file.parent.write_text("")
    assert house.error() == f"{house.file}: cannot be read: Not a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_forbidden_file_stops_the_start(house: House) -> None:
    """A forbidden file taken for a missing one would turn authentication off."""
    house.write({}).chmod(0)
    assert house.error() == f"{house.file}: cannot be read: Permission denied"


@pytest.mark.parametrize(("text", "path"), [("~", "."), ("~/a", "a"), ("~//a", "a"), ("~///a", "a")])
def test_a_tilde_is_the_home_directory(house: House, text: str, path: str) -> None:
    """A doubled slash after it does not lead out of there."""
    assert house.config(dataDir=text).data_dir == house.home / path


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_with_keys_that_others_can_read_is_a_warning(house: House, mode: int) -> None:
    """A file with nothing secret in it may have any mode."""
    house.write({"apiKeys": [KEY]}).chmod(mode)
    wanted = f"{house.file}: holds apiKeys and other users can read it: chmod 600 it"
    assert house.load().warnings == (wanted,)
    house.write({"apiKeys": [], "port": 80}).chmod(mode)
    assert house.load({"MNEME_API_KEYS": KEY}).warnings == ()


def test_a_short_key_is_a_warning_by_position(house: House) -> None:
    """A key that can be guessed is told by its place, not by its text."""
    house.write({"apiKeys": ["sixteen-letters!", "fifteen-letters"]})
    wanted = "item 2 of apiKeys is shorter than 16 characters and can be guessed"
    assert house.load().warnings == (wanted,)


def test_a_config_file_in_the_data_directory_that_is_not_read_is_a_warning(house: House) -> None:
    """The warning says which file is used, and how to use this one."""
    beside = house.write({"port": 1}, house.home / "my data" / "config.json")
    advice = f"Start the server with --config '{beside}' to use it, or remove it"
    data_dir = str(beside.parent)
    (warning,) = house.load(dataDir=data_dir).warnings
    assert warning == f"{beside} is not read: no config file is used. {advice}"
    house.write({"port": 2})
    (warning,) = house.load({"MNEME_DATA_DIR": data_dir}).warnings
    assert warning == f"{beside} is not read: the settings are from {house.file}. {advice}"


def test_a_config_file_that_is_read_or_was_not_asked_for_is_no_warning(house: House) -> None:
    """The file in use under another name, or one beside a named file."""
    house.write({"port": 2})
    assert house.load().warnings == ()
    (house.home / "link").symlink_to(house.file.parent)
    assert house.load(dataDir=str(house.home / "link")).warnings == ()
    beside = house.write({"port": 1}, house.home / "data" / "config.json")
    for named in (beside, house.file):
        assert house.load(dataDir=str(beside.parent), config=str(named)).warnings == ()


@pytest.mark.parametrize(("field", "value"), [(field, value) for _, _, field, _, _, value in SETTINGS])
def test_changes_that_need_a_restart_are_named(field: str, value: Any) -> None:
    """Keys that a running server cannot take over, by their names in the file."""
    old = Config(data_dir=Path("/a"))
    fixed = {"port": "port", "host": "host", "listen": "listen", "data_dir": "dataDir"}
    fixed["working_copy"] = "workingCopy"
    wanted = (fixed[field],) if field in fixed else ()
    assert changes_needing_restart(old, replace(old, **{field: value})) == wanted


def test_a_reload_does_not_drop_authentication() -> None:
    """A running server takes other keys, or its first, but never drops all."""
    without = Config(data_dir=Path())
    with_one, with_other = (replace(without, api_keys=(key,)) for key in (KEY, OTHER))
    sentence = refuse_reload(with_one, without)
    assert sentence is not None
    assert KEY not in sentence
    for old, new in ((without, with_one), (without, without), (with_one, with_other)):
        assert refuse_reload(old, new) is None


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_in_quotes_is_refused_by_name(house: House, name: str, quote: str) -> None:
    """Some env files keep quotes; no value is repeated."""
    value = VARIABLES[name].strip()
    sentence = house.error({name: f" {quote}{value}{quote}"})
    assert sentence.startswith(f"environment variable {name} begins or ends with a quote: give ")
    assert len(value) < 6 or value not in sentence


def test_every_key_is_among_those_that_are_tried(house: House) -> None:
    """A variable that is added is added to the list of settings above."""
    (warning,) = house.load({"MNEME_UNLIKE": ""}).warnings
    assert warning.rpartition(" are ")[2].split(", ") == list(VARIABLES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MNEME_API_KEYS", f'"{KEY}","{OTHER}"'),
        ("MNEME_API_KEYS", f'"{KEY},{OTHER}"'),
        ("MNEME_API_KEYS", f"{OTHER}, '{KEY}'"),
        ("MNEME_ALLOWED_ORIGINS", '*, "https://a.example"'),
        ("MNEME_LISTEN", "tcp:80 'tcp:81'"),
        ("MNEME_DATA_DIR", '"/data'),
        ("MNEME_DATA_DIR", "/data'"),
        ("MNEME_CONFIG", '"'),
    ],
)
def test_an_item_in_quotes_is_refused_too(house: House, name: str, value: str) -> None:
    """Half a pair of quotes around a path is as bad."""
    sentence = house.error({name: value})
    assert name in sentence
    assert "without quotes" in sentence


@pytest.mark.parametrize(
    ("name", "between"),
    [("MNEME_API_KEYS", "commas"), ("MNEME_ALLOWED_ORIGINS", "commas"), ("MNEME_LISTEN", "spaces")],
)
@pytest.mark.parametrize("template", ['["{}"]', "['{}']", '[ "{}", "x" ]'])
def test_a_variable_with_a_json_list_is_refused(house: House, name: str, between: str, template: str) -> None:
    """Its brackets would be part of the first and the last key."""
    wanted = f"is a list as in the file: give its items alone, with {between} between them"
    assert house.error({name: template.format(KEY)}) == f"environment variable {name} {wanted}"


@pytest.mark.parametrize("key", ['"' + KEY, KEY + "'", f'{KEY[:5]}"{KEY[5:]}', '"'])
def test_a_key_may_hold_a_quote_by_chance(house: House, key: str) -> None:
    """Only a pair around it was meant for somebody else."""
    assert house.config({"MNEME_API_KEYS": key}).api_keys == (key,)


def test_quotes_inside_a_text_of_file_or_options_are_refused(house: House) -> None:
    """The sentence names the source and the item."""
    house.write({"apiKeys": [OTHER, f'"{KEY}"']})
    assert house.error().startswith(f"{house.file}: item 2 of apiKeys begins or ends with a quote")
    house.write({"dataDir": "'/data'"})
    assert "dataDir begins or ends with a quote" in house.error()
    house.write({})
    assert "option --data-dir: dataDir begins or ends" in house.error(dataDir='"/data"')


@pytest.mark.parametrize("path", "$HOME/m ${HOME}/x /srv/$USER $(pwd)/x %h/m /srv/%i %S %HOME%/x".split())
def test_a_path_that_nobody_has_filled_in_is_refused(house: House, path: str) -> None:
    """Environment, file and options alike, for the data and for the config file."""
    house.write({"dataDir": path})
    sentences = [house.error()]
    house.write({})
    sentences += [house.error({name: path}) for name in ("MNEME_DATA_DIR", "MNEME_CONFIG")]
    sentences += [house.error(dataDir=path), house.error(config=path)]
    for sentence in sentences:
        assert sentence.endswith(
            "holds a $ or % that nobody has filled in: give the path itself, or ~/ for the home directory"
        )


@pytest.mark.parametrize("path", ["/srv/100%", "/srv/a%20b", "/srv/share$", "/srv/50%off/x", "/a b/c'd/e"])
def test_a_path_may_hold_signs_that_stand_for_nothing(house: House, path: str) -> None:
    """Those are names of directories."""
    assert house.config(dataDir=path).data_dir == Path(path)


def test_a_user_without_a_home_says_where_the_data_is(house: House) -> None:
    """By option, variable or named file; there is no config file to look for otherwise."""
    there = Config(data_dir=Path("/data"))
    assert load({"dataDir": "/data"}, {}, None) == Loaded(there, (), None)
    assert load({}, {"MNEME_DATA_DIR": "/data"}, None).config == there
    file = house.write({"dataDir": "/data"})
    assert load({"config": str(file)}, {}, None) == Loaded(there, (), file, found=True)


@pytest.mark.parametrize("options", [{}, {"dataDir": "~/memory"}, {"config": "~/c.json", "dataDir": "/data"}])
def test_a_user_without_a_home_who_says_nothing_is_told_to(options: dict[str, Options]) -> None:
    """Paths that begin with `~` are to be given in full."""
    with pytest.raises(ConfigError, match=r"^This user has no home directory .*: give"):
        load(options, {}, None)
