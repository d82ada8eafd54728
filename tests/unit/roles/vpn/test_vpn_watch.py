"""What the watch does about a peer that does not answer, and in which order; and who is told, how often."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.unit.roles import programs
from tests.unit.roles.vpn.test_vpn_config import document, key

watch, report, clock, path_mtu = (programs.vpn(name) for name in ("watch", "report", "clock", "path_mtu"))
config, memory, wireguard = (programs.vpn(name) for name in ("config", "memory", "wireguard"))
apply, ping, names = (programs.vpn(name) for name in ("apply", "ping", "names"))
errors, process = programs.library("errors"), programs.library("process")

NOW = 1_800_000_000.0


class Host:
    """A host whose tunnel to `cloud` works or does not, and what was done to it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        values = document()
        values["peers"][1]["endpoint"] = "cloud.test:51820"
        self.config = config.parse(json.dumps(values))
        self.memory = memory.Memory(folder / "vpn")
        self.alive, self.leads_to, self.found_at = True, ["203.0.113.4"], "203.0.113.4:51820"
        self.now, self.done, self.passes = NOW, [""], 1500
        monkeypatch.setattr(watch, "bring_up", lambda *_, **__: apply.Outcome())
        monkeypatch.setattr(watch, "take_down", lambda _: self.done.append("taken down"))
        monkeypatch.setattr(ping, "answers", lambda _, size=56, tries=3: self.alive and size + 28 <= self.passes)
        monkeypatch.setattr(names, "find", lambda *_: self._find())
        monkeypatch.setattr(wireguard, "read", lambda _: self._state())
        monkeypatch.setattr(wireguard, "point", lambda _, __, endpoint: self.done.append(f"pointed at {endpoint}"))
        monkeypatch.setattr(path_mtu.host, "mtu", lambda _: 1420)
        monkeypatch.setattr(path_mtu.host, "set_mtu", lambda _, size: self.done.append(f"mtu {size}"))
        self.done.clear()

    def _find(self) -> list[str]:
        if not self.leads_to:
            raise errors.Trouble("cloud.test has no address")
        return self.leads_to

    def _state(self) -> Any:
        seen = wireguard.Seen("", self.found_at, frozenset(), int(NOW - 300), 0, 0, 25)
        return wireguard.State(key(1), 51820, {key(4): seen})

    def look(self, times: int = 1) -> Any:
        for _ in range(times):
            found = watch.look(self.config, self.memory, lambda: self.now)
            self.now += 15
        return found


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_a_tunnel_that_works_is_left_alone(host: Host) -> None:
    assert host.look(20) == watch.Report()
    assert host.done == []


def test_one_lost_look_is_no_reason(host: Host) -> None:
    host.alive = False
    assert host.look() == watch.Report()
    host.alive = True
    assert host.look() == watch.Report()
    host.alive = False
    assert host.look() == watch.Report(), "they are not added up"


def test_a_name_that_moved_comes_first(host: Host) -> None:
    host.alive, host.leads_to = False, ["203.0.113.99"]
    found = host.look(2)
    assert host.done == ["pointed at 203.0.113.99:51820"]
    assert found.repairs == [
        ("cloud.test is at 203.0.113.99:51820 and was looked for at 203.0.113.4:51820", "looked for it there")
    ]
    assert found.troubles == {}


def test_a_new_interface_is_the_last_thing_and_a_rare_one(host: Host) -> None:
    host.alive = False
    assert host.look(3).troubles == {
        "peer cloud": "cloud does not answer at 10.77.0.11; the last handshake was 330 s ago"
    }
    assert host.done == []
    assert host.look().repairs[0][1] == "made the interface anew"
    host.look(14)
    assert host.done == ["taken down"]
    host.look()
    assert host.done == ["taken down"] * 2


def test_a_name_without_an_answer_is_said(host: Host) -> None:
    host.alive, host.leads_to = False, []
    found = host.look(2)
    assert found.troubles["name cloud.test"] == "cloud.test has no address"
    assert "peer cloud" in found.troubles


def answers(monkeypatch: pytest.MonkeyPatch, **status: int) -> list[str]:
    """What programs were run; each ends with its status here."""
    ran: list[str] = []

    def run(argv: list[str], **_: object) -> Any:
        ran.append(" ".join(argv))
        return process.Finished(status.get(argv[0], 0), "", "506 Cannot talk to daemon" if status.get(argv[0]) else "")

    monkeypatch.setattr(clock, "run", run)
    return ran


