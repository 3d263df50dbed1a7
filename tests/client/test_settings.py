"""The plugin's settings: a sentence for each mistake, without the key."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.client import settings
from mneme.client.errors import SettingsError
from mneme.client.exchange import Patience
from mneme.client.http import Address
from mneme.client.identity import Rules
from mneme.client.settings import Settings, address_in, client_id, config_path, load, needed
from mneme.model import ClientId, ProjectId
from tests.daemon import self_signed

URL, ELSEWHERE = "http://homeserver:3847", "http://elsewhere:1"
KEY = "b3d1c0ffee"


def configure(home: Path, content: object) -> None:
    """Write the plugin's settings; bytes as they are."""
    config_path(home).parent.mkdir(exist_ok=True)
    config_path(home).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def identify(home: Path, content: bytes) -> Path:
    """Write the client id."""
    path = home / ".claude-mneme" / ".client-id"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


# The sync section


@pytest.mark.parametrize("content", [None, {}, {"sync": {}}, {"model": "haiku", "sync": {"other": [1]}}])
def test_without_settings_there_is_no_server(tmp_path: Path, content: object) -> None:
    """All else has a default, and what is not ours is not looked at."""
    if content is not None:
        configure(tmp_path, content)
    found = load(tmp_path)
    assert found == Settings(None, Rules(), Patience(10.0, 3), plugin_syncs=False)
    with pytest.raises(
        SettingsError,
        match=r"No server is set in .*/config\.json: `mneme connect http://homeserver:3847` connects this machine",
    ):
        address_in(found, tmp_path)


def test_all_of_the_section_is_read(tmp_path: Path) -> None:
    """As the plugin reads it."""
    sync = {"enabled": True, "serverUrl": f"{URL}/", "apiKey": KEY, "projectId": "org/repo"}
    sync |= {"identity": "git", "projects": {"/srv/app/": "app"}}
    configure(tmp_path, {"sync": {**sync, "timeoutMs": 1500, "retries": 0, "hookSeconds": 0.5}})
    found = load(tmp_path)
    assert found == Settings(
        Address(URL, KEY),
        Rules((("/srv/app", ProjectId("app")),), uses_remote=True, one_for_all=ProjectId("org/repo")),
        Patience(1.5, 0),
        plugin_syncs=True,
        hook_seconds=0.5,
    )
    assert address_in(found, tmp_path) == Address(URL, KEY)


@pytest.mark.parametrize(
    ("sync", "options", "address"),
    [
        ({"serverUrl": "", "apiKey": "", "projectId": ""}, (None, None), None),
        ({"serverUrl": URL, "apiKey": ""}, (None, None), Address(URL, None)),
        ({"serverUrl": URL, "apiKey": KEY}, (None, "other"), Address(URL, "other")),
        ({"serverUrl": URL, "apiKey": KEY}, (ELSEWHERE, "other"), Address(ELSEWHERE, "other")),
        ({"serverUrl": URL, "apiKey": KEY}, (ELSEWHERE, None), Address(ELSEWHERE, None)),
        ({"serverUrl": URL, "apiKey": KEY}, (URL, None), Address(URL, KEY)),
    ],
)
def test_the_options_come_before_the_file(
    tmp_path: Path, sync: object, options: tuple[str | None, str | None], address: Address | None
) -> None:
    """An empty text is not set; a key is shown to its own server alone."""
    configure(tmp_path, {"sync": sync})
    found = load(tmp_path, *options)
    assert (found.address, found.rules) == (address, Rules())


def test_without_a_home_the_server_and_its_key_can_be_given(tmp_path: Path) -> None:
    """There are no settings then; where nothing is given, the sentence says what to give."""
    assert load(None, URL, KEY).address == Address(URL, KEY)
    assert load(None, URL).address == Address(URL, None)
    with pytest.raises(SettingsError, match=r"no home directory .*: give --server, or set HOME"):
        address_in(load(None), None)
    with pytest.raises(SettingsError, match=r"no home directory, .*: set HOME"):
        needed(None)
    assert needed(tmp_path) == tmp_path


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize(("setting", "option"), [("serverUrl", "--server"), ("apiKey", "--key")])
def test_a_server_or_a_key_in_quotes_is_refused(
    tmp_path: Path, quote: str, setting: str, option: str
) -> None:
    """In the file and as an option, and neither is repeated."""
    quoted = f"{quote}{URL if setting == 'serverUrl' else KEY}{quote}"
    options = (quoted, None) if setting == "serverUrl" else (URL, quoted)
    configure(tmp_path, {"sync": {"serverUrl": URL, setting: quoted}})
    for typed in ((None, None), options):
        with pytest.raises(SettingsError, match=f"sync.{setting}, or {option}, is in quotes") as refused:
            load(tmp_path, *typed)
        assert quoted not in str(refused.value)
        configure(tmp_path, {})


