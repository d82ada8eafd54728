"""What is true on a host, asked of real sockets of this computer."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import programs

pytestmark = pytest.mark.processes
checks, settings = programs.floating("checks"), programs.floating("settings")
KEY, PROBE = "k" * 43 + "=", "p" * 43 + "="


@contextmanager
def resolver(answer: Callable[[bytes], list[bytes]]) -> Iterator[int]:
    """Something on a port that answers questions with what `answer` makes of them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                try:
                    asked, who = server.recvfrom(512)
                except OSError:
                    return
                if asked == b"end":
                    return
                for message in answer(asked):
                    server.sendto(message, who)

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        try:
            yield port
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"end", ("127.0.0.1", port))
            thread.join()


def reply(asked: bytes, *addresses: str, code: int = 0, kind: int = 1) -> bytes:
    """An answer to the question, with an alias before the addresses."""
    alias = b"\xc0\x0c" + struct.pack("!2HIH", 5, 1, 0, 2) + b"\xc0\x0c"
    records = [
        b"\xc0\x0c"
        + struct.pack("!2HIH", kind, 1, 0, 4 if kind == 1 else 16)
        + socket.inet_pton(socket.AF_INET if kind == 1 else socket.AF_INET6, address)
        for address in addresses
    ]
    count = 1 + len(records) if records else 0
    head = asked[:2] + struct.pack("!5H", 0x8180 | code, 1, count, 0, 0)
    return head + asked[12:] + (alias + b"".join(records) if records else b"")


def dns(port: int, **given: Any) -> str | None:
    usual = {"kind": "dns", "name": "who.home.arpa", "port": port, "timeout": 0.3}
    said: str | None = checks.objection(settings.Check(**{**usual, **given}))
    return said


def test_a_resolver_that_answers_is_good() -> None:
    with resolver(lambda asked: [reply(asked, "192.0.2.1", "192.0.2.2")]) as port:
        assert dns(port) is None
        assert dns(port, answer="192.0.2.2") is None
        assert dns(port, answer="192.0.2.3") == (
            f"dns who.home.arpa at 127.0.0.1:{port}: is 192.0.2.1, 192.0.2.2, not 192.0.2.3"
        )
        assert "has no AAAA" in (dns(port, type="AAAA") or "")
    with resolver(lambda asked: [reply(asked, "2001:db8::1", kind=28)]) as port:
        assert dns(port, type="AAAA", answer="2001:DB8:0::1") is None


def test_the_question_is_a_plain_one() -> None:
    seen: list[bytes] = []
    with resolver(lambda asked: [seen.append(asked) or reply(asked, "192.0.2.1")]) as port:  # type: ignore[func-returns-value]
        assert dns(port) is None
    assert seen[0][2:] == b"\1\0\0\1\0\0\0\0\0\0\3who\4home\4arpa\0\0\1\0\1"


def test_an_answer_to_an_older_question_is_not_taken_for_one_to_this() -> None:
    with resolver(lambda asked: [b"xx" + reply(asked)[2:], reply(asked, "192.0.2.1")]) as port:
        assert dns(port) is None
    with resolver(lambda asked: [bytes([asked[0] ^ 1]) + reply(asked, "192.0.2.1")[1:]]) as port:
        assert "no answer within 0.3 s" in (dns(port) or "")


@pytest.mark.negative
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda asked: [reply(asked, code=2)], "answered with code 2"),
        (lambda asked: [reply(asked, code=3)], "answered with code 3"),
        (lambda asked: [reply(asked)], "has no A"),
        (lambda asked: [], "no answer within 0.3 s"),
        (lambda asked: [asked], "what came is no answer"),
        (lambda asked: [asked[:2]], ""),
        (lambda asked: [reply(asked, "192.0.2.1")[:-3]], ""),
    ],
)
def test_a_resolver_that_does_not_answer_well_is_not_good(answer: Any, said: str) -> None:
    with resolver(answer) as port:
        told = dns(port)
    assert told is not None
    assert told.startswith(f"dns who.home.arpa at 127.0.0.1:{port}: ")
    assert said in told


