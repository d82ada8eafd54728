"""What one server believes of another's word about clients, and whom it greets for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import programs
from tests.unit.roles.vpn.test_vpn_config import document, key, read

places, pair, host = (programs.vpn(name) for name in ("places", "pair", "host"))
errors = programs.library("errors")

TABLET, PHONE = key(2), key(4)
OTHER = "192.168.1.12"
NOW = 1_800_000_000.0
# As Linux 6.12 prints them, in part.
FIB_TRIE = """\
Local:
  +-- 0.0.0.0/0 3 0 5
     +-- 192.168.1.0/26 2 0 2
        |-- 192.168.1.0
           /24 link UNICAST
        |-- 192.168.1.11
           /32 host LOCAL
     |-- 192.168.1.53
        /32 host LOCAL
     |-- 192.168.1.255
        /32 link BROADCAST
"""
IF_INET6 = """\
fd000001000000000000000000000053 02 40 00 a0     eth0
fd000001000000000000000000000054 02 40 00 c0     eth0
"""


def place(handshake: int, endpoint: str = "203.0.113.9:1024") -> Any:
    return places.Place(handshake, endpoint)


@pytest.fixture
def voice() -> Any:
    return places.Voice(key(1))


def test_a_word_is_heard_by_who_has_the_same_key(voice: Any) -> None:
    [said] = places.Voice(key(1)).say({TABLET: place(100), PHONE: place(90, "[2001:db8::9]:51820")}, NOW)
    assert voice.hear(said, OTHER, 0) == {TABLET: place(100), PHONE: place(90, "[2001:db8::9]:51820")}
    assert key(1).encode() not in said


def test_many_clients_are_told_in_words_that_every_network_passes_on(voice: Any) -> None:
    many = {key(number): place(100, f"[2001:db8:1234:5678:9abc:def0:1234:{number}]:51820") for number in range(10, 99)}
    words = list(places.Voice(key(1)).say(many, NOW))
    assert max(len(word) for word in words) < 1280 - 48
    heard: dict[str, Any] = {}
    for word in words:
        heard |= voice.hear(word, OTHER, 0)
    assert heard == many
    assert voice.hear(words[-1], OTHER, 0) == {}


@pytest.mark.negative
def test_a_stranger_is_not_heard(voice: Any) -> None:
    [said] = places.Voice(key(9)).say({TABLET: place(100)}, NOW)
    assert voice.hear(said, OTHER, 0) == {}
    [own] = voice.say({TABLET: place(100)}, NOW)
    changed = own.replace(b"203.0.113.9", b"203.0.113.8")
    assert voice.hear(changed, OTHER, 0) == {}
    for cut in (own[:-1], own[:32], own[:10], b""):
        assert voice.hear(cut, OTHER, 0) == {}
    assert voice.hear(own, OTHER, 0) == {TABLET: place(100)}


@pytest.mark.negative
def test_a_word_counts_once(voice: Any) -> None:
    [first], [second] = (voice.say({TABLET: place(at)}, NOW + at) for at in (1, 2))
    assert voice.hear(second, OTHER, 0)
    assert voice.hear(second, OTHER, 1) == {}
    assert voice.hear(first, OTHER, 1) == {}
    assert voice.hear(first, "192.168.1.13", 1), "what somebody else says has a clock of its own"


def test_somebody_whose_clock_was_set_back_is_heard_again_after_a_while(voice: Any) -> None:
    [ahead] = voice.say({TABLET: place(1)}, NOW + 3600)
    assert voice.hear(ahead, OTHER, 0)
    [back] = voice.say({TABLET: place(2)}, NOW)
    assert voice.hear(back, OTHER, 5) == {}
    assert voice.hear(back, OTHER, 11)


def test_who_has_a_newer_session_elsewhere_is_greeted() -> None:
    known = places.Knowledge()
    known.learn({TABLET: place(100), PHONE: place(100)})
    own = {PHONE: place(100)}
    assert known.to_greet(own, (TABLET, PHONE), 0) == {TABLET: "203.0.113.9:1024"}
    own[TABLET] = place(101)
    assert known.to_greet(own, (TABLET, PHONE), 60) == {}, "it has answered"
    known.learn({TABLET: place(160, "203.0.113.9:2048")})
    assert known.to_greet(own, (TABLET, PHONE), 60) == {TABLET: "203.0.113.9:2048"}


def test_who_does_not_answer_is_greeted_again_but_not_for_ever() -> None:
    known = places.Knowledge()
    known.learn({TABLET: place(100)})
    when = [second for second in range(60) if known.to_greet({}, (TABLET,), second)]
    assert when == [0, 1, 3, 7]


def test_the_newest_place_counts_whoever_says_it() -> None:
    known = places.Knowledge()
    known.learn({TABLET: place(100, "203.0.113.9:2")})
    known.learn({TABLET: place(90, "203.0.113.9:1")})
    assert known.to_greet({}, (TABLET,), 0) == {TABLET: "203.0.113.9:2"}


@pytest.mark.negative
def test_who_is_revoked_is_not_greeted() -> None:
    known = places.Knowledge()
    known.learn({TABLET: place(100)})
    assert known.to_greet({}, (PHONE,), 0) == {}


def test_an_address_of_this_host_is_told_from_others() -> None:
    def shared(*addresses: str) -> Any:
        values = document() | {"pair": {"addresses": list(addresses), "others": [OTHER], "port": 51821}}
        return read(values).pair

    assert pair.has(shared("127.0.0.1"))
    assert not pair.has(shared("192.0.2.7", "2001:db8::7"))
    assert pair.has(shared("192.0.2.7", "127.0.0.1"))


def test_the_kernel_says_which_addresses_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in a network where the host has another one already, and none that is still being asked for."""
    (tmp_path / "fib_trie").write_text(FIB_TRIE)
    (tmp_path / "if_inet6").write_text(IF_INET6)
    monkeypatch.setattr(host, "PROC", tmp_path)
    assert host.own_addresses() == {"192.168.1.11", "192.168.1.53", "fd00:1::53"}
    (tmp_path / "if_inet6").unlink()
    assert host.own_addresses() == {"192.168.1.11", "192.168.1.53"}