BAD = [
    *(b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"sync": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    *(
        {"sync": sync}
        for sync in (None, "on", {"enabled": "yes"}, {"serverUrl": 3847}, {"apiKey": ["a", "b"]})
    ),
    *({"sync": {"timeoutMs": number}} for number in (0, -1, "10s", 10**400, 2**31)),
    *({"sync": {"hookSeconds": number}} for number in (0, -1, "2s", 61)),
    *({"sync": sync} for sync in ({"projectId": 7}, {"retries": -1}, {"retries": 1.5})),
]


@pytest.mark.parametrize("content", BAD, ids=lambda content: str(content)[:40])
def test_settings_that_make_no_sense_are_told_with_their_place(tmp_path: Path, content: object) -> None:
    """Which file, what is wrong, and what it should be like."""
    configure(tmp_path, content)
    with pytest.raises(
        SettingsError, match=r'/config\.json cannot be used: .*; what is needed of it is \{"sync"'
    ):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b'{"sync": {"serverUrl": "http://home'])
def test_settings_without_an_end_are_told_as_such(tmp_path: Path, content: bytes) -> None:
    """Somebody is writing them, or the disk was full."""
    configure(tmp_path, content)
    with pytest.raises(SettingsError, match=r"/config\.json cannot be used: it is not complete JSON; "):
        load(tmp_path)


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: json.dumps({"sync": text}).encode()))
def test_no_content_does_worse(content: bytes) -> None:
    """Whatever it is, it is settings, or a sentence."""
    with tempfile.TemporaryDirectory() as home:
        configure(Path(home), content)
        with suppress(SettingsError):
            load(Path(home))


def test_settings_that_cannot_be_read_are_told_so(tmp_path: Path) -> None:
    """They are not taken for none."""
    config_path(tmp_path).mkdir(parents=True)
    with pytest.raises(SettingsError, match=r"/config\.json cannot be read: it is no file"):
        load(tmp_path)


GOOD_URLS = [
    *("http://homeserver:3847", "https://homeserver", "HTTP://Homeserver", "http://192.0.2.7:3847"),
    *("http://[::1]:3847", "https://example.org/mneme"),
]


@pytest.mark.parametrize("url", GOOD_URLS)
@pytest.mark.parametrize("end", ["", "/", "///"])
def test_an_address_is_taken_without_the_slash_at_its_end(tmp_path: Path, url: str, end: str) -> None:
    """A path before the API is for a reverse proxy."""
    assert load(tmp_path, url + end).address == Address(url, None)


BAD_URLS = [
    *("homeserver:3847", "homeserver", "//homeserver", "ftp://homeserver", "http://", "http://:3847"),
    *("http://homeserver:0", "http://homeserver:99999", "http://homeserver:port", "http://[::1"),
    *("http://home server", " http://homeserver", "http://homeserver\n", "http://home\tserver"),
    *("http://homeserver\x00", "http://höme", "http://homeserver/?", "http://homeserver/?a=b"),
    *("http://homeserver#", "http://ana:s3cret@homeserver", "http://:s3cret@homeserver"),
    *("http://@homeserver", "s3cret"),
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_what_is_no_address_is_not_repeated(tmp_path: Path, url: str) -> None:
    """The text may be a key, or hold a password."""
    with pytest.raises(SettingsError, match="must look like http://homeserver:3847") as caught:
        load(tmp_path, url)
    assert "s3cret" not in str(caught.value)


@given(st.text(max_size=30), st.sampled_from(["http://", "https://", ""]))
def test_any_text_is_an_address_or_none(text: str, scheme: str) -> None:
    """An accepted URL can be followed by a path."""
    try:
        url = settings._checked_url(scheme + text)
    except SettingsError:
        return
    assert url.isascii()
    assert url.isprintable()
    assert not set("?# @") & set(url)


def test_an_id_that_is_too_long_is_told_so(tmp_path: Path) -> None:
    """With the name of the setting."""
    configure(tmp_path, {"sync": {"projectId": "x" * 513}})
    with pytest.raises(SettingsError, match=r"sync\.projectId cannot be used: .* 512 .* 513"):
        load(tmp_path)


@pytest.mark.parametrize("ca_file", ["~/ca.pem", "{home}/ca.pem"])
def test_a_file_with_certificates_is_in_the_address(tmp_path: Path, ca_file: str) -> None:
    """By an absolute path or one in the home directory."""
    self_signed(tmp_path).rename(tmp_path / "ca.pem")
    configure(tmp_path, {"sync": {"serverUrl": URL, "caFile": ca_file.format(home=tmp_path)}})
    assert load(tmp_path).address == Address(URL, None, tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("ca_file", "content", "reason"),
    [
        ("~/none.pem", None, "cannot be read: No such file or directory"),
        ("~/ca.pem", b"", "holds no certificate that can be read: it must be a PEM file"),
        (
            "~/ca.pem",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "holds no certificate",
        ),
        ("ca.pem", b"", "must be a whole path to a PEM file"),
        ("'~/ca.pem'", b"", "is in quotes"),
    ],
)
def test_a_file_of_certificates_that_cannot_be_used_is_named(
    tmp_path: Path, ca_file: str, content: bytes | None, reason: str
) -> None:
    """The sentence names the setting, the file, and what is wrong."""
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    configure(tmp_path, {"sync": {"serverUrl": URL, "caFile": ca_file}})
    with pytest.raises(SettingsError, match=r"sync\.caFile") as refused:
        load(tmp_path)
    assert reason in str(refused.value)


# The client id


def test_a_machine_is_named_once(tmp_path: Path) -> None:
    """After its host, with eight digits that no other has; it keeps the name."""
    name = client_id(tmp_path)
    host, _, mark = name.value.rpartition("-")
    assert host == socket.gethostname()
    assert len(mark) == 8
    assert int(mark, 16) >= 0
    assert client_id(tmp_path) == name
    path = tmp_path / ".claude-mneme" / ".client-id"
    assert path.read_text() == f"{name}\n"
    assert [one.name for one in path.parent.iterdir()] == [".client-id"]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"laptop-1a2b3c4d", b"laptop-1a2b3c4d\n", b"  laptop-1a2b3c4d \r\n"])
