"""On whose behalf a proxy asks."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.web.proxies import LOCAL, TrustedProxies, client_behind, plain

TRUSTED = TrustedProxies.parse(["127.0.0.1", "10.0.0.0/8", "2001:db8::/32", "unix"])
PROXY, CLIENT = "10.0.0.1", "192.0.2.7"


def by_list(*values: str, peer: str = PROXY) -> str:
    """The client by `X-Forwarded-For`."""
    return client_behind(peer, (), values, TRUSTED)


def by_forwarded(*values: str, peer: str = PROXY) -> str:
    """The client by `Forwarded`."""
    return client_behind(peer, values, (), TRUSTED)


@pytest.mark.parametrize("peer", [PROXY, "127.0.0.1", "2001:db8::1", LOCAL])
def test_the_word_of_a_trusted_proxy_counts(peer: str) -> None:
    """By either header."""
    assert by_list(CLIENT, peer=peer) == CLIENT
    assert by_forwarded(f"for={CLIENT};proto=https", peer=peer) == CLIENT


@pytest.mark.parametrize("peer", [CLIENT, "127.0.0.2", "::1", "2001:db9::1", "nonsense", ""])
def test_the_word_of_anybody_else_is_ignored(peer: str) -> None:
    """Whatever it is."""
    assert by_list("198.51.100.1", peer=peer) == peer
    assert by_forwarded("for=198.51.100.1", peer=peer) == peer


def test_without_trust_nobody_is_believed() -> None:
    """Not even this machine, or a socket in the file system."""
    for peer in ("127.0.0.1", "::1", LOCAL):
        assert client_behind(peer, (), (CLIENT,), TrustedProxies()) == peer


@pytest.mark.parametrize(
    ("values", "client"),
    [
        ([CLIENT], CLIENT),
        (["198.51.100.1, 192.0.2.7"], CLIENT),
        (["198.51.100.1", "192.0.2.7,10.1.1.1", "10.2.2.2"], CLIENT),
        (["192.0.2.7:4711"], CLIENT),
        (["::ffff:192.0.2.7"], CLIENT),
        (["2001:DB9:0::7"], "2001:db9::7"),
        (["[2001:db9::7]:4711"], "2001:db9::7"),
        (["10.9.9.9, 10.8.8.8"], "10.9.9.9"),
        ([""], PROXY),
        ([" , "], PROXY),
        (["unknown"], PROXY),
        (["192.0.2.7, unknown"], PROXY),
        (["192.0.2.7, nonsense, 10.3.3.3"], "10.3.3.3"),
        (["192.0.2.7,"], PROXY),
    ],
)
def test_the_first_from_the_right_that_is_not_trusted_is_meant(values: list[str], client: str) -> None:
    """For that is as far as the word of trusted proxies reaches."""
    assert by_list(*values) == client


@pytest.mark.parametrize(
    ("values", "client"),
    [
        (["for=192.0.2.7"], CLIENT),
        (['For="192.0.2.7:4711"'], CLIENT),
        (['proto=https;for="[2001:db9::7]:4711"; by=203.0.113.43'], "2001:db9::7"),
        (['for="[2001:db9::7]"'], "2001:db9::7"),
        (['for="\\192.0.2.7"'], CLIENT),
        (["for=198.51.100.1, for=192.0.2.7", "for=10.3.3.3;proto=http"], CLIENT),
        (["for=198.51.100.1, for=unknown"], PROXY),
        (["for=198.51.100.1, for=_hidden, for=10.3.3.3"], "10.3.3.3"),
        (["for=_SEVKISEK"], PROXY),
        (["proto=https"], PROXY),
        (['host="a,for=1.2.3.4";for=192.0.2.7'], CLIENT),
        (['by="x;for=1.2.3.4";for=192.0.2.7'], CLIENT),
        (["for 192.0.2.7"], PROXY),
        (["proto=https for=192.0.2.7"], PROXY),
        (['for="192.0.2.7'], PROXY),
        ([""], PROXY),
    ],
)
def test_forwarded_is_read_as_its_standard_has_it(values: list[str], client: str) -> None:
    """Who hides counts as the proxy that tells of them."""
    assert by_forwarded(*values) == client


def test_a_forwarded_that_came_through_a_proxy_which_writes_the_list_counts_nothing() -> None:
    """The client has made it up."""
    assert client_behind(PROXY, ["for=198.51.100.1"], [CLIENT], TRUSTED) == CLIENT


_PIECES = st.sampled_from(
    ["for=", '"', "\\", ",", ";", "[", "]", ":", "192.0.2.7", "::1", "_x", " ", "=", "%"]
)


@given(st.lists(_PIECES | st.text(max_size=5)).map("".join), st.sampled_from([PROXY, CLIENT, LOCAL]))
def test_no_header_does_any_harm(text: str, peer: str) -> None:
    """Of what is no address, nothing comes through to log or limits."""
    for client in (by_list(text, text, peer=peer), by_forwarded(text, peer=peer)):
        assert client in (peer, plain(client))
        assert set(client) <= set("0123456789abcdef.:%local") or "%" in client


def test_a_long_header_takes_no_time() -> None:
    """Nor does one that never closes its quotes."""
    began = time.process_time()
    assert by_list(",".join(["10.0.0.1"] * 5000)) == PROXY
    for text in (
        '"' * 8000,
        'for="\\' * 2000,
        "for=a;" * 2000,
        ' ="' * 3000,
        ",;=" * 3000,
        "a" * 16_000,
        '"\\"' * 5000,
        "a" * 16_000 + '"',
    ):
        assert by_forwarded(text) == PROXY
    assert time.process_time() - began < 1


@pytest.mark.parametrize("text", ["", "nonsense", "10.0.0.0/33", "10.0.0", "UNIX", "[::1]", "10.0.0.1:80"])
def test_a_text_that_names_no_network_is_no_proxy(text: str) -> None:
    """The configuration is refused for it."""
    with pytest.raises(ValueError, match="does not appear"):
        TrustedProxies.parse([text])


def test_an_address_within_a_network_names_the_network() -> None:
    """As in other servers."""
    assert TrustedProxies.parse(["10.1.2.3/8"]).trust("10.9.9.9")
