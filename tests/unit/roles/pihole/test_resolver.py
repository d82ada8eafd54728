"""Port 53: who must not be asked, what is switched off, and the way back. And DNS as it is on the wire."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from homelab_provision import paths
from tests.unit.roles import modules

dns = modules.part("dns", "pihole")
resolv = modules.part("resolv", "pihole")
OWN = '[{"addr_info": [{"local": "127.0.0.1"}, {"local": "192.168.50.5"}]}, {"addr_info": [{"local": "fe80::1"}]}]'


@pytest.mark.negative
@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (["192.168.50.1", "192.168.50.5"], "its own address"),
        (["192.168.50.9"], "that of the pair"),
        (["127.0.0.1"], "asks itself"),
        (["::1"], "asks itself"),
        ([], "asks nobody"),
        (["router"], "no address"),
    ],
)
def test_a_host_must_not_ask_itself(asked: list[str], why: str) -> None:
    assert why in resolv.refusal(asked, [*resolv.own_addresses(OWN), "192.168.50.9"])


def test_a_host_may_ask_others() -> None:
    text = "search home.arpa\nnameserver 192.168.50.1\nnameserver fe80::2%eth0\n"
    assert resolv.servers(text) == ["192.168.50.1", "fe80::2"]
    assert resolv.refusal(resolv.servers(text), resolv.own_addresses(OWN)) is None


class Host:
    """A host with systemd-resolved, as far as the module sees it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.capsys = root, capsys
        self.module = modules.module("pihole_resolver", "pihole")
        self.ran: list[str] = []
        self.active = {"systemd-resolved.service"}
        self.answers = True
        self.resolv = root / "resolv.conf"
        (root / "stub.conf").write_text("nameserver 127.0.0.53\n")
        self.upstream = root / "upstream.conf"
        self.upstream.write_text("nameserver 192.168.50.1\n")
        self.resolv.symlink_to(root / "stub.conf")
        for name, value in (("RESOLV_CONF", self.resolv), ("STUB", root / "stub.conf"), ("UPSTREAM", self.upstream)):
            monkeypatch.setattr(resolv, name, value)
        monkeypatch.setattr(resolv.points_at_stub, "__defaults__", (self.resolv,))
        monkeypatch.setattr(self.module, "DROP_IN", root / "resolved.conf.d" / "homelab-pihole.conf")
        monkeypatch.setattr(self.module.dns, "wait", lambda *rest: self.answers)
        monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.run_command", self.run)

    def run(self, words: list[str], **more: Any) -> tuple[int, str, str]:
        if words[:2] == ["systemctl", "is-active"]:
            return int(words[-1] not in self.active), "", ""
        self.ran.append(" ".join(words))
        if words[:2] == ["systemctl", "start"]:
            self.active.add(words[-1])
        if words[:2] == ["systemctl", "stop"]:
            self.active.discard(words[-1])
        return 0, OWN if words[0] == "ip" else "its last words", ""

    def play(self, check: bool = False, **told: Any) -> dict[str, Any]:
        words = {**told, "_ansible_check_mode": check, "_ansible_remote_tmp": str(self.root)}
        with patch_module_args(words), pytest.raises(SystemExit):
            self.module.main()
        answer: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        return answer


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def test_the_listener_is_switched_off_and_the_unit_started(host: Host) -> None:
    assert host.play(check=True)["actions"] == ["switch the listener of systemd-resolved off", "start pihole.service"]
    assert host.resolv.readlink().name == "stub.conf"
    assert host.play()["changed"]
    assert host.resolv.readlink() == host.upstream
    assert "DNSStubListener=no" in host.module.DROP_IN.read_text()
    assert "systemctl start --no-block pihole.service" in host.ran
    again = host.play()
    assert (again["changed"], again["actions"]) == (False, [])


@pytest.mark.negative
def test_all_is_put_back_if_it_does_not_answer(host: Host) -> None:
    host.answers = False
    told = host.play(deadline=1)
    assert "port 53 is as it was before" in told["msg"]
    assert "its last words" in told["msg"]
    assert host.resolv.readlink().name == "stub.conf"
    assert not host.module.DROP_IN.exists()
    assert host.active == {"systemd-resolved.service"}
    assert host.ran[-1] == "systemctl try-restart systemd-resolved.service"


