"""The configuration: its layers, what each key may be, and the sentences for whoever got one wrong."""

from __future__ import annotations

import codecs
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.config import Config, ConfigError, Loaded, changes_needing_restart, load, refuse_reload
from mneme.model import Merging, Millis
from mneme.retention import Retention

HOUR = 60 * 60 * 1000
KEY = "a-key-of-more-than-16-characters"
OTHER = "another-key-of-more-than-16-characters"


class House:
    """A home directory, with a config file if one was written, and a way to load what is in it."""

    def __init__(self, home: Path) -> None:
        """Move into `home`; nothing is written yet."""
        self.home = home
        self.file = home / ".mneme-server" / "config.json"

    def write(self, content: object, path: Path | None = None) -> Path:
        """Write a config file that only its owner can read: bytes as they are, all else as JSON."""
        path = path or self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        path.chmod(0o600)
        return path

    def load(self, environ: Mapping[str, str] | None = None, **options: str | list[str]) -> Loaded:
        """Load what is here."""
        return load(options, environ or {}, self.home)

    def homeless(self, environ: Mapping[str, str] | None = None, **options: str | list[str]) -> Loaded:
        """Load what is here for a user without a home directory."""
        return load(options, environ or {}, None)

    def config(self, environ: Mapping[str, str] | None = None, **options: str | list[str]) -> Config:
        """Load what is here, for the configuration alone."""
        return self.load(environ, **options).config

    def error(self, environ: Mapping[str, str] | None = None, **options: str | list[str]) -> str:
        """Load what is here, which must fail, and return the sentence."""
        with pytest.raises(ConfigError) as caught:
            self.load(environ, **options)
        return str(caught.value)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A home directory without a config file."""
    return House(tmp_path)


def test_defaults_need_no_file(house: House) -> None:
    """With nothing given, the documented defaults hold, nothing is warned of and nothing is created."""
    loaded = house.load()
    assert loaded == Loaded(Config(data_dir=house.home / ".mneme-server"), (), house.file)
    assert (loaded.config.port, loaded.config.lock_ttl_ms) == (3847, 1_800_000)
    assert (loaded.config.rate_limit_per_minute, loaded.config.max_body_bytes) == (1200, 10_485_760)
    assert (loaded.config.merging, loaded.config.stock_push_help) == (Merging(True, 10_485_760), True)
    assert loaded.config.retention == Retention(
        Millis(48 * HOUR), Millis(30 * 24 * HOUR), Millis(365 * 24 * HOUR), 1024**3
    )
    assert list(house.home.iterdir()) == []


def test_file_sets_every_key(house: House) -> None:
    """Every key of the file arrives in its field."""
    house.write(
        {
            "port": 0,
            "host": "::",
            "listen": ["tcp:80", "ssl:443:privateKey=/a b/key.pem"],
            "dataDir": "~/memory",
            "apiKeys": [KEY],
            "lockTTLMinutes": 0.5,
            "allowedOrigins": ["https://a.example:8443", "http://[::1]"],
            "rateLimitPerMinute": 0,
            "trustedProxies": ["127.0.0.1", "10.1.2.3/8", "2001:db8::/32", "unix"],
            "maxConnectionsPerAddress": 0,
            "maxBodyBytes": 1,
            "merge": False,
            "stockPushHelp": False,
            "workingCopy": False,
            "history": {
                "keepAllHours": 0,
                "keepDailyDays": 0.5,
                "keepWeeklyDays": 36500,
                "maxBytesPerProject": 0,
            },
            "backup": {"dir": "~/backups", "keep": 0},
        }
    )
    assert house.load().warnings == ()
    assert house.config() == Config(
        port=0,
        host="::",
        listen=("tcp:80", "ssl:443:privateKey=/a b/key.pem"),
        data_dir=house.home / "memory",
        api_keys=(KEY,),
        lock_ttl_minutes=0.5,
        allowed_origins=("https://a.example:8443", "http://[::1]"),
        rate_limit_per_minute=0,
        trusted_proxies=("127.0.0.1", "10.1.2.3/8", "2001:db8::/32", "unix"),
        max_connections_per_address=0,
        max_body_bytes=1,
        merge=False,
        stock_push_help=False,
        working_copy=False,
        history_keep_all_hours=0,
        history_keep_daily_days=0.5,
        history_keep_weekly_days=36500,
        history_max_bytes_per_project=0,
        backup_dir=house.home / "backups",
        backup_keep=0,
    )


def test_environment_sets_every_key(house: House) -> None:
    """Every variable arrives in its field, lists taken apart at commas, endpoints at white space."""
    assert house.config(
        {
            "MNEME_PORT": " 80 ",
            "MNEME_HOST": "null",
            "MNEME_LISTEN": "tcp:80  unix:/run/a,b",
            "MNEME_DATA_DIR": "~",
            "MNEME_API_KEYS": f"{KEY}, {OTHER}",
            "MNEME_LOCK_TTL_MINUTES": "1.5",
            "MNEME_ALLOWED_ORIGINS": "*,app://b",
            "MNEME_RATE_LIMIT_PER_MINUTE": "7",
            "MNEME_TRUSTED_PROXIES": "::1, unix",
            "MNEME_MAX_CONNECTIONS_PER_ADDRESS": "8",
            "MNEME_MAX_BODY_BYTES": "1073741824",
            "MNEME_MERGE": "false",
            "MNEME_STOCK_PUSH_HELP": " False ",
            "MNEME_WORKING_COPY": "false",
            "MNEME_HISTORY_KEEP_ALL_HOURS": "1.5",
            "MNEME_HISTORY_KEEP_DAILY_DAYS": "0",
            "MNEME_HISTORY_KEEP_WEEKLY_DAYS": "7",
            "MNEME_HISTORY_MAX_BYTES_PER_PROJECT": "1125899906842624",
            "MNEME_BACKUP_DIR": "/mnt/backups",
            "MNEME_BACKUP_KEEP": "10000",
            "HOME": "/elsewhere",
        }
    ) == Config(
        port=80,
        host="null",
        listen=("tcp:80", "unix:/run/a,b"),
        data_dir=house.home,
        api_keys=(KEY, OTHER),
        lock_ttl_minutes=1.5,
        allowed_origins=("*", "app://b"),
        rate_limit_per_minute=7,
        trusted_proxies=("::1", "unix"),
        max_connections_per_address=8,
        max_body_bytes=1024**3,
        merge=False,
        stock_push_help=False,
        working_copy=False,
        history_keep_all_hours=1.5,
        history_keep_daily_days=0,
        history_keep_weekly_days=7,
        history_max_bytes_per_project=1024**5,
        backup_dir=Path("/mnt/backups"),
        backup_keep=10_000,
    )


def test_command_line_sets_its_options(house: House) -> None:
    """Every option arrives in its field, and endpoints keep their spaces and commas."""
    config = house.config(port="0", host="a.example", listen=["tcp:1", "unix:/a b,c"], dataDir="rel/dir")
    assert config == Config(
        port=0, host="a.example", listen=("tcp:1", "unix:/a b,c"), data_dir=Path("rel/dir")
    )


def test_options_that_were_not_given_override_nothing(house: House) -> None:
    """The empty list of a repeatable option that was not used leaves the file's list alone."""
    house.write({"listen": ["tcp:1"]})
    assert house.config(listen=[]).listen == ("tcp:1",)
    assert house.config(listen="tcp:2").listen == ("tcp:2",)