@pytest.mark.negative
def test_a_closed_port_is_known_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    started = time.monotonic()
    assert dns(port, timeout=5) == f"dns who.home.arpa at 127.0.0.1:{port}: Connection refused"
    assert time.monotonic() - started < 2


def test_a_connection_can_be_opened_or_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert checks.objection(settings.Check("tcp", port=port)) is None
    assert checks.objection(settings.Check("tcp", port=port)) == f"tcp 127.0.0.1:{port}: Connection refused"


def test_a_program_says_by_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PLAIN", ())

    def said(*words: str, timeout: float = 5) -> str | None:
        told: str | None = checks.objection(settings.Check("command", command=words, timeout=timeout))
        return told

    assert said("/bin/true") is None
    assert said("/bin/false") == "command /bin/false: status 1"
    assert said("/bin/sh", "-c", "echo one; echo it is full >&2; exit 3") == "command /bin/sh: it is full"
    assert said("/bin/sleep", "5", timeout=0.1) == "command /bin/sleep: no answer within 0.1 s"
    assert said("/does/not/exist") == "command /does/not/exist: No such file or directory"


@pytest.mark.parametrize(
    ("given", "key", "port", "ages", "said"),
    [
        ({}, KEY, "51820", {}, None),
        ({"public_key": KEY, "port": 51820}, KEY, "51820", {}, None),
        ({}, "(none)", "51820", {}, "it has no key"),
        ({"public_key": PROBE}, KEY, "51820", {}, f"its key is {KEY}, not {PROBE}"),
        ({"port": 51821}, KEY, "51820", {}, "listens on port 51820, not 51821"),
        ({}, KEY, "0", {}, "listens on port 0, not one"),
        ({"probe": PROBE}, KEY, "51820", {PROBE: 100}, None),
        ({"probe": PROBE}, KEY, "51820", {PROBE: 200}, "its last handshake with the peer that probes it was 200 s ago"),
        ({"probe": PROBE}, KEY, "51820", {PROBE: None}, "its last handshake with the peer that probes it was never"),
        ({"probe": PROBE}, KEY, "51820", {}, "the peer that probes it is none of its peers"),
    ],
)
def test_a_tunnel_that_is_up_has_its_key_and_hears_its_probe(
    given: dict[str, Any],
    key: str,
    port: str,
    ages: dict[str, int | None],
    said: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = int(time.time())
    monkeypatch.setattr(checks.time, "time", lambda: now)
    handshakes = {peer: now - age if age is not None else 0 for peer, age in ages.items()}
    told = checks._what_is_wrong(settings.Check("wireguard", interface="wg0", **given), key, port, handshakes)
    assert told == (said and f"wireguard wg0: {said}")


@pytest.mark.negative
def test_no_private_key_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever `wg` shows; the interface is the one that every computer has."""
    secret = "s" * 43 + "="
    fake = tmp_path / "wg"
    fake.write_text(
        f"#!/bin/sh\nprintf '{secret}\\t{KEY}\\t51820\\toff\\n'\n"
        f"printf '{PROBE}\\t{secret}\\t192.0.2.9:1\\t0.0.0.0/0\\t5\\t1\\t1\\t25\\n'\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert checks.objection(settings.Check("wireguard", interface="lo", timeout=5)) is None
    for wrong in ({"port": 1}, {"public_key": PROBE}, {"probe": PROBE}, {"probe": KEY}):
        told = checks.objection(settings.Check("wireguard", interface="lo", timeout=5, **wrong))
        assert told
        assert secret not in told
    missing = checks.objection(settings.Check("wireguard", interface="wg-missing"))
    assert missing == "wireguard wg-missing: there is no such interface"