def test_a_clock_that_is_behind_is_set(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = answers(monkeypatch)
    host.look()
    host.alive, host.now = False, NOW - 86400
    assert host.look(2).repairs == [("the clock is 86385 s behind the last look", "had it set by a server of time")]
    assert ran[0] == "systemctl restart chrony.service"


def test_a_clock_that_nobody_sets_is_said(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = answers(monkeypatch, chronyc=1)
    host.look()
    host.alive, host.now = False, NOW - 86400
    said = host.look(2).troubles["clock"]
    host.look(3)
    assert ran.count("systemctl restart chrony.service") == 1, "it is left to find its servers"
    assert said.endswith("s behind the last look, and no server of time has answered: 506 Cannot talk to daemon")


def test_a_clock_is_not_touched_while_the_tunnel_works(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = answers(monkeypatch)
    host.look()
    host.now = NOW - 86400
    assert host.look(3) == watch.Report()
    assert ran == []


def test_large_packets_that_get_lost_are_made_smaller(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_mtu, "PACE", 0)
    host.passes = 1350
    assert host.look().repairs == [("packets of 1420 bytes do not get through", "sends 1340 at most")]
    assert host.done == ["mtu 1340"]
    assert host.look(5) == watch.Report()
    host.passes = 1500
    monkeypatch.setattr(path_mtu, "AGAIN", 0)
    assert host.look().repairs == [("packets of 1420 bytes get through again", "sends them")]
    assert host.memory.recall("watch")["mtu"] == 0


class Webhook:
    """Somebody who wants to be told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/a-secret-path"


def test_a_trouble_is_told_when_it_begins_and_when_it_ends(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = Webhook()
    Thread(target=hook.server.serve_forever, daemon=True).start()
    told = config.parse(json.dumps(document() | {"webhook": hook.url, "metrics": str(tmp_path / "vpn.prom")}))

    def tell(found: Any, before: dict[str, str]) -> None:
        report.tell(told, host.memory, found, before)

    trouble = {"wan": "the name leads elsewhere"}
    tell(watch.Report([("wg0 was down", "mended")], trouble), {})
    tell(watch.Report([], trouble), trouble)
    tell(watch.Report(), trouble)
    tell(watch.Report(), {})
    hook.server.shutdown()
    hook.server.server_close()
    assert [each["said"] for each in hook.told] == [
        ["wg0 was down: mended", "cannot be mended from here: the name leads elsewhere"],
        ["over: the name leads elsewhere"],
    ]
    assert [json.loads(line)["cause"] for line in host.memory.repairs.read_text().splitlines()] == ["wg0 was down"]
    assert "homelab_vpn_repairs_total 1\n" in (tmp_path / "vpn.prom").read_text()
    assert f'homelab_vpn_handshake_seconds{{peer="cloud"}} {NOW - 300:.0f}' in (tmp_path / "vpn.prom").read_text()
    assert "a-secret-path" not in capsys.readouterr().out


def test_who_cannot_be_told_is_no_trouble(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    told = config.parse(json.dumps(document() | {"webhook": "http://127.0.0.1:9/a-secret-path"}))
    report.tell(told, host.memory, watch.Report([("wg0 was down", "mended")]), {})
    said = capsys.readouterr().out
    assert "nobody could be told of it" in said
    assert "a-secret-path" not in said


def test_a_long_list_of_repairs_has_an_end(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_REPAIRS", 3)
    for number in range(5):
        host.memory.add_repairs([{"cause": str(number)}])
    kept = [json.loads(line)["cause"] for line in host.memory.repairs.read_text().splitlines()]
    assert kept == ["2", "3", "4"]
    assert host.memory.repairs.stat().st_mode & 0o777 == 0o600


def test_whose_last_day_is_over_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interface has all that the file has; the tablet of it may not connect any more."""
    told = config.parse(json.dumps(document()))
    seen = {
        peer.public_key: wireguard.Seen(peer.preshared_key, "", wireguard.networks_of(peer), 0, 0, 0, peer.keepalive)
        for peer in told.peers
    }
    monkeypatch.setattr(wireguard, "read", lambda _: wireguard.State(key(1), 51820, seen))
    given: list[str] = []
    monkeypatch.setattr(wireguard, "synchronise", lambda _, text: given.append(text))
    assert list(apply._interface(told, told.peers, dict)) == []
    assert list(apply._interface(told, told.peers[1:], dict)) == ["the last day of tablet is over"]
    assert key(2) not in given[0]
    assert key(4) in given[0]


def test_who_is_just_being_greeted_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair makes peers anew for a moment; what stays wrong is mended."""
    values = document() | {"pair": {"addresses": ["192.0.2.7"], "others": ["192.0.2.8"], "port": 51821}}
    told = config.parse(json.dumps(values))
    whole = {
        peer.public_key: wireguard.Seen(peer.preshared_key, "", wireguard.networks_of(peer), 0, 0, 0, peer.keepalive)
        for peer in told.peers
    }
    seen = [{}, whole, {}, {}]
    monkeypatch.setattr(wireguard, "read", lambda _: wireguard.State(key(1), 51820, seen.pop(0)))
    given: list[str] = []
    monkeypatch.setattr(wireguard, "synchronise", lambda _, text: given.append(text))
    monkeypatch.setattr(apply, "GREETING", 0)
    assert list(apply._interface(told, told.peers, dict)) == []
    assert given == []
    assert list(apply._interface(told, told.peers, dict)) == ["the peers of wg0 were others, or their keys"]
    assert len(given) == 1
