"""What a host shows when the role `floating_ip` has done its work: somebody has each address, and it is one who may."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

# Whether anybody on the network has the address: something is sent there, and the kernel has asked who that is.
SOMEBODY = """
python3 - <<'END'
import errno, ipaddress, json, socket, subprocess, time
def known(*words):
    return json.loads(subprocess.run(["ip", "-json", *words], capture_output=True, text=True).stdout or "[]")
try:
    names = json.load(open("/etc/homelab-provision/floating.json"))["addresses"]
except FileNotFoundError:
    names = []
for each in names:
    for text in (each["address"], *each["also"]):
        address = ipaddress.ip_interface(text)
        own = any(known("address", "show", "to", f"{address.ip}/{address.max_prefixlen}"))
        found, way = own, True
        # An address may be on its way from one host to the other.
        for _ in range(0 if own else 10):
            kind = socket.AF_INET if address.version == 4 else socket.AF_INET6
            with socket.socket(kind, socket.SOCK_DGRAM) as asking:
                try:
                    asking.sendto(b"", (str(address.ip), 9))
                except OSError as error:
                    way = error.errno != errno.ENETUNREACH  # as on a host that has no IPv6 of its own
            time.sleep(0.5)
            states = [state for one in known("neigh", "show", str(address.ip)) for state in one["state"]]
            found = any(state in ("REACHABLE", "STALE", "DELAY", "PROBE") for state in states)
            if found or not way:
                break
        print(each["name"], "here" if own else "elsewhere" if found else "nowhere" if way else "unasked", text)
END
"""

FILE = "/etc/keepalived/keepalived.conf"
READ = 'for file in *; do echo "$file $(cat $file)"; done'

QUESTIONS = {
    "settings": "cat /etc/homelab-provision/floating.json 2>/dev/null || echo '{\"addresses\": []}'",
    "units": "systemctl is-active keepalived.service homelab-floating-check.service; true",
    "enabled": "systemctl is-enabled keepalived.service",
    "answers": f"cd /run/homelab-floating 2>/dev/null && {READ}; true",
    "states": f"cd /run/homelab-floating-state 2>/dev/null && {READ}; true",
    "somebody": SOMEBODY,
    "firewall": "nft --json list chain inet homelab services 2>/dev/null; true",
    "account": "id keepalived_script; passwd --status keepalived_script",
    "user": "ps --no-headers -o user:32 $(systemctl show -P MainPID homelab-floating-check.service); true",
    "refused": "printf 'vrrp_instance x {\\n no_such_word\\n}\\n' >/tmp/verify-floating.conf\n"
    "/usr/local/libexec/homelab-keepalived-check /tmp/verify-floating.conf 2>&1; echo $?\n"
    "rm /tmp/verify-floating.conf",
    "configured": f"[ ! -s {FILE} ] || /usr/local/libexec/homelab-keepalived-check {FILE} 2>&1",
    "failed": "systemctl --failed --plain --no-legend",
}


@pytest.fixture(scope="module")
def names(answers: Any) -> dict[str, dict[str, Any]]:
    """The addresses that this host may have, by their names."""
    return {each["name"]: each for each in json.loads(answers["settings"].text)["addresses"]}


def pairs(text: str) -> dict[str, str]:
    return {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in text.splitlines() if " " in line}


def test_both_programs_run_where_there_is_an_address(answers: Any, names: Any) -> None:
    """systemd skips keepalived where its configuration is missing or empty, and does not call that a failure."""
    assert answers["units"].text.split() == (["active", "active"] if names else ["inactive", "inactive"])
    assert answers["enabled"].text == "enabled"
    assert answers["failed"] == (0, "")


def test_this_host_may_have_its_addresses(answers: Any, names: Any) -> None:
    assert pairs(answers["answers"].text) == dict.fromkeys(names, "1")


def test_somebody_has_each_address(answers: Any, names: Any) -> None:
    found = [line.split() for line in answers["somebody"].text.splitlines()]
    assert sorted({name for name, _, _ in found}) == sorted(names)
    assert [line for line in found if line[1] == "nowhere"] == []


def test_the_programs_of_others_were_told_where_it_is(answers: Any, names: Any) -> None:
    here = {line.split()[0]: line.split()[1] for line in answers["somebody"].text.splitlines()}
    told = pairs(answers["states"].text)
    assert {name: told.get(name) == "master" for name in names} == {name: here[name] == "here" for name in names}


def test_what_is_configured_is_taken_as_it_is(answers: Any) -> None:
    assert answers["configured"] == (0, "")


@pytest.mark.negative
def test_what_keepalived_would_leave_out_is_refused(answers: Any) -> None:
    told = answers["refused"].text
    assert told.splitlines()[-1] == "1"
    assert "no_such_word" in told


@pytest.mark.negative
def test_vrrp_comes_in_from_peers_alone(answers: Any, names: Any) -> None:
    if not answers["firewall"].text:
        pytest.skip("this host has a firewall of its own")
    rules = [one["rule"]["expr"] for one in json.loads(answers["firewall"].text)["nftables"] if "rule" in one]
    matched = [
        {json.dumps(part["match"]["left"]): part["match"]["right"] for part in rule if "match" in part}
        for rule in rules
    ]
    vrrp = [rule for rule in matched if any(value in (112, "vrrp") for value in rule.values())]
    sources = {value for rule in vrrp for left, value in rule.items() if "saddr" in left}
    assert [rule for rule in vrrp if not any("saddr" in left for left in rule)] == []
    assert sources == {peer for each in names.values() for peer in each["peers"]}


@pytest.mark.negative
def test_the_account_that_checks_opens_nothing(answers: Any, names: Any) -> None:
    assert answers["account"].text.startswith("uid=2112(keepalived_script) gid=2112(keepalived_script)")
    assert re.search(r"^keepalived_script L", answers["account"].text, re.MULTILINE)
    if names:
        assert answers["user"].text == "keepalived_script"
