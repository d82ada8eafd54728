"""The stand-in for pihole-FTL, driven by clients whose authors never saw it: it must not merely agree with our role."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import APiHole
import pytest
from pihole6api import PiHole6Client

from tests.unit.roles.pihole.ftl import PASSWORD, Served


@pytest.fixture
def first(pihole: Served) -> Iterator[Any]:
    client = PiHole6Client(pihole.url, PASSWORD)
    yield client
    client.close_session()
    assert pihole.sessions == 0


@pytest.fixture
def second(pihole: Served) -> Iterator[Any]:
    with APiHole.PiHole(pihole.url.removeprefix("http://"), PASSWORD) as client:
        yield client
    assert pihole.sessions == 0


def call(pihole: Served, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """One request as it is, for what the clients smooth over."""
    asked = http.client.HTTPConnection(pihole.url.removeprefix("http://"), timeout=10)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    asked.request(method, path, None if body is None else json.dumps(body), given)
    answer = asked.getresponse()
    text = answer.read()
    return answer.status, json.loads(text) if text else None


def test_settings_are_read_and_changed(pihole: Served, first: Any) -> None:
    first.config.update_config({"dns": {"blockTTL": 60}})
    assert first.config.get_config_section("dns/blockTTL")["config"] == {"dns": {"blockTTL": 60}}
    told = first.config.get_config(detailed=True)["config"]["dns"]["listeningMode"]
    assert (told["value"], told["flags"]["env_var"]) == ("ALL", True)


def test_a_key_of_the_environment_stays(pihole: Served, first: Any) -> None:
    refused = first.config.update_config({"dns": {"listeningMode": "LOCAL"}})
    assert refused["error"]["hint"] == "dns.listeningMode"
    assert "environment" in refused["error"]["message"]
    # The same value is no change, and passes.
    assert "config" in first.config.update_config({"dns": {"listeningMode": "ALL"}})


def test_records_are_items_of_arrays(pihole: Served, first: Any) -> None:
    first.config.add_local_a_record("nas.home.arpa", "192.168.50.20")
    first.config.add_local_cname("files.home.arpa", "nas.home.arpa")
    wait()
    assert pihole.values["dns.hosts"] == ["192.168.50.20 nas.home.arpa"]
    assert "already" in first.config.add_local_a_record("nas.home.arpa", "192.168.50.20")["error"]["message"]
    first.config.remove_local_cname("files.home.arpa", "nas.home.arpa")
    wait()
    first.config.remove_local_a_record("nas.home.arpa", "192.168.50.20")
    assert (pihole.values["dns.hosts"], pihole.values["dns.cnameRecords"]) == ([], [])


def wait() -> None:
    """FTL starts anew after a change of its resolver, and this client does not try again."""
    time.sleep(0.5)


def test_lists_have_their_type_in_the_query(pihole: Served, first: Any, tmp_path: Path) -> None:
    file = tmp_path / "ads.txt"
    file.write_text("# ads\n0.0.0.0 ads.example.net\ntracker.example.net\nnot a name\n")
    address = file.as_uri()
    added = first.list_management.add_list(address, "block", comment="ads", groups=[0])
    assert added["processed"] == {"errors": [], "success": [{"item": address}]}
    assert (
        call(pihole, "POST", "/api/lists", {"address": address, "type": "block"}, sid=first.connection.session_id)[0]
        == 400
    )
    first.actions.run_gravity()
    kept = first.list_management.get_list(address, "block")["lists"]
    assert [(each["number"], each["status"], each["type"]) for each in kept] == [(2, 1, "block")]
    assert pihole.ftl.gravity.blocked() == (["ads.example.net", "tracker.example.net"], [])
    first.list_management.update_list(address, "block", comment="off", groups=[0], enabled=False)
    assert pihole.ftl.gravity.blocked() == ([], [])
    first.list_management.batch_delete_lists([{"item": address, "type": "block"}])
    assert first.list_management.get_lists()["lists"] == []


@pytest.mark.negative
def test_what_deletes_no_list(pihole: Served, first: Any) -> None:
    """FTL#2377 and FTL#2528: the word is `item`, and a type in the query deletes nothing in a batch."""
    address = "https://lists.example.net/ads.txt"
    sid = first.connection.session_id
    first.list_management.add_list(address, "block")
    status, told = call(pihole, "POST", "/api/lists:batchDelete", [{"address": address, "type": "block"}], sid=sid)
    assert (status, "item" in told["error"]["message"]) == (400, True)
    batch = [{"item": address, "type": "block"}]
    assert call(pihole, "POST", "/api/lists:batchDelete?type=block", batch, sid=sid)[0] == 404
    assert first.list_management.delete_list(address, "allow") == {} or len(pihole.ftl.gravity.read("lists")) == 1
    first.list_management.delete_list(address, "block")
    assert pihole.ftl.gravity.read("lists") == []