@given(st.lists(st.booleans(), min_size=3, max_size=3), st.permutations(["1", "2", "3"]))
def test_highest_layer_that_sets_a_key_wins(layers: list[bool], ports: list[str]) -> None:
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


def test_lists_replace_and_never_add_up(house: House) -> None:
    """A key of the file that the environment replaces is a key no longer."""
    house.write({"apiKeys": [KEY]})
    assert house.config({"MNEME_API_KEYS": OTHER}).api_keys == (OTHER,)


def test_overridden_value_is_checked_all_the_same(house: House) -> None:
    """A bad value in a lower layer stops the start even where a higher one overrides it."""
    house.write({"port": "80"})
    assert "not this string" in house.error(port="80")


def test_fractions_of_a_minute_become_milliseconds() -> None:
    """A lock's life is rounded to whole milliseconds, and never to none."""
    lives = {0.5: 30_000, 0.001: 60, 1 / 3: 20_000, 1e-12: 1, 525_600.0: 31_536_000_000}
    for minutes, life in lives.items():
        assert Config(data_dir=Path(), lock_ttl_minutes=minutes).lock_ttl_ms == life


@pytest.mark.parametrize("text", ["true", "True", "TRUE", "1"])
def test_a_switch_in_the_environment_is_true_in_any_case(house: House, text: str) -> None:
    """As people write it."""
    house.write({"merge": False})
    assert house.config({"MNEME_MERGE": text}).merge


