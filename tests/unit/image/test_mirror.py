"""Which mirror is taken from an apt configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from homelab_provision.image.mirror import Mirror, find_mirror, parse_deb822, parse_list

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


def _find(tmp_path: Path, override: str | None = None, *, one_line: str = "", deb822: str = "",
          identity: str = "debian") -> Mirror | None:  # fmt: skip
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(one_line)
    (tmp_path / "sources.list.d/debian.sources").write_text(deb822)
    (tmp_path / "os-release").write_text(f'NAME="Something"\nID={identity}\n')
    return find_mirror(override, apt=tmp_path, os_release=tmp_path / "os-release")


@pytest.mark.parametrize(("content", "base", "security"), [
    ({"deb822": DEB822}, "http://mirror.example/debian", "http://mirror.example/debian-security"),
    ({"one_line": ONE_LINE}, "http://ftp.example/debian", "http://sec.example/debian-security"),
])  # fmt: skip
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
        ["http://m/debian", "trixie"], ["http://m/debian", "trixie-updates"], ["http://m/security", "trixie-security"],
    ]  # fmt: skip


def test_options_and_disabled_stanzas_are_understood() -> None:
    assert next(parse_list(ONE_LINE)).signed_by == "/etc/k.gpg"
    assert {source.uri for source in parse_deb822(DEB822)} == {
        "http://mirror.example/debian/", "http://mirror.example/debian-security"}  # fmt: skip
