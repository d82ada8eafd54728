"""What the role `floating_ip` makes of the lists of all hosts, and which it refuses."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from homelab_provision import paths

ROLE = paths.content("roles") / "floating_ip"
ADDRESSES = {"one": "192.0.2.11", "two": "192.0.2.12", "three": "192.0.2.13", "far": "198.51.100.11"}
CHECK = {"kind": "dns", "name": "who.home.arpa"}

_spec = importlib.util.spec_from_file_location("floating_ip", ROLE / "filter_plugins/floating_ip.py")
assert _spec
assert _spec.loader
plugin = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(plugin)


def entry(**given: Any) -> dict[str, Any]:
    usual = {"name": "dns", "address": "192.0.2.53/24", "id": 53, "hosts": ["one", "two"], "check": [CHECK]}
    return {**usual, **given}


def instances(*entries: dict[str, Any], host: str = "one", **lists: list[dict[str, Any]]) -> Any:
    """What `host` is told when all hosts have this list, but those that are named."""
    return plugin.instances({each: list(entries) for each in ADDRESSES} | lists, host, ADDRESSES)


def test_each_host_has_its_part() -> None:
    both = [instances(entry(also=["fd00::53/64"]), host=host) for host in ("one", "two")]
    common = {"name": "dns", "id": 53, "address": "192.0.2.53/24", "also": ["fd00::53/64"], "check": [CHECK]}
    assert both == [
        [{**common, "priority": 200, "source": "192.0.2.11", "peers": ["192.0.2.12"]}],
        [{**common, "priority": 150, "source": "192.0.2.12", "peers": ["192.0.2.11"]}],
    ]


def test_a_host_that_is_not_named_has_none() -> None:
    assert instances(entry(), host="three") == []


def test_the_address_of_the_hosts_own_kind_comes_first() -> None:
    """VRRP speaks of addresses of the kind that it is spoken with."""
    [found] = instances(entry(address="fd00::53/64", also=["192.0.2.53/24"]))
    assert (found["address"], found["also"]) == ("192.0.2.53/24", ["fd00::53/64"])


def test_two_pairs_of_the_same_hosts() -> None:
    vpn = entry(name="vpn", id=54, address="192.0.2.54/24", hosts=["two", "one"])
    assert [(each["name"], each["priority"]) for each in instances(entry(), vpn)] == [("dns", 200), ("vpn", 150)]


def test_what_is_checked_may_differ_between_hosts() -> None:
    own = entry(check=[{"kind": "tcp", "port": 80}])
    assert instances(entry(), one=[own])[0]["check"] == own["check"]


@pytest.mark.negative
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "DNS"}, "lower-case"),
        ({"name": "a-name-that-is-too-long"}, "lower-case"),
        ({"name": "a\n"}, "lower-case"),
        ({"id": 0}, "from 1 to 255"),
        ({"id": 256}, "from 1 to 255"),
        ({"hosts": ["one"]}, "from two to four"),
        ({"hosts": ["one", "one"]}, "from two to four"),
        ({"hosts": ["one", "gone"]}, "gone is no host of the groups `provisioned` and `floating`"),
        ({"hosts": ["one", "far"]}, "outside of the network of far (198.51.100.11)"),
        ({"address": "192.0.2.53"}, "with its prefix"),
        ({"address": "dns.home.arpa/24"}, "with its prefix"),
        ({"address": "192.0.2.53/32"}, "outside of the network of one"),
        ({"address": "192.0.3.53/24"}, "outside of the network of one"),
        ({"address": "192.0.2.255/24"}, "no address that a host can have"),
        ({"address": "192.0.2.12/24"}, "own address of two"),
        ({"address": "fd00::53/64"}, "one address has to be IPv4"),
        ({"also": ["fe80::1/64"]}, "no address that a host can have"),
        ({"also": ["ff02::1/64"]}, "no address that a host can have"),
        ({"also": ["fd00::53"]}, "with its prefix"),
        ({"check": []}, "check has to say"),
        ({"check": [{"kind": "ping"}]}, "has to be one of dns, tcp"),
        ({"check": [{"kind": "dns"}]}, "has no `name`"),
        ({"check": [{"kind": "tcp"}]}, "has no `port`"),
        ({"check": [{"kind": "dns", "name": "x", "address": "pi.hole"}]}, "has to be a number, not a name"),
        ({"check": [{"kind": "command", "command": ["true"]}]}, "whole path"),
        ({"check": [{**CHECK, "timeout": 60}]}, "at most 5 seconds"),
    ],
)
def test_what_could_not_work_is_refused_with_its_place(changed: dict[str, Any], said: str) -> None:
    name = changed.get("name", "dns")
    with pytest.raises(plugin.Refused) as refused:
        instances(entry(**changed))
    assert said in str(refused.value)
    assert f"floating_ips of far, {name!r}: " in str(refused.value)


@pytest.mark.negative
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "vpn", "address": "192.0.2.54/24"}, "have one id"),
        ({"name": "vpn", "id": 54}, "have one address"),
        ({"name": "vpn", "id": 54, "address": "192.0.2.54/24", "also": ["192.0.2.53/25"]}, "have one address"),
        ({"address": "192.0.2.54/24", "id": 54}, "have one name"),
        ({"hosts": ["two", "one"]}, "have one name"),
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_two_that_would_meet_are_refused(changed: dict[str, Any], said: str, elsewhere: bool) -> None:
    """In one list, and in those of two hosts that do not agree."""
    here, three = ([entry()], [entry(**changed)]) if elsewhere else ([entry(), entry(**changed)], [])
    with pytest.raises(plugin.Refused, match=said):
        instances(*here, three=three)


@pytest.mark.negative
def test_the_same_twice_in_one_list_is_refused() -> None:
    assert len(instances(entry())) == 1
    with pytest.raises(plugin.Refused, match="have one name"):
        instances(entry(), entry())


@pytest.mark.negative
def test_hosts_of_two_kinds_and_without_a_number_are_refused() -> None:
    lists = {"one": [entry()]}
    with pytest.raises(plugin.Refused, match="of one kind"):
        plugin.instances(lists, "one", {"one": "192.0.2.11", "two": "fd00::12"})
    with pytest.raises(plugin.Refused, match=r"two has no address but 'two\.home\.arpa'"):
        plugin.instances(lists, "one", {"one": "192.0.2.11", "two": "two.home.arpa"})


# ---- what is written -----------------------------------------------------------------------------------------


def render(text: str, known: dict[str, Any]) -> str:
    return str(Templar(loader=DataLoader(), variables=known).template(trust_as_template(text)))


def written(template: str, host: str, *entries: dict[str, Any]) -> str:
    known = {
        **yaml.safe_load((ROLE / "defaults/main.yml").read_text()),
        "inventory_hostname": host,
        "__floating_ip_instances": instances(*entries, host=host),
        "__floating_ip_interface": "enp1s0",
    }
    return render((ROLE / "templates" / template).read_text(), known)


def block(text: str, head: str) -> list[str]:
    """The lines of a block of keepalived.conf, without those of comments."""
    lines = [line.strip() for line in text.partition(f"\n{head} {{\n")[2].partition("\n}\n")[0].splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_the_configuration_of_both_hosts() -> None:
    one, two = [written("keepalived.conf.j2", host, entry(also=["fd00::53/64"])) for host in ("one", "two")]
    assert block(one, "vrrp_instance dns") == [
        "state BACKUP",
        "nopreempt",
        "interface enp1s0",
        "virtual_router_id 53",
        "priority 200",
        "advert_int 0.3",
        "timer_expired_backup",
        "higher_prio_send_advert",
        "unicast_src_ip 192.0.2.11",
        "unicast_peer {",
        "192.0.2.12 min_ttl 255",
        "}",
        "virtual_ipaddress {",
        "192.0.2.53/24",
        "}",
        "virtual_ipaddress_excluded {",
        "fd00::53/64 preferred_lft 0",
        "}",
        "track_file {",
        "dns",
        "}",
        'notify "/usr/local/libexec/homelab-floating-notify" root',
    ]
    differ = [pair for pair in zip(one.splitlines(), two.splitlines(), strict=True) if len(set(pair)) > 1]
    assert [after.strip() for _, after in differ] == [
        "router_id two",
        "priority 150",
        "unicast_src_ip 192.0.2.12",
        "192.0.2.11 min_ttl 255",
    ]


def test_a_missing_answer_is_a_bad_one() -> None:
    assert block(written("keepalived.conf.j2", "one", entry()), "track_file dns") == [
        'file "/run/homelab-floating/dns"',
        "weight 0 reverse",
    ]


@pytest.mark.negative
def test_peers_alone_may_speak() -> None:
    vpn = entry(name="vpn", id=54, address="192.0.2.54/24", hosts=["three", "one", "two"])
    rules = [line.strip() for line in written("floating.nft.j2", "one", entry(), vpn).splitlines() if "accept" in line]
    assert rules == ["ip saddr 192.0.2.12 meta l4proto 112 accept", "ip saddr 192.0.2.13 meta l4proto 112 accept"]
