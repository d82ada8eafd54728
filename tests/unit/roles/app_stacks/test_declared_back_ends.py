"""What Label Studio asks at private addresses: declared back ends, and nothing else. With a guard like its own, which
refuses every address of this computer."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from homelab_provision import paths

sys.path.append(str(paths.content("roles") / "app_stacks/stacks/label-studio/image"))
declared = importlib.import_module("declared")


class Refused(Exception):
    pass


class Guard(HTTPAdapter):
    def send(self, request: Any, *words: Any, **told: Any) -> Any:
        raise Refused(request.url)


class Api:
    """As Label Studio asks back ends."""

    _max_retries = 2

    def create_session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.mount("http://", Guard())
        session.mount("https://", Guard())
        return session


def session(*origins: str) -> requests.Session:
    create = declared.connecting(Api.create_session, HTTPAdapter, declared.origins(" ".join(origins)))
    made = create(Api())
    assert isinstance(made, requests.Session)
    return made


@dataclass
class Server:
    """It leads from /elsewhere to `elsewhere`, and keeps what it was asked."""

    port: int = 0
    elsewhere: str = ""
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving() -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append(self.path)
            self.send_response(302 if self.path == "/elsewhere" else 200)
            if self.path == "/elsewhere":
                self.send_header("Location", told.elsewhere)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def backend() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def other() -> Iterator[Server]:
    with serving() as server:
        yield server


def test_a_declared_back_end_is_asked(backend: Server) -> None:
    assert session(backend.url).get(f"{backend.url}/health").status_code == 200
    assert session("http://gpu.home.arpa:9090", f"{backend.url}/").get(f"{backend.url}/predict").status_code == 200
    assert backend.asked == ["/health", "/predict"]


@pytest.mark.negative
def test_no_other_is_asked_at_a_private_address(backend: Server, other: Server) -> None:
    """Neither another port, nor another name of the same host, nor one that begins as the declared one does."""
    asking = session(backend.url)
    for url in (other.url, f"http://localhost:{backend.port}", f"https://127.0.0.1:{backend.port}"):
        with pytest.raises(Refused):
            asking.get(f"{url}/health")
    for url in (f"{backend.url}0/", f"{backend.url}@127.0.0.1:{other.port}/", f"{backend.url}.home.arpa/"):
        with pytest.raises((Refused, requests.exceptions.InvalidURL)):
            asking.get(url)
    with pytest.raises(Refused):
        session().get(backend.url)
    assert backend.asked == other.asked == []


@pytest.mark.negative
def test_a_declared_back_end_cannot_lead_elsewhere(backend: Server, other: Server) -> None:
    backend.elsewhere = f"{other.url}/secret"
    with pytest.raises(Refused, match="/secret"):
        session(backend.url).get(f"{backend.url}/elsewhere")
    assert (backend.asked, other.asked) == (["/elsewhere"], [])
    backend.elsewhere = "/health"
    assert session(backend.url).get(f"{backend.url}/elsewhere").status_code == 200


def test_an_url_is_checked_as_it_is_asked() -> None:
    """What is declared need not be public; whatever else the check wants, it still has to be."""
    seen = []
    check = declared.checking(
        lambda url, block_local_urls: seen.append((url, block_local_urls)),
        declared.origins("http://gpu.home.arpa:9090,https://[fd00::7]:9443"),
    )
    for url in ("http://gpu.home.arpa:9090", "HTTP://GPU.home.arpa:9090/moods", "https://[fd00::7]:9443/"):
        check(url, block_local_urls=True)
    assert {blocked for _, blocked in seen} == {False}
    seen.clear()
    others = (
        "http://gpu.home.arpa",
        "http://gpu.home.arpa:90901",
        "https://gpu.home.arpa:9090",
        "http://gpu.home.arpa:9090@10.0.0.1/",
        "http://ada@gpu.home.arpa:9090/",
        " http://gpu.home.arpa:9090",
        "",
    )
    for url in others:
        check(url)
    assert seen == [(url, True) for url in others]


@pytest.mark.negative
@pytest.mark.parametrize(
    "wrong",
    ["gpu:9090", "http://", "http://gpu:9090/predict", "http://a@gpu", "ftp://gpu", "http://gpu\\@x", "*", "http://*"],
)
def test_what_is_no_back_end_is_not_declared(wrong: str) -> None:
    with pytest.raises(ValueError, match="has to be a scheme, a host and a port"):
        declared.origins(f"http://gpu:9090 {wrong}")


def test_a_back_end_is_one_without_a_webhook() -> None:
    heard = []

    def receiver(sender: object, **told: object) -> None:
        heard.append((sender, told))
        if told["refuse"]:
            raise Refused

    receive = declared.unless_refused(receiver, Refused)
    receive("sender", refuse=False)
    receive("sender", refuse=True)
    assert len(heard) == 2
    with pytest.raises(ZeroDivisionError):
        declared.unless_refused(lambda sender: 1 // 0, Refused)("sender")