def test_fractions_of_hours_and_days_become_milliseconds() -> None:
    """Rounded to whole ones; here none at all is a span too."""
    for hours, span in {
        0.0: 0,
        0.5: 1_800_000,
        1 / 3: 1_200_000,
        1e-12: 0,
        876_000.0: 876_000 * HOUR,
    }.items():
        assert Config(data_dir=Path(), history_keep_all_hours=hours).retention.keep_all == span
    for days, span in {0.0: 0, 0.25: 6 * HOUR, 36_500.0: 36_500 * 24 * HOUR}.items():
        config = Config(data_dir=Path(), history_keep_daily_days=days, history_keep_weekly_days=days)
        assert (config.retention.keep_daily, config.retention.keep_weekly) == (span, span)


def test_config_shows_no_key(house: House) -> None:
    """Neither a configuration nor what was loaded shows a key when it is logged."""
    loaded = house.load({"MNEME_API_KEYS": KEY})
    assert loaded.config.api_keys == (KEY,)
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
    "history": [True, 1, None, [], "", "x"],
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
    ("where", "key", "raw"),
    [
        pytest.param(where, key, raw, id=f"{where}{key}-{number}")
        for where, wrong in {"": WRONG, "history": WRONG_IN_HISTORY, "backup": WRONG_IN_BACKUP}.items()
        for key, values in wrong.items()
        for number, raw in enumerate(values)
    ],
)
def test_wrong_value_in_the_file_stops_the_start(house: House, where: str, key: str, raw: object) -> None:
    """A wrong type or value is refused with the file, the key, its object, and what was expected."""
    house.write({where: {key: raw}} if where else {key: raw})
    sentence = house.error()
    name = f"{key} of {where}" if where else key
    assert sentence.startswith(f"{house.file}: ")
    assert f"{name} must be " in sentence or raw == "$HOME/backups"
    assert KEY not in sentence


def test_backups_lie_beside_the_database_unless_told_otherwise(house: House) -> None:
    """Seven of them; the environment overrides the file, and a typo is a warning."""
    assert (house.config().backups, house.config().backup_keep) == (
        house.home / ".mneme-server" / "backups",
        7,
    )
    house.write({"dataDir": "/srv/memory", "backup": {"keep": 3}})
    assert (house.config().backups, house.config().backup_keep) == (Path("/srv/memory/backups"), 3)
    assert house.config({"MNEME_BACKUP_DIR": "~/b"}).backups == house.home / "b"
    house.write({"backup": {"keeps": 3}})
    wanted = f"{house.file}: in backup 'keeps' is unknown and ignored: did you mean keep?"
    assert house.load().warnings == (wanted,)


@pytest.mark.parametrize("raw", [KEY, [KEY], [{"apiKeys": KEY}], None, 1, True])
def test_history_that_is_no_object_stops_the_start(house: House, raw: object) -> None:
    """Whatever else it is, and none of it is repeated."""
    house.write({"history": raw})
    sentence = house.error()
    assert sentence.startswith(f"{house.file}: history must be an object, not ")
    assert KEY not in sentence