@pytest.mark.negative
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"addresses": [], "others": [OTHER], "port": 51821}, "pair.addresses: a list of addresses is expected"),
        ({"addresses": ["vpn.home"], "others": [OTHER], "port": 1}, "pair.addresses: a list of addresses"),
        ({"addresses": ["192.0.2.7"], "others": [OTHER, "fd00::1"], "port": 1}, "pair.others: addresses of one kind"),
        ({"addresses": ["192.0.2.7"], "others": [OTHER], "port": 70000}, "pair.port: a number from 1 to 65535"),
    ],
)
def test_a_pair_that_makes_no_sense_is_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.Trouble, match="expected") as raised:
        read(document() | {"pair": wrong})
    assert said in json.dumps(raised.value.message)


def test_one_that_no_way_leads_to_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is looked for where it was, from the address that it knows, and kept as it is meant to be."""
    told = read(document() | {"pair": {"addresses": ["192.0.2.7"], "others": [OTHER], "port": 51821}})
    ran: list[str] = []

    def must(argv: list[str]) -> str:
        ran.append(" ".join(argv))
        if "203.0.113.66" in argv:
            raise errors.Trouble("Network is unreachable")
        return '[{"gateway": "192.0.2.1", "dev": "eth0"}]' if "get" in argv else ""

    given: list[str] = []
    monkeypatch.setattr(pair, "must", must)
    monkeypatch.setattr(pair.wireguard, "synchronise", lambda _, text: given.append(text))
    said: list[str] = []
    pair._greet(told, told.pair, {TABLET: "203.0.113.9:1024", PHONE: "203.0.113.66:7"}, said.append)
    assert said == ["Network is unreachable", "spoke first to cloud, tablet"]
    assert "ip -4 route replace 203.0.113.9 via 192.0.2.1 dev eth0 src 192.0.2.7 table 51820" in ran
    assert [text.count("Endpoint = ") for text in given] == [0, 2, 0]
    assert [text.count("[Peer]") for text in given] == [0, 2, 2]
    assert "PersistentKeepalive = 1\n" in given[1]
    assert "PersistentKeepalive = 1\n" not in given[2]
