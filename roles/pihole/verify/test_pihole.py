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
# Even so it gets nothing from an Unbound.
STRANGER = """
ip netns add verify-dns && ip link add verify0 type veth peer name eth0 netns verify-dns
ip address add 198.51.100.1/24 dev verify0 && ip link set verify0 up
ip -n verify-dns address add 198.51.100.2/24 dev eth0 && ip -n verify-dns link set eth0 up
ask() {
    ip netns exec verify-dns homelab-pihole ask pi.hole --server 198.51.100.1 --port $1 |
        grep -oE 'NOERROR|REFUSED' || echo silence
}
ask 53
nft add rule inet homelab services ip saddr 198.51.100.2 udp dport '{ 53, 5335 }' accept
ask 53
ask 5335
ip netns del verify-dns; ip link del verify0 2>/dev/null; systemctl reload nftables.service 2>/dev/null
"""
UNIT = "--property=Restart,StartLimitIntervalUSec,ActiveState,UnitFileState"

QUESTIONS = {
    "itself": "homelab-pihole ask pi.hole",
    "document": "cat /etc/homelab-provision/pihole.json",
    "record": """for name in $(python3 -c 'import json
records = json.load(open("/etc/homelab-provision/pihole.json"))["records"]
print(*(record["names"][0] for record in records[:1]))'); do homelab-pihole ask "$name"; done""",
    "blocked": f"python3 -IBc {shlex.quote(BLOCKED)}",
    "root": "homelab-pihole ask . NS",
    "unbound": "homelab-pihole ask . NS --port 5335",
    "listens": "ss --no-header --listening --tcp --udp --numeric 'sport = 5335'",
    # One after the other: the first counts the sessions of others.
    "api": f"python3 -IBc {shlex.quote(SESSIONS)}; python3 -IBc {shlex.quote(WRONG)}",
    "stranger": STRANGER,
    "resolvers": "grep ^nameserver /etc/resolv.conf; ip -brief address show",
    "secrets": "stat --format='%a %U %n' /etc/homelab-provision/pihole /etc/homelab-provision/pihole/*",
    "shown": """docker inspect pihole; systemctl show pihole.service; for file in /proc/[0-9]*/cmdline; do
tr '\\0' ' ' <$file; done""",
    "password": "cat /etc/homelab-provision/pihole/password",
    "unit": f"systemctl show {UNIT} pihole.service",
    "unbound-unit": f"systemctl show {UNIT} unbound.service",
}
FOR_EVER = {"Restart": "always", "StartLimitIntervalUSec": "0", "ActiveState": "active", "UnitFileState": "enabled"}


def reply(answers: Any, question: str) -> dict[str, Any]:
    """What a resolver answered, by the last line that the program said."""
    lines = answers[question].text.splitlines()
    return dict(json.loads(lines[-1])) if lines else {}


def shown(answers: Any, question: str) -> dict[str, str]:
    """What systemd says of a unit."""
    return dict(line.split("=", 1) for line in answers[question].text.splitlines())


@pytest.fixture
def unbound(answers: Any) -> None:
    if not json.loads(answers["document"].text).get("unbound"):
        pytest.skip("it asks others, and no Unbound")


def test_it_answers(answers: Any) -> None:
    assert reply(answers, "itself")["code"] == "NOERROR"


def test_a_local_record_is_answered(answers: Any) -> None:
    records = json.loads(answers["document"].text)["records"]
    if not records:
        pytest.skip("no record is declared")
    assert records[0]["address"] in reply(answers, "record")["addresses"]


def test_upstreams_are_asked(answers: Any) -> None:
    """Routers there are that know nothing of the root, and say so; who reaches nobody says SERVFAIL or nothing."""
    assert reply(answers, "root")["code"] in ("NOERROR", "NXDOMAIN")


@pytest.mark.usefixtures("unbound")
def test_the_unbound_asks_the_internet(answers: Any) -> None:
    assert reply(answers, "unbound")["code"] == "NOERROR"


@pytest.mark.usefixtures("unbound")
@pytest.mark.negative
def test_the_unbound_is_for_this_host_alone(answers: Any) -> None:
    assert {line.split()[4] for line in answers["listens"].text.splitlines()} == {"127.0.0.1:5335"}
    # The second shows that the same way is open to who really answers there.
    assert answers["stranger"].text.splitlines()[1:] == ["NOERROR", "silence"]


@pytest.mark.usefixtures("unbound")
def test_the_unbound_is_started_again_for_ever(answers: Any) -> None:
    assert shown(answers, "unbound-unit") == FOR_EVER


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
    assert answers["stranger"].text.splitlines()[:2] == ["silence", "NOERROR"]


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
    assert shown(answers, "unit") == FOR_EVER