def test_domains_of_all_four_kinds(pihole: Served, second: Any) -> None:
    second.deny("ads.example.net", comment="ads")
    second.deny_regex(r"(\.|^)tracker\.example\.net$")
    second.allow("good.example.net")
    second.allow_regex("^good")
    assert [(each["type"], each["kind"]) for each in pihole.ftl.gravity.read("domains")] == [
        ("deny", "exact"),
        ("deny", "regex"),
        ("allow", "exact"),
        ("allow", "regex"),
    ]
    assert pihole.ftl.gravity.blocked() == (["ads.example.net"], ["tracker.example.net"])
    second.remove_deny("ads.example.net")
    second.remove_deny_regex(r"(\.|^)tracker\.example\.net$")
    with pytest.raises(APiHole.NotFoundError):
        second.remove_allow("nobody.example.net")
    with pytest.raises(APiHole.APIError, match="Regex"):
        second.deny_regex("(")


def test_groups_and_clients(pihole: Served, first: Any) -> None:
    first.group_management.add_group("children", comment="theirs")
    group = first.group_management.get_group("children")["groups"][0]
    assert (group["comment"], group["enabled"]) == ("theirs", True)
    first.client_management.add_client("192.168.50.77", comment="tablet", groups=[0, group["id"]])
    assert first.client_management.get_client("192.168.50.77")["clients"][0]["groups"] == [0, group["id"]]
    first.group_management.delete_group("children")
    assert first.client_management.get_client("192.168.50.77")["clients"][0]["groups"] == [0]
    again = first.client_management.add_client("192.168.50.77")
    assert "UNIQUE" in again["processed"]["errors"][0]["error"]


def test_blocking_is_switched(pihole: Served, second: Any) -> None:
    assert second.blocking_status()["blocking"] == "enabled"
    assert second.disable()["blocking"] == "disabled"
    assert second.enable()["blocking"] == "enabled"
    assert second.dns_port() == 53
    assert second.version()["ftl"]["local"]["version"] == "v6.4.1"
    assert "Done" in second.update_gravity()
    second.restart_dns()
    wait()


def test_an_archive_goes_out_and_comes_back(pihole: Served, first: Any, tmp_path: Path) -> None:
    first.domain_management.add_domain("ads.example.net", "deny", "exact", groups=[0])
    first.config.update_config({"dns": {"blockTTL": 77}})
    archive = tmp_path / "backup.zip"
    archive.write_bytes(first.config.export_settings())
    first.domain_management.delete_domain("ads.example.net", "deny", "exact")
    first.config.update_config({"dns": {"blockTTL": 2}})
    assert "etc/pihole/pihole.toml" in first.config.import_settings(str(archive))["files"]
    assert pihole.values["dns.blockTTL"] == 77
    assert pihole.ftl.gravity.blocked()[0] == ["ads.example.net"]
    wait()


@pytest.mark.negative
def test_a_wrong_password_opens_nothing_and_guesses_are_counted(pihole: Served) -> None:
    with pytest.raises(APiHole.AuthenticationError, match="401"):
        APiHole.PiHole(pihole.url.removeprefix("http://"), "a guess").login()
    assert call(pihole, "GET", "/api/config")[0] == 401
    answers = [call(pihole, "POST", "/api/auth", {"password": "a guess"}) for _ in range(8)]
    assert {status for status, _ in answers} == {401, 429}
    assert next(told["error"]["key"] for status, told in answers if status == 429) == "rate_limiting"


@pytest.mark.negative
def test_there_are_sixteen_seats(pihole: Served) -> None:
    for _ in range(16):
        assert call(pihole, "POST", "/api/auth", {"password": PASSWORD})[0] == 200
    status, told = call(pihole, "POST", "/api/auth", {"password": PASSWORD})
    assert (status, told["error"]["key"]) == (429, "api_seats_exceeded")
    with pytest.raises(APiHole.RateLimitError):
        APiHole.PiHole(pihole.url.removeprefix("http://"), PASSWORD).login()


@pytest.mark.negative
def test_an_app_password_changes_no_settings_until_it_may(pihole: Served, first: Any) -> None:
    app = first.connection.get("auth/app")["app"]
    first.config.update_config({"webserver": {"api": {"app_pwhash": app["hash"]}}})
    with APiHole.PiHole(pihole.url.removeprefix("http://"), app["password"]) as client:
        with pytest.raises(APiHole.APIError, match="app_sudo"):
            client.request("PATCH", "/config", json={"config": {"dns": {"blockTTL": 5}}})
        first.config.update_config({"webserver": {"api": {"app_sudo": True}}})
        client.request("PATCH", "/config", json={"config": {"dns": {"blockTTL": 5}}})
    assert pihole.values["dns.blockTTL"] == 5


@pytest.mark.negative
def test_a_cookie_needs_its_token(pihole: Served) -> None:
    told = call(pihole, "POST", "/api/auth", {"password": PASSWORD})[1]["session"]
    cookie = {"Cookie": f"sid={told['sid']}"}
    assert call(pihole, "GET", "/api/groups", **cookie)[0] == 401
    assert call(pihole, "GET", "/api/groups", **cookie, X_CSRF_TOKEN=told["csrf"])[0] == 200
    assert call(pihole, "DELETE", "/api/auth", sid=told["sid"])[0] == 204
    assert call(pihole, "GET", "/api/groups", sid=told["sid"])[0] == 401
