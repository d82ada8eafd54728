"""Which mirror is taken from an apt configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from homelab_provision.image.mirror import Mirror, complete, find_mirror, is_offered, parse_deb822, parse_list
from homelab_provision.image.mmdebstrap import mmdebstrap_argv

DEB822 = """\
Types: deb deb-src
# a comment inside
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""
ONE_LINE = """\
# deb http://comment.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/k.gpg] https://vendor.example/apt bookworm main
deb http://ftp.example/debian bookworm main contrib # ours
deb-src http://ftp.example/debian bookworm main
deb http://ftp.example/debian bookworm-updates main
deb http://sec.example/debian-security bookworm-security main
deb cdrom:[Debian]/ bookworm main
"""


def _find(
    tmp_path: Path, override: str | None = None, *, one_line: str = "", deb822: str = "", identity: str = "debian"
) -> Mirror | None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(one_line)
    (tmp_path / "sources.list.d/debian.sources").write_text(deb822)
    (tmp_path / "os-release").write_text(f'NAME="Something"\nID={identity}\n')
    return find_mirror(override, apt=tmp_path, os_release=tmp_path / "os-release")


@pytest.mark.parametrize(
    ("content", "base", "security"),
    [
        ({"deb822": DEB822}, "http://mirror.example/debian", "http://mirror.example/debian-security"),
        ({"one_line": ONE_LINE}, "http://ftp.example/debian", "http://sec.example/debian-security"),
    ],
)
def test_debian_s_own_archive_is_found(tmp_path: Path, content: dict[str, str], base: str, security: str) -> None:
    assert _find(tmp_path, **content) == Mirror(base, security)


def test_the_override_wins_and_security_stays(tmp_path: Path) -> None:
    found = _find(tmp_path, "http://cache.lan/debian/", deb822=DEB822)
    assert found == Mirror("http://cache.lan/debian", "http://mirror.example/debian-security")


def test_elsewhere_the_tool_s_default_is_left_alone(tmp_path: Path) -> None:
    assert _find(tmp_path, one_line=ONE_LINE, identity="ubuntu") is None


def test_a_machine_without_sources_has_no_mirror(tmp_path: Path) -> None:
    assert _find(tmp_path) is None
    assert find_mirror(apt=tmp_path / "missing", os_release=tmp_path / "missing") is None


def test_sources_are_written_for_another_release() -> None:
    lines = Mirror("http://m/debian", "http://m/security").sources("trixie")
    assert [line.split()[1:3] for line in lines] == [
        ["http://m/debian", "trixie"],
        ["http://m/debian", "trixie-updates"],
        ["http://m/security", "trixie-security"],
    ]


def test_options_and_disabled_stanzas_are_understood() -> None:
    assert next(parse_list(ONE_LINE)).signed_by == "/etc/k.gpg"
    assert {source.uri for source in parse_deb822(DEB822)} == {
        "http://mirror.example/debian/",
        "http://mirror.example/debian-security",
    }


def test_security_updates_are_looked_for_beside_the_mirror() -> None:
    asked: list[tuple[str, str]] = []

    def offers(base: str, suite: str) -> bool:
        asked.append((base, suite))
        return True

    assert complete(Mirror("http://m/debian"), "trixie", offers) == Mirror(
        "http://m/debian", "http://m/debian-security"
    )
    assert asked == [("http://m/debian-security", "trixie-security")]
    named = Mirror("http://m/debian", "http://s/security")
    for known in (None, named, Mirror("http://m/copy")):  # nothing to look for, or nowhere
        assert complete(known, "trixie", offers) == known
    assert len(asked) == 1


@pytest.mark.negative
def test_a_mirror_without_security_updates_stays_so() -> None:
    assert complete(Mirror("http://m/debian"), "trixie", lambda *words: False) == Mirror("http://m/debian")


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The files of a folder, from a web server of our own."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/debian-security"
        server.shutdown()


@pytest.mark.parametrize(
    ("text", "offered"),
    [("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n", True), ("<html>a portal that wants a login", False)],
)
def test_an_archive_is_offered_when_it_has_a_signed_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, offered: bool
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    release = tmp_path / "debian-security/dists/trixie-security/InRelease"
    release.parent.mkdir(parents=True)
    release.write_text(text)
    with serving(tmp_path) as base:
        assert is_offered(base, "trixie-security") is offered
        assert not is_offered(base, "forky-security")
    assert not is_offered(base, "trixie-security")  # nobody is there any more
    assert not is_offered("no address", "trixie")


def test_the_tool_s_default_mirror_brings_firmware_too() -> None:
    argv = mmdebstrap_argv("trixie", Path("t"), ["a"], variant="apt")
    assert "--components=main,non-free-firmware" in argv
    argv = mmdebstrap_argv("trixie", Path("t"), ["a"], variant="apt", mirror=Mirror("http://m/debian"))
    assert "deb http://m/debian trixie main non-free-firmware" in argv