def test_the_name_that_the_plugin_has_made_is_kept(tmp_path: Path, content: bytes) -> None:
    """Machine and plugin are one client of the server."""
    path = identify(tmp_path, content)
    assert client_id(tmp_path) == ClientId("laptop-1a2b3c4d")
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n "])
def test_a_name_that_was_lost_in_a_crash_is_made_anew(tmp_path: Path, content: bytes) -> None:
    """A file without a name is as good as none."""
    identify(tmp_path, content)
    assert client_id(tmp_path) == client_id(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\nb", b"a\x00b", b"x" * 201])
def test_a_name_that_cannot_be_sent_is_not_thrown_away(tmp_path: Path, content: bytes) -> None:
    """A person is told to do it."""
    path = identify(tmp_path, content)
    with pytest.raises(SettingsError, match="must hold a name for this machine of at most 200 characters"):
        client_id(tmp_path)
    assert path.read_bytes() == content


def test_a_name_that_cannot_be_read_is_told_so(tmp_path: Path) -> None:
    """A new id would be another machine to the server."""
    (tmp_path / ".claude-mneme" / ".client-id").mkdir(parents=True)
    with pytest.raises(SettingsError, match="cannot be read"):
        client_id(tmp_path)


def test_a_host_with_a_long_name_is_a_client_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long host name is cut; an empty one is `machine`."""
    monkeypatch.setattr(socket, "gethostname", lambda: "h" * 300)
    assert len(client_id(tmp_path).value) == 200
    monkeypatch.setattr(socket, "gethostname", lambda: "")
    identify(tmp_path, b"")
    assert client_id(tmp_path).value.startswith("machine-")


def _name(home: str, barrier: object, names: multiprocessing.Queue[str]) -> None:
    barrier.wait()  # type: ignore[attr-defined]  # the class of barriers is not public
    names.put(client_id(Path(home)).value)


def test_processes_that_name_a_machine_at_once_agree(tmp_path: Path) -> None:
    """Whoever is first decides."""
    context = multiprocessing.get_context("spawn")
    barrier, names = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_name, args=(str(tmp_path), barrier, names)) for _ in range(4)]
    for process in processes:
        process.start()
    found = {names.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert found == {client_id(tmp_path).value}


def test_who_is_second_takes_the_name_of_the_first(tmp_path: Path) -> None:
    """Found when one's own was made already; but not where there is none."""
    path = identify(tmp_path, b"first-11111111\n")
    assert settings._kept(path, b"second-22222222") == b"first-11111111\n"
    path.write_bytes(b"\n")
    assert settings._kept(path, b"third-33333333") == b"third-33333333"
    assert path.read_bytes() == b"third-33333333\n"
    path.unlink()
    assert settings._kept(path, b"fourth-44444444") == b"fourth-44444444"
    assert [one.name for one in path.parent.iterdir()] == [".client-id"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_home_without_hard_links_has_a_name_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """On a stick, for instance."""

    def link(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    assert client_id(tmp_path) == client_id(tmp_path)