def test_history_sets_what_it_names_and_leaves_the_rest(house: House) -> None:
    """An empty object says what leaving it out says; the environment overrides single keys."""
    house.write({"history": {}})
    assert house.load() == Loaded(Config(data_dir=house.home / ".mneme-server"), (), house.file, found=True)
    house.write({"history": {"keepAllHours": 1, "keepDailyDays": 2}})
    config = house.config({"MNEME_HISTORY_KEEP_DAILY_DAYS": "3"})
    assert config.retention == Retention(
        Millis(HOUR), Millis(3 * 24 * HOUR), Millis(365 * 24 * HOUR), 1024**3
    )


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("keepAllHour", "keepAllHours"),
        ("keep_daily_days", "keepDailyDays"),
        ("maxBytes", "maxBytesPerProject"),
        ("KeepWeeklyDays", "keepWeeklyDays"),
    ],
)
def test_unknown_key_in_history_is_a_warning_with_the_nearest(house: House, name: str, nearest: str) -> None:
    """It is looked for among the keys of history."""
    house.write({"history": {name: 1}})
    wanted = f"{house.file}: in history {name!r} is unknown and ignored: did you mean {nearest}?"
    assert house.load().warnings == (wanted,)


def test_unlike_name_in_history_is_answered_with_all_the_known_ones(house: House) -> None:
    """Those of history, and no others."""
    house.write({"history": {"port": 1}})
    (warning,) = house.load().warnings
    assert warning.endswith(
        "the known ones are keepAllHours, keepDailyDays, keepWeeklyDays, maxBytesPerProject"
    )


@pytest.mark.parametrize("name", ["keepAllHours", "history_keep_all_hours", "maxBytesPerProject"])
def test_a_key_of_history_outside_it_is_a_warning(house: House, name: str) -> None:
    """It has no effect there, and that is said."""
    house.write({name: 1})
    loaded = house.load()
    (warning,) = loaded.warnings
    assert f"{name!r} is unknown and ignored" in warning
    assert loaded.config == Config(data_dir=house.home / ".mneme-server")


@pytest.mark.parametrize("name", ["apiKeys", "keys", "token"])
def test_keys_in_history_never_turn_authentication_off(house: House, name: str) -> None:
    """Who put them into the wrong object is told where they belong."""
    house.write({"history": {name: [KEY]}})
    sentence = house.error()
    wanted = f"in history {name!r} is unknown: write apiKeys outside history if it was meant, else remove it"
    assert sentence == f"{house.file}: {wanted}"


@pytest.mark.parametrize("key", sorted(WRONG_IN_HISTORY))
def test_history_is_no_option_of_the_command_line(house: House, key: str) -> None:
    """It is set in the file or in the environment."""
    assert house.error({}, **{key: "1"}) == f"{key} is no option: set it in the file or in the environment"


@pytest.mark.parametrize("number", [b"1e999", b"-1e999"])
def test_number_beyond_floats_is_refused_by_name(house: House, number: bytes) -> None:
    """A number that would be infinite is refused like any other, with its key."""
    house.write(b'{"lockTTLMinutes": ' + number + b"}")
    assert house.error().endswith(
        "lockTTLMinutes must be a number over 0, at most 525600 (a year), not this number"
    )


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        *(
            ("MNEME_PORT", text)
            for text in ("-1", "65536", "0x50", "80.5", "true", "8 0", "\udcff", "9" * 5000)
        ),
        *(("MNEME_LOCK_TTL_MINUTES", text) for text in ("0", "-1", "inf", "nan", "1e999", "half", "\udcff")),
        ("MNEME_RATE_LIMIT_PER_MINUTE", "off"),
        ("MNEME_MAX_BODY_BYTES", "10MB"),
        *(("MNEME_MERGE", text) for text in ("yes please", "2", "fals", "\udcff")),
        ("MNEME_STOCK_PUSH_HELP", "maybe"),
        ("MNEME_WORKING_COPY", "some"),
        *(("MNEME_HISTORY_KEEP_ALL_HOURS", text) for text in ("-1", "inf", "nan", "two days")),
        ("MNEME_HISTORY_KEEP_DAILY_DAYS", "36501"),
        ("MNEME_HISTORY_KEEP_WEEKLY_DAYS", "1y"),
        *(("MNEME_HISTORY_MAX_BYTES_PER_PROJECT", text) for text in ("1.5", "-1", "1GB")),
        ("MNEME_HOST", "a b"),
        ("MNEME_DATA_DIR", "~bob"),
        ("MNEME_CONFIG", "~bob/config.json"),
        ("MNEME_ALLOWED_ORIGINS", "https://a.example/"),
        ("MNEME_API_KEYS", f"{KEY},"),
        ("MNEME_API_KEYS", ","),
        ("MNEME_API_KEYS", f"{KEY} {KEY}"),
    ],
)
def test_wrong_variable_stops_the_start(house: House, variable: str, text: str) -> None:
    """A wrong variable is refused by its name, without its text."""
    sentence = house.error({variable: text})
    assert sentence.startswith(f"environment variable {variable}: ")
    assert " must be " in sentence
    assert KEY not in sentence


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
def test_wrong_option_stops_the_start(house: House, option: str, name: str, raw: str | list[str]) -> None:
    """A wrong option is refused by the name it was typed with."""
    assert house.error({}, **{option: raw}).startswith(f"option {name}: ")