@pytest.mark.negative
def test_a_router_that_names_this_host_is_refused_and_all_is_put_back(host: Host) -> None:
    host.upstream.write_text("nameserver 192.168.50.5\n")
    told = host.play()
    assert "must not resolve names through itself" in told["msg"]
    assert host.resolv.readlink().name == "stub.conf"
    assert not [line for line in host.ran if "start --no-block" in line]


@pytest.mark.negative
def test_the_address_of_the_pair_is_refused(host: Host) -> None:
    host.play()
    assert "192.168.50.1" in host.play(forbidden=["192.168.50.1"])["msg"]


def test_one_that_ran_already_goes_on(host: Host) -> None:
    """It may be its upstream; nothing about the host is to be put back, and the unit tries again by itself."""
    host.play()
    host.answers = False
    told = host.play(deadline=1)
    assert told["failed"]
    assert "pihole.service" in host.active
    assert host.resolv.readlink() == host.upstream


def test_a_question_and_its_answer_on_the_wire() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer() -> None:
            data, peer = server.recvfrom(512)
            pointer = b"\xc0\x0c"
            alias = pointer + bytes.fromhex("0005 0001 0000003c 0002") + pointer
            address = pointer + bytes.fromhex("0001 0001 0000003c 0004 c0a83214")
            head = data[:2] + bytes.fromhex("8180 0001 0002 0000 0000")
            server.sendto(b"\0\0" + head[2:] + data[12:], peer)  # somebody else's
            server.sendto(head + data[12:] + alias + address, peer)

        threading.Thread(target=answer).start()
        reply = dns.ask("nas.home.arpa", port=server.getsockname()[1])
    assert (reply.code, reply.addresses) == ("NOERROR", ["192.168.50.20"])


@pytest.mark.negative
def test_silence_is_no_answer() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        assert dns.ask("nas.home.arpa", port=server.getsockname()[1], timeout=0.2) is None


@pytest.mark.processes  # Ansible asks for its C library when it is imported
@pytest.mark.negative
@pytest.mark.parametrize(
    ("tag", "accepted"),
    [
        ("2026.07.2", True),
        ("2026.07.10", True),
        ("2027.01.0", True),
        ("2026.07.1", False),
        ("2025.11.1", False),
        ("latest", False),
        ("2026.07", False),
        ("nightly", False),
    ],
)
def test_the_floor_of_versions(tag: str, accepted: bool) -> None:
    """As the task judges it, with its own words."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar, trust_as_template

    role = paths.content("roles") / "pihole"
    known = yaml.safe_load((role / "vars" / "main" / "environment.yml").read_text())
    tasks = yaml.safe_load((role / "tasks" / "main.yml").read_text())
    rules = [rule for rule in tasks[0]["ansible.builtin.assert"]["that"] if "pihole_image" in rule]
    assert len(rules) == 2
    variables = {name: trust_as_template(value) for name, value in known.items() if isinstance(value, str)}
    image = f"docker.io/pihole/pihole:{tag}@sha256:{'0' * 64}"
    templar = Templar(DataLoader(), variables={**variables, "pihole_image": image, "pihole_image_own": False})
    judged = [templar.evaluate_conditional(trust_as_template(rule)) for rule in rules]
    assert judged == [True, accepted]


@pytest.mark.processes
@pytest.mark.negative
@pytest.mark.parametrize(
    ("unbound", "upstreams", "said"),
    [
        (False, ["192.168.1.1"], None),
        (True, [], None),
        (True, ["192.168.1.1", "127.0.0.1#5335"], "has to be empty, and names 192.168.1.1, 127.0.0.1#5335"),
        (False, [], "say whom it asks (192.168.1.1), or pihole_unbound: true"),
    ],
)
def test_it_asks_an_unbound_or_whom_the_site_names(unbound: bool, upstreams: list[str], said: str | None) -> None:
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar, trust_as_template

    tasks = yaml.safe_load((paths.content("roles") / "pihole" / "tasks" / "main.yml").read_text())
    [task] = [task["ansible.builtin.assert"] for task in tasks if task["name"].startswith("Refuse two answers")]
    templar = Templar(DataLoader(), variables={"pihole_unbound": unbound, "pihole_upstreams": upstreams})
    assert templar.evaluate_conditional(trust_as_template(task["that"])) == (said is None)
    if said:
        assert said in templar.template(trust_as_template(task["fail_msg"]))
