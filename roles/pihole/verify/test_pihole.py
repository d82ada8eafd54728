"""What a host shows when the role `pihole` has done its work."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

# As the role's own program does, with the same session.
API = """
import json, sys
sys.path.insert(0, "/usr/local/lib/homelab-provision")
from homelab_pihole import client, setup
setup_ = setup.load()
"""
SESSIONS = f"""{API}
with setup.own(setup_) as session:
    print(json.dumps([one for one in session.get("auth/sessions")["sessions"] if not one["current_session"]]))
"""
WRONG = f"""{API}
print(client.Session(setup_.url, "a guess")._once("POST", "auth", {{"password": "a guess of somebody"}}).status)
print(client.Session(setup_.url, "a guess")._once("GET", "config").status)
"""
# What it blocks, by its own database: a name that is denied, or one of a list.
BLOCKED = """
import json, sqlite3, subprocess
base = sqlite3.connect("file:/srv/pihole/etc/gravity.db?mode=ro", uri=True)
for words in ("SELECT domain FROM domainlist WHERE type = 1 AND enabled", "SELECT domain FROM gravity"):
    row = base.execute(words + " LIMIT 1").fetchone()
    if row:
        print(subprocess.run(["homelab-pihole", "ask", row[0]], capture_output=True, text=True).stdout)
        break
"""
# Two machines of networks that are made for this: one whose network nobody declared, and then the same one, let in.
STRANGER = """
ip netns add verify-dns && ip link add verify0 type veth peer name eth0 netns verify-dns
ip address add 198.51.100.1/24 dev verify0 && ip link set verify0 up
ip -n verify-dns address add 198.51.100.2/24 dev eth0 && ip -n verify-dns link set eth0 up
ask() {
    ip netns exec verify-dns homelab-pihole ask pi.hole --server 198.51.100.1 | grep -o NOERROR || echo silence
}
ask
nft add rule inet homelab services ip saddr 198.51.100.2 udp dport 53 accept
ask
ip netns del verify-dns; ip link del verify0 2>/dev/null; systemctl reload nftables.service 2>/dev/null
"""

QUESTIONS = {
    "itself": "homelab-pihole ask pi.hole",
    "document": "cat /etc/homelab-provision/pihole.json",
    "record": """for name in $(python3 -c 'import json
records = json.load(open("/etc/homelab-provision/pihole.json"))["records"]
print(*(record["names"][0] for record in records[:1]))'); do homelab-pihole ask "$name"; done""",
    "blocked": f"python3 -IBc {shlex.quote(BLOCKED)}",
    "root": "homelab-pihole ask . NS",
    # One after the other: the first counts the sessions of others.
    "api": f"python3 -IBc {shlex.quote(SESSIONS)}; python3 -IBc {shlex.quote(WRONG)}",
    "stranger": STRANGER,
    "resolvers": "grep ^nameserver /etc/resolv.conf; ip -brief address show",
    "secrets": "stat --format='%a %U %n' /etc/homelab-provision/pihole /etc/homelab-provision/pihole/*",
    "shown": """docker inspect pihole; systemctl show pihole.service; for file in /proc/[0-9]*/cmdline; do
tr '\\0' ' ' <$file; done""",
    "password": "cat /etc/homelab-provision/pihole/password",
    "unit": "systemctl show --property=Restart,StartLimitIntervalUSec,ActiveState,UnitFileState pihole.service",
}


def reply(answers: Any, question: str) -> dict[str, Any]:
    """What a resolver answered, by the last line that the program said."""
    lines = answers[question].text.splitlines()
    return dict(json.loads(lines[-1])) if lines else {}


def test_it_answers(answers: Any) -> None:
    assert reply(answers, "itself")["code"] == "NOERROR"


def test_a_local_record_is_answered(answers: Any) -> None:
    records = json.loads(answers["document"].text)["records"]
    if not records:
        pytest.skip("no record is declared")
    assert records[0]["address"] in reply(answers, "record")["addresses"]


@pytest.mark.machine("its upstream knows one name alone")
def test_upstreams_are_asked(answers: Any) -> None:
    assert reply(answers, "root")["code"] == "NOERROR"


@pytest.mark.negative
def test_a_blocked_name_is_blocked(answers: Any) -> None:
    found = reply(answers, "blocked")
    if not found:
        pytest.skip("nothing is blocked")
    assert found["addresses"] in ([], ["0.0.0.0"])


@pytest.mark.negative
def test_a_wrong_password_opens_nothing_and_no_session_is_left(answers: Any) -> None:
    sessions, login, config = answers["api"].text.splitlines()
    assert (login, config) == ("401", "401")
    assert [one for one in json.loads(sessions) if one["user_agent"] == "homelab-provision"] == []


@pytest.mark.negative
def test_a_stranger_gets_no_answer(answers: Any) -> None:
    assert answers["stranger"].text.splitlines() == ["silence", "NOERROR"]


@pytest.mark.negative
def test_the_host_does_not_ask_itself(answers: Any) -> None:
    lines = answers["resolvers"].text.splitlines()
    asked = [line.split()[1] for line in lines if line.startswith("nameserver")]
    own = [word.partition("/")[0] for line in lines if not line.startswith("nameserver") for word in line.split()[2:]]
    assert asked
    assert own
    assert [server for server in asked if server in own or server.startswith("127.")] == []


@pytest.mark.negative
def test_the_password_is_in_one_file_alone(answers: Any) -> None:
    assert {line.split()[0] for line in answers["secrets"].text.splitlines()} == {"700", "600"}
    password = answers["password"].text
    assert len(password) >= 12
    assert "pihole" in answers["shown"].text
    assert password not in answers["shown"].text


def test_it_is_started_again_for_ever(answers: Any) -> None:
    shown = dict(line.split("=", 1) for line in answers["unit"].text.splitlines())
    assert shown == {
        "Restart": "always",
        "StartLimitIntervalUSec": "0",
        "ActiveState": "active",
        "UnitFileState": "enabled",
    }