@pytest.mark.parametrize("name", ["apiKeys", "maxBodyBytes", "data_dir"])
def test_command_line_takes_no_other_keys(house: House, name: str) -> None:
    """What is no option is refused, keys above all: everybody on the machine can see them in `ps`."""
    assert house.error({}, **{name: KEY}) == f"{name} is no option: set it in the file or in the environment"


def test_sentence_is_complete(house: House) -> None:
    """The sentences read as they are meant to."""
    house.write({"port": "80"})
    assert house.error() == f"{house.file}: port must be a whole number from 0 to 65535, not this string"
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


KEYS_BY_OBJECT = [
    *(("", key) for key in WRONG if key not in {"history", "backup"}),
    *(("history", key) for key in WRONG_IN_HISTORY),
    *(("backup", key) for key in WRONG_IN_BACKUP),
]


@given(st.sampled_from(KEYS_BY_OBJECT), JSON)
def test_no_value_ever_leaks(place: tuple[str, str], raw: object) -> None:
    """Whatever stands under a key is loaded as it stands or refused, and no message repeats an API key."""
    section, key = place
    with tempfile.TemporaryDirectory() as home:
        house = House(Path(home))
        house.write({section: {key: raw}} if section else {key: raw})
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
    """No text whatever, surrogates included, gets past `load` as anything but a value or a `ConfigError`."""
    with tempfile.TemporaryDirectory() as home:
        try:
            config = House(Path(home)).config({f"MNEME_{variable}": text})
        except ConfigError:
            return
    assert variable != "API_KEYS" or config.api_keys


def test_null_host_means_not_given(house: House) -> None:
    """`"host": null` says in the file what leaving it out says."""
    house.write({"host": None})
    assert house.config().host is None


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_empty_key_variable_does_not_turn_authentication_off(house: House, text: str) -> None:
    """An empty MNEME_API_KEYS, as a broken secrets file leaves it, stops the start."""
    house.write({"apiKeys": [KEY]})
    wanted = "environment variable MNEME_API_KEYS is empty: unset it, or give keys"
    assert house.error({"MNEME_API_KEYS": text}) == wanted


def test_other_empty_variables_count_as_unset(house: House) -> None:
    """An empty variable overrides nothing."""
    house.write({"port": 80, "listen": ["tcp:1"]})
    names = ("PORT", "HOST", "LISTEN", "DATA_DIR", "LOCK_TTL_MINUTES", "ALLOWED_ORIGINS", "CONFIG")
    loaded = house.load({f"MNEME_{name}": "" for name in names})
    assert (loaded, loaded.config.port) == (house.load(), 80)


KEY_TYPOS = [
    "apikeys",
    "apiKey",
    "api_keys",
    "keys",
    "key",
    "APIKEYS",
    "apiKesy",
    "аpiKeys",
    "allowedKeys",
    "token",
]


@pytest.mark.parametrize("name", KEY_TYPOS)
def test_typo_in_the_file_never_turns_authentication_off(house: House, name: str) -> None:
    """An unknown name that may have meant the API keys stops the start."""
    house.write({name: [KEY]})
    sentence = house.error()
    assert sentence.startswith(f"{house.file}: {name!r} is unknown: write apiKeys")
    assert KEY not in sentence


