"""A name follows the address of a home, by a provider that is asked over HTTP."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import programs

dyndns, memory, watch, names = (programs.vpn(name) for name in ("dyndns", "memory", "watch", "names"))
config, errors = programs.vpn("config"), programs.library("errors")

NOW = 1_800_000_000.0


class Provider:
    """A provider, and a page that tells who asks his address."""

    def __init__(self) -> None:
        self.address, self.answer = "203.0.113.9", "good 203.0.113.9"
        self.asked: list[tuple[str, str]] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = provider.address
                if self.path != "/address":
                    account = self.headers["Authorization"].partition(" ")[2]
                    provider.asked.append((self.path, base64.b64decode(account).decode()))
                    text = provider.answer
                self.send_response(200)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def settings(self, **changed: str) -> Any:
        told = {"update": f"{self.url}/nic/update", "user": "ada", "password": "a-password"}
        return config.Dyndns(name="home.test", ask=f"{self.url}/address", **(told | changed))


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    thread = threading.Thread(target=provider.server.serve_forever)
    thread.start()
    yield provider
    provider.server.shutdown()
    provider.server.server_close()
    thread.join()


@pytest.fixture
def kept(tmp_path: Path) -> Any:
    return memory.Memory(tmp_path / "vpn")


def leads_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    monkeypatch.setattr(names, "resolve", lambda name: list(addresses))


def look(settings: Any, kept: Any, now: float = NOW) -> Any:
    report = watch.Report()
    dyndns.look(settings, kept, report, now)
    return report


def test_a_provider_is_told_once(provider: Provider, kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    leads_to(monkeypatch, "198.51.100.1")
    found = look(provider.settings(), kept)
    apart = "home.test leads to 198.51.100.1, and this home is at 203.0.113.9"
    assert found.repairs == [(apart, "told the provider")]
    assert provider.asked == [("/nic/update?hostname=home.test&myip=203.0.113.9", "ada:a-password")]
    # Until the name follows, that is said, and the provider is left in peace.
    assert look(provider.settings(), kept, NOW + 61).troubles == {
        "wan": f"{apart}; the provider was told, and the name will follow"
    }
    assert look(provider.settings(), kept, NOW + 62).troubles, "between two questions, too"
    leads_to(monkeypatch, "203.0.113.9")
    assert look(provider.settings(), kept, NOW + 130) == watch.Report()
    assert len(provider.asked) == 1


def test_who_has_refused_is_asked_again_with_other_settings_alone(
    provider: Provider, kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads_to(monkeypatch, "198.51.100.1")
    provider.answer = "badauth"
    assert "the provider says 'badauth'" in look(provider.settings(), kept).troubles["wan"]
    assert "has refused to change it: badauth" in look(provider.settings(), kept, NOW + 100).troubles["wan"]
    assert len(provider.asked) == 1
    provider.answer = "good"
    assert look(provider.settings(password="another"), kept, NOW + 110).repairs
    assert len(provider.asked) == 2


def test_a_provider_in_trouble_is_asked_again(provider: Provider, kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    leads_to(monkeypatch, "198.51.100.1")
    provider.answer = "911"
    assert look(provider.settings(), kept).troubles
    provider.answer = "nochg"
    assert look(provider.settings(), kept, NOW + 61).repairs


@pytest.mark.negative
def test_without_a_provider_a_difference_is_said(
    provider: Provider, kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads_to(monkeypatch, "198.51.100.1")
    said = look(provider.settings(update=""), kept).troubles["wan"]
    assert said.endswith("; nobody was declared who could change that")
    assert provider.asked == []


@pytest.mark.negative
def test_a_page_is_no_address(provider: Provider, kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    leads_to(monkeypatch, "198.51.100.1")
    provider.address = "<html>please log in</html>"
    assert "tells something else: '<html>" in look(provider.settings(), kept).troubles["wan"]
    assert provider.asked == []


@pytest.mark.negative
def test_who_does_not_answer_is_named(provider: Provider, kept: Any) -> None:
    settings = config.Dyndns(name="home.test", ask="http://127.0.0.1:9/address", password="secret-word")
    said = look(settings, kept).troubles["wan"]
    assert said.startswith("127.0.0.1 has not answered")
    assert "secret-word" not in said + (kept.folder / "dyndns.json").read_text()
