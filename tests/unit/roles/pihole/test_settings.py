"""The module `pihole_settings` against the stand-in: what it writes, what it refuses, and that it always logs out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from tests.unit.roles import modules
from tests.unit.roles.pihole.ftl import PASSWORD, Served, before_6_3, served

client = modules.part("client", "pihole")
config = modules.part("config", "pihole")

WANTED: dict[str, Any] = {
    "settings": {"dns.blockTTL": 60, "dns.domain.name": "home.arpa"},
    "hosts": [{"address": "192.168.50.20", "names": ["nas.home.arpa", "nas"]}],
    "cnames": [{"name": "files.home.arpa", "target": "nas.home.arpa"}],
    "groups": [{"name": "children", "comment": "theirs"}],
    "domains": [
        {"domain": "Ads.Example.net"},
        {"domain": r"(\.|^)tracker\.example\.net$", "kind": "regex", "groups": ["children"]},
    ],
    "clients": [{"client": "192.168.50.77", "groups": ["children"]}],
}


@pytest.fixture
def play(pihole: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """The module as Ansible runs it."""

    def run(wanted: dict[str, Any], check: bool = False, password: str = PASSWORD, url: str = "") -> dict[str, Any]:
        file = tmp_path / "password"
        file.write_text(f"{password}\n")
        told = {**wanted, "url": url or pihole.url, "password_file": str(file), "patience": 5}
        words = {**told, "_ansible_check_mode": check, "_ansible_remote_tmp": str(tmp_path)}
        with patch_module_args(words), pytest.raises(SystemExit):
            modules.module("pihole_settings", "pihole").main()
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return run


def test_it_writes_what_differs_and_nothing_twice(pihole: Served, play: Any) -> None:
    first = play(WANTED)
    assert "add group children" in first["actions"]
    assert "dns.blockTTL: 2 → 60" in first["actions"]
    assert pihole.values["dns.hosts"] == ["192.168.50.20 nas.home.arpa nas"]
    assert pihole.ftl.gravity.blocked() == (["ads.example.net"], ["tracker.example.net"])
    writes = len([line for line in pihole.ftl.log if not line.startswith("GET")])
    second = play(WANTED)
    assert (second["changed"], second["actions"]) == (False, [])
    # It logs in and out, and that is all.
    assert len([line for line in pihole.ftl.log if not line.startswith("GET")]) == writes + 2
    assert pihole.sessions == 0


def test_check_mode_tells_and_does_nothing(pihole: Served, play: Any) -> None:
    told = play(WANTED, check=True)
    assert told["changed"]
    assert told["actions"] == play(WANTED)["actions"]
    assert (pihole.asked("PATCH"), pihole.sessions) == (1, 0)


def test_one_session_is_enough_also_where_it_starts_anew(pihole: Served, play: Any) -> None:
    play({"settings": {"dns.domainNeeded": True}})
    assert pihole.asked("POST /api/auth") == 1
    assert pihole.sessions == 0


def test_what_is_not_declared_is_left_alone_or_not(pihole: Served, play: Any) -> None:
    play(WANTED)
    fewer = {"hosts": [{"address": "192.168.50.21", "names": ["nas"]}]}
    assert play(fewer)["actions"] == [
        "dns.hosts: -'192.168.50.20 nas.home.arpa nas', +'192.168.50.20 nas.home.arpa', +'192.168.50.21 nas'"
    ]
    assert len(pihole.ftl.gravity.read("domains")) == 2
    gone = play({**fewer, "exclusive": True})
    assert "remove group children" in gone["actions"]
    assert pihole.values["dns.hosts"] == ["192.168.50.21 nas"]
    assert [pihole.ftl.gravity.read(kind) for kind in ("domains", "clients", "lists")] == [[], [], []]
    assert [each["name"] for each in pihole.ftl.gravity.read("groups")] == ["Default"]


def test_lists_are_fetched_and_one_that_is_lost_is_warned_of(
    pihole: Served, play: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _, text: said.append(text))
    good, lost = tmp_path / "good.txt", tmp_path / "lost.txt"
    good.write_text("0.0.0.0 ads.example.net\n")
    lists = [{"address": file.as_uri(), "type": "block"} for file in (good, lost)]
    told = play({"lists": lists})
    assert "fetch the lists" in told["actions"]
    assert [lost.as_uri() in warning for warning in said] == [True]
    assert play({"lists": lists})["changed"] is False
    play({"lists": lists[:1], "exclusive": True})
    assert [each["address"] for each in pihole.ftl.gravity.read("lists")] == [good.as_uri()]


@pytest.mark.negative
@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            {"settings": {"dns.listeningMode": "ALL"}},
            "given by the environment of the container (FTLCONF_dns_listeningMode)",
        ),
        ({"settings": {"dns.blockTtl": 60}}, "no such setting → is one of these meant? dns.blockTTL"),
        ({"settings": {"webserver.api.password": "x"}}, "say pihole_password instead"),
        ({"settings": {"dns.hosts": []}}, "say pihole_hosts"),
        ({"settings": {"dns.blockTTL": "long"}}, "dns.blockTTL: not of type unsigned integer"),
        ({"domains": [{"domain": "x.net", "groups": ["nobody"]}]}, "there is no group nobody"),
        ({"domains": [{"domain": "x.net"}, {"domain": "X.net"}]}, "declared twice"),
        ({"domains": [{"domain": "(", "kind": "regex"}]}, "Regex validation failed"),
        ({"domains": [{"domain": "bücher.example"}]}, "xn--bcher-kva.example"),
    ],
)
def test_what_is_refused_is_said_and_no_session_is_left(pihole: Served, play: Any, wanted: Any, message: str) -> None:
    told = play(wanted)
    assert told["failed"]
    assert message in told["msg"]
    assert pihole.sessions == 0
    assert pihole.asked("DELETE /api/auth") == 1


@pytest.mark.negative
def test_a_wrong_password_and_no_seat(pihole: Served, play: Any) -> None:
    assert "refuses the password" in play({}, password="a guess of somebody")["msg"]
    for _ in range(16):
        pihole.ftl.sessions.log_in(PASSWORD, "192.0.2.1", "a browser")
    told = play({})
    assert "all of its sessions are taken" in told["msg"]
    assert pihole.sessions == 16


@pytest.mark.negative
def test_a_pihole_without_a_password_is_refused(play: Any, tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    with served(folder, {"FTLCONF_webserver_api_password": ""}) as other:
        assert "no password" in play({}, url=other.url)["msg"] or "refuses" in play({}, url=other.url)["msg"]


def test_a_throttled_login_is_tried_again(pihole: Served, play: Any) -> None:
    for _ in range(6):
        with pytest.raises(Exception, match="Rate-limiting") if pihole.ftl.sessions._guesses >= 3 else _nothing():
            pihole.ftl.sessions.log_in("a guess", "192.0.2.1", None)
    assert "failed" not in play({})


class _nothing:  # noqa: N801 - in the place of a context that expects something
    def __enter__(self) -> None: ...
    def __exit__(self, *rest: object) -> None: ...


@pytest.mark.negative
def test_nobody_is_there(play: Any) -> None:
    told = play({}, url="http://127.0.0.1:9")
    assert "does not answer" in told["msg"]
    assert "systemctl status pihole.service" in told["msg"]


def test_older_ones_have_one_word_for_the_domain(play: Any, tmp_path: Path) -> None:
    folder = tmp_path / "older"
    folder.mkdir()
    with served(folder, keys=before_6_3()) as older:
        table = {"settings": {"dns.domain.name": "home.arpa", "dns.domain.local": True}}
        assert play(table, url=older.url)["actions"] == ["dns.domain: 'lan' → 'home.arpa'"]
        assert play({"settings": {"dns.domain": "home.arpa"}}, url=older.url)["changed"] is False
        refused = play({"settings": {"dns.domain.local": False}}, url=older.url)
        assert "older than 6.3" in refused["msg"]
    assert config.renamed({"dns.domain": "lan"}, {"dns.domain.name": {}}) == {"dns.domain.name": "lan"}