@pytest.mark.parametrize(
    "name", ["MNEME_API_KEY", "MNEME_APIKEYS", "MNEME_KEYS", "mneme_api_keys", "MNEME_TOKEN"]
)
def test_typo_in_the_environment_never_turns_authentication_off(house: House, name: str) -> None:
    """An unknown variable that may have meant the API keys stops the start, even an empty one."""
    for text in (KEY, ""):
        sentence = house.error({name: text})
        assert sentence.startswith(f"environment variable {name!r} is unknown: write MNEME_API_KEYS")
        assert KEY not in sentence


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("prot", "port"),
        ("Port", "port"),
        ("lock_ttl_minutes", "lockTTLMinutes"),
        ("rateLimit", "rateLimitPerMinute"),
    ],
)
def test_unknown_key_is_a_warning_with_the_nearest(house: House, name: str, nearest: str) -> None:
    """Any other unknown key is ignored, and the warning names the one that was probably meant."""
    house.write({name: 1})
    wanted = f"{house.file}: {name!r} is unknown and ignored: did you mean {nearest}?"
    assert house.load().warnings == (wanted,)


def test_unknown_variable_is_a_warning_with_the_nearest(house: House) -> None:
    """An unknown MNEME_ variable is ignored with a warning; others are none of our business."""
    wanted = "environment variable 'MNEME_PROT' is unknown and ignored: did you mean MNEME_PORT?"
    assert house.load({"MNEME_PROT": "1", "APIKEYS": "1", "XMNEME_PORT": "x"}).warnings == (wanted,)


def test_unlike_name_is_answered_with_all_the_known_ones(house: House) -> None:
    """A name that is near to nothing gets the list to choose from."""
    house.write({"colour": "blue"})
    (warning,) = house.load().warnings
    assert "the known ones are port, host, listen, dataDir" in warning


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
def test_broken_file_stops_the_start(house: House, content: bytes, found: str) -> None:
    """A file that is no JSON object is refused with its path and the place of the trouble."""
    house.write(content)
    sentence = house.error()
    assert sentence.startswith(f"{house.file}: ")
    assert found in sentence


def test_byte_order_mark_is_tolerated(house: House) -> None:
    """A file saved by an editor that begins files with a mark is read like any other."""
    house.write(codecs.BOM_UTF8 + b'{"port": 80}')
    assert house.config().port == 80


def test_named_file_replaces_the_default_one(house: House, tmp_path: Path) -> None:
    """The option names the file, else the variable does, and the default one is not read."""
    house.write(b"broken")
    first = house.write({"port": 1}, tmp_path / "first.json")
    house.write({"port": 2}, tmp_path / "second.json")
    environ = {"MNEME_CONFIG": "~/second.json"}
    assert house.config(environ).port == 2
    assert house.load(environ, config=str(first)).config.port == 1
    assert house.load(environ, config=str(first)).path == first


def test_named_file_must_be_there(house: House) -> None:
    """A file that was asked for and is missing stops the start, whichever way it was named."""
    missing = house.home / "missing.json"
    assert house.error(config=str(missing)) == f"{missing}: there is no such file"
    assert house.error({"MNEME_CONFIG": str(missing)}) == f"{missing}: there is no such file"


def test_unreadable_file_stops_the_start(house: House) -> None:
    """What cannot be read, here a directory or a place below a file, is one sentence and no traceback."""
    house.file.mkdir(parents=True)
    assert house.error() == f"{house.file}: cannot be read: Is a directory"
    house.file.rmdir()
    house.file.parent.rmdir()
    house.file.parent.write_text("")
    assert house.error() == f"{house.file}: cannot be read: Not a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_forbidden_file_stops_the_start(house: House) -> None:
    """A file of somebody else's is not taken for a missing one, which would turn authentication off."""
    house.write({}).chmod(0)
    assert house.error() == f"{house.file}: cannot be read: Permission denied"


@pytest.mark.parametrize("slashes", ["~/a", "~//a", "~///a"])
def test_home_is_expanded_whatever_the_slashes(house: House, slashes: str) -> None:
    """A doubled slash after `~` does not lead out of the home directory."""
    assert house.config(dataDir=slashes).data_dir == house.home / "a"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_file_with_keys_that_others_can_read_is_a_warning(house: House, mode: int) -> None:
    """Keys that other users of the machine can read are worth a sentence."""
    house.write({"apiKeys": [KEY]}).chmod(mode)
    assert house.load().warnings == (
        f"{house.file}: holds apiKeys and other users can read it: chmod 600 it",
    )


def test_file_without_keys_may_be_read_by_all(house: House) -> None:
    """A file with nothing secret in it may have any mode."""
    house.write({"apiKeys": [], "port": 80}).chmod(0o644)
    assert house.load({"MNEME_API_KEYS": KEY}).warnings == ()


def test_short_key_is_a_warning_by_position(house: House) -> None:
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
    """It is the one in use, under any name, or a person has named another."""
    house.write({"port": 2})
    assert house.load().warnings == ()
    (house.home / "link").symlink_to(house.file.parent)
    assert house.load(dataDir=str(house.home / "link")).warnings == ()
    beside = house.write({"port": 1}, house.home / "data" / "config.json")
    for named in (beside, house.file):
        assert house.load(dataDir=str(beside.parent), config=str(named)).warnings == ()


def test_changes_that_need_a_restart_are_named() -> None:
    """Of two configurations, the keys that a running server cannot take over are named as in the file."""
    old = Config(data_dir=Path("/a"))
    new = Config(data_dir=Path("/b"), port=1, host="::", listen=("tcp:1",), api_keys=(KEY,), max_body_bytes=1)
    assert changes_needing_restart(old, new) == ("port", "host", "listen", "dataDir")
    assert changes_needing_restart(old, Config(data_dir=Path("/a"), lock_ttl_minutes=1)) == ()
    other = Config(data_dir=Path("/a"), merge=False, stock_push_help=False, history_keep_all_hours=1)
    assert changes_needing_restart(old, other) == ()


def test_reload_does_not_drop_authentication() -> None:
    """A running server goes over to other keys, or to its first, but not from some to none."""
    without, with_one = Config(data_dir=Path()), Config(data_dir=Path(), api_keys=(KEY,))
    sentence = refuse_reload(with_one, without)
    assert sentence is not None
    assert KEY not in sentence
    assert refuse_reload(without, with_one) is None
    assert refuse_reload(without, without) is None
    assert refuse_reload(with_one, Config(data_dir=Path(), api_keys=(OTHER,))) is None


VARIABLES = {
    "MNEME_PORT": "80",
    "MNEME_HOST": "::1",
    "MNEME_LISTEN": "tcp:80",
    "MNEME_DATA_DIR": "/data",
    "MNEME_API_KEYS": KEY,
    "MNEME_LOCK_TTL_MINUTES": "5",
    "MNEME_ALLOWED_ORIGINS": "*",
    "MNEME_RATE_LIMIT_PER_MINUTE": "7",
    "MNEME_TRUSTED_PROXIES": "10.0.0.0/8",
    "MNEME_MAX_CONNECTIONS_PER_ADDRESS": "64",
    "MNEME_MAX_BODY_BYTES": "1000",
    "MNEME_MERGE": "false",
    "MNEME_STOCK_PUSH_HELP": "false",
    "MNEME_WORKING_COPY": "false",
    "MNEME_HISTORY_KEEP_ALL_HOURS": "1",
    "MNEME_HISTORY_KEEP_DAILY_DAYS": "1",
    "MNEME_HISTORY_KEEP_WEEKLY_DAYS": "7",
    "MNEME_HISTORY_MAX_BYTES_PER_PROJECT": "0",
    "MNEME_BACKUP_DIR": "/backups",
    "MNEME_BACKUP_KEEP": "14",
    "MNEME_CONFIG": "/etc/mneme.json",
}


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_a_variable_in_quotes_is_refused_by_name(house: House, name: str, quote: str) -> None:
    """As an env file keeps them where no shell reads it; no value is repeated."""
    value = VARIABLES[name]
    sentence = house.error({name: f" {quote}{value}{quote}"})
    assert sentence.startswith(f"environment variable {name} begins or ends with a quote: give ")
    assert len(value) < 5 or value not in sentence


def test_every_variable_is_among_those_that_are_tried_in_quotes(house: House) -> None:
    """A variable that is added is added there, too."""
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
    """And so is half a pair of quotes around a path."""
    sentence = house.error({name: value})
    assert name in sentence
    assert "without quotes" in sentence
    assert KEY not in sentence


@pytest.mark.parametrize(
    ("name", "between"),
    [("MNEME_API_KEYS", "commas"), ("MNEME_ALLOWED_ORIGINS", "commas"), ("MNEME_LISTEN", "spaces")],
)
@pytest.mark.parametrize("template", ['["{}"]', "['{}']", '[ "{}", "x" ]'])
def test_a_variable_that_is_a_list_as_in_the_file_is_refused(
    house: House, name: str, between: str, template: str
) -> None:
    """Else its brackets would be part of the first and the last key."""
    sentence = house.error({name: template.format(KEY)})
    wanted = f"is a list as in the file: give its items alone, with {between} between them"
    assert sentence == f"environment variable {name} {wanted}"


@pytest.mark.parametrize("key", ['"' + KEY, KEY + "'", f'{KEY[:5]}"{KEY[5:]}', '"'])
def test_a_key_may_hold_a_quote_by_chance(house: House, key: str) -> None:
    """Only a pair around it was meant for somebody else."""
    assert house.config({"MNEME_API_KEYS": key}).api_keys == (key,)


def test_quotes_inside_a_text_of_the_file_are_refused(house: House) -> None:
    """The sentence names the file and the item, and not the key."""
    house.write({"apiKeys": [OTHER, f'"{KEY}"']})
    sentence = house.error()
    assert sentence.startswith(f"{house.file}: item 2 of apiKeys begins or ends with a quote")
    assert KEY not in sentence
    house.write({"dataDir": "'/data'"})
    assert "dataDir begins or ends with a quote" in house.error()
    house.write({})
    assert "option --data-dir: dataDir begins or ends" in house.error(dataDir='"/data"')


UNEXPANDED = ["$HOME/mneme", "${HOME}/x", "/srv/$USER", "$(pwd)/x", "%h/memory", "/srv/%i", "%S", "%HOME%/x"]


@pytest.mark.parametrize("path", UNEXPANDED)
def test_a_path_that_nobody_has_filled_in_is_refused(house: House, path: str) -> None:
    """Environment, file and options alike, for the data and for the config file."""
    advice = "give the path itself, or ~/ for the home directory"
    for sentence in (
        house.error({"MNEME_DATA_DIR": path}),
        house.error({"MNEME_CONFIG": path}),
        house.error(dataDir=path),
        house.error(config=path),
    ):
        assert sentence.endswith(advice)
        assert path not in sentence
    house.write({"dataDir": path})
    assert house.error() == f"{house.file}: dataDir holds a $ or % that nobody has filled in: {advice}"


@pytest.mark.parametrize("path", ["/srv/100%", "/srv/a%20b", "/srv/share$", "/srv/50%off/x", "/a b/c'd/e"])
def test_a_path_may_hold_signs_that_stand_for_nothing(house: House, path: str) -> None:
    """Those are names of directories."""
    assert house.config(dataDir=path).data_dir == Path(path)


def test_a_user_without_a_home_says_where_the_data_is(house: House) -> None:
    """By option, variable or named file; there is no config file to look for otherwise."""
    loaded = house.homeless(dataDir="/data")
    assert loaded == Loaded(Config(data_dir=Path("/data")), (), None)
    assert house.homeless({"MNEME_DATA_DIR": "data"}).config.data_dir == Path("data")
    file = house.write({"dataDir": "/data"})
    assert house.homeless(config=str(file)) == Loaded(Config(data_dir=Path("/data")), (), file, found=True)


@pytest.mark.parametrize("options", [{}, {"dataDir": "~/memory"}, {"config": "~/c.json", "dataDir": "/data"}])
def test_a_user_without_a_home_who_says_nothing_is_told_to(
    house: House, options: dict[str, str | list[str]]
) -> None:
    """Paths that begin with `~` are to be given in full."""
    with pytest.raises(ConfigError, match=r"^This user has no home directory .*: give"):
        load(options, {}, None)
