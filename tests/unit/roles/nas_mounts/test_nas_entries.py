"""What an entry of `nas_mounts` means: units of systemd, credentials, and what is refused."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest

from tests.unit.roles import modules

nas = modules.part("spec", "nas_mounts")

COMMON = "nofail,_netdev,nosuid,nodev"


def told(**given: Any) -> dict[str, Any]:
    """An entry as Ansible hands it over: what is not given is null, or has its default."""
    absent = dict.fromkeys(("source", "username", "password", "domain", "owner"))
    return {
        **absent,
        "source": "nas:/srv/x",
        "path": "/mnt/x",
        "protocol": "nfs",
        "profile": "data",
        "options": [],
        "state": "present",
        **given,
    }


def smb(**given: Any) -> dict[str, Any]:
    return told(**{"protocol": "smb", "source": "//nas/share", **given})


def read(*entries: dict[str, Any]) -> list[Any]:
    found: list[Any] = nas.read(list(entries), {"root": (0, 0), "ada": (1000, 1001)}.__getitem__)
    return found


def options(entry: dict[str, Any]) -> list[str]:
    """The options with which it is mounted."""
    words: list[str] = read(entry)[0].options.split(",")
    return words


def test_a_share_is_a_unit_that_mounts_it_and_one_that_does_so_when_it_is_used() -> None:
    (entry,) = read(told(source="192.168.50.20:/srv/my data", path="/mnt/100%"))
    assert (entry.server, entry.port, entry.credentials) == ("192.168.50.20", 2049, None)
    assert (
        nas.mount_unit(entry)
        == f"""\
# Written by the role nas_mounts.
[Unit]
StartLimitIntervalSec=0

[Mount]
What=192.168.50.20:/srv/my data
Where=/mnt/100%%
Type=nfs4
Options={COMMON},hard
TimeoutSec=15
"""
    )
    assert nas.automount_unit(entry) == "# Written by the role nas_mounts.\n[Automount]\nWhere=/mnt/100%%\n"
    assert nas.mounted_by(nas.mount_unit(entry)) == ("/mnt/100%", ("192.168.50.20", 2049))


@pytest.mark.parametrize("text", ["", "[Mount]\nWhat=nas:/x\nWhere=/mnt/x\nType=nfs4\n", f"{nas.MARK}[Unit]\n"])
def test_only_units_with_our_mark_are_ours(text: str) -> None:
    assert nas.mounted_by(text) is None


@pytest.mark.parametrize(
    ("protocol", "profile", "patience"),
    [
        ("nfs", "data", {"hard"}),
        ("nfs", "backup", {"softerr", "timeo=50", "retrans=3"}),
        ("nfs", "media", {"softerr", "timeo=50", "retrans=3"}),
        ("smb", "data", {"hard"}),
        ("smb", "backup", {"soft", "echo_interval=5"}),
    ],
)
def test_data_waits_and_everything_else_fails_in_time(protocol: str, profile: str, patience: set[str]) -> None:
    entry = (told if protocol == "nfs" else smb)(profile=profile)
    seen = set(options(entry))
    assert patience <= seen
    assert len(seen & {"hard", "soft", "softerr"}) == 1
    assert set(COMMON.split(",")) <= seen


@pytest.mark.parametrize(
    ("given", "gone", "there"),
    [
        (["timeo=9"], "timeo=50", "timeo=9"),
        (["hard"], "softerr", "hard"),
        (["soft"], "softerr", "soft"),
    ],
)
def test_what_the_user_says_takes_the_place_of_the_profile(given: list[str], gone: str, there: str) -> None:
    seen = options(told(profile="backup", options=given))
    assert gone not in seen
    assert seen.count(there) == 1
    assert seen[-len(given) :] == given


def test_a_share_over_smb_names_its_credentials_and_its_owner() -> None:
    (entry,) = read(smb(username="ada", password="a, b=c'#\\ ", domain="HOME", owner="ada", path="/mnt/my films"))
    assert "credentials=/etc/homelab-provision/nas/mnt-my_20films" in entry.options
    assert "uid=1000,gid=1001" in entry.options
    assert entry.credentials == "username=ada\npassword=a, b=c'#\\ \ndomain=HOME\n"
    assert "a, b" not in nas.mount_unit(entry)


def test_without_an_account_a_host_comes_as_a_guest() -> None:
    (entry,) = read(smb())
    assert "guest" in options(smb())
    assert "credentials" not in entry.options
    assert entry.credentials is None


def test_every_path_has_credentials_of_its_own() -> None:
    paths = ["/mnt/a-b", "/mnt/a/b", "/mnt/a_b", "/mnt/a b", "/mnt/a.b", "/mnt/ä", "/mnt/_e4"]
    names = [nas.credentials_file(path).name for path in paths]
    assert len(set(names)) == len(paths)
    assert all(name.replace("-", "").replace("_", "").isalnum() for name in names)
    assert {nas.credentials_file(path).parent for path in paths} == {PurePosixPath("/etc/homelab-provision/nas")}


@pytest.mark.parametrize(
    ("path", "unit"),
    [  # as systemd-escape --path says
        ("/mnt/data", "mnt-data"),
        ("/mnt/my-data", r"mnt-my\x2ddata"),
        ("/mnt/a b", r"mnt-a\x20b"),
        ("/mnt/.hidden", "mnt-.hidden"),
        ("/.hidden", r"\x2ehidden"),
        ("/mnt/ü", r"mnt-\xc3\xbc"),
        ("/mnt/a:b_c.d", "mnt-a:b_c.d"),
        ("/mnt/a\\b", r"mnt-a\x5cb"),
    ],
)
def test_units_are_called_as_systemd_calls_them(path: str, unit: str) -> None:
    assert nas.unit_name(path) == unit


def test_the_kernels_octal_numbers_are_read() -> None:
    assert nas.unescaped(r"/mnt/a\040b\134c") == "/mnt/a b\\c"


@pytest.mark.parametrize(
    ("source", "kind", "server"),
    [
        ("nas.lan:/x", "nfs4", "nas.lan"),
        ("nas:/", "nfs4", "nas"),
        ("[fd00::20]:/x", "nfs4", "fd00::20"),
        ("//nas/share/folder", "cifs", "nas"),
        ("nas:x", "nfs4", None),
        ("/srv/x", "nfs4", None),
        ("fd00::20:/x", "nfs4", None),
        ("//nas", "cifs", None),
        ("//nas/", "cifs", None),
        ("nas:/x", "cifs", None),
        ("", "nfs4", None),
    ],
)
def test_a_source_names_its_server(source: str, kind: str, server: str | None) -> None:
    assert nas.server_of(source, kind) == server


def test_an_absent_share_needs_no_source() -> None:
    assert read(told(state="absent", source=None)) == []


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([told(source="nas:srv")], "wants `server:/directory`"),
        ([told(source=None)], "wants `server:/directory`"),
        ([smb(source="nas:/x")], "wants `//server/share`"),
        ([told(path="mnt/x")], "absolute"),
        ([told(path="/")], "absolute"),
        ([told(path="/mnt/x/")], "slash at its end"),
        ([told(path="/mnt/../etc")], "`..`"),
        ([told(path="/mnt//x")], "absolute"),
        ([told(path="/mnt/x\n/etc / none")], "one line"),
        ([told(), told(source="nas:/other")], "listed twice"),
        ([told(), told(path="/mnt/x/y")], "lies beneath /mnt/x"),
        ([told(path="/mnt/x/y"), told(path="/mnt/x", state="absent")], "lies beneath /mnt/x"),
        ([told(options=["ro,vers=4"])], "not one option"),
        ([told(options=["ro "])], "not one option"),
        ([told(options=[""])], "not one option"),
        ([told(options=["x-systemd.idle-timeout=60"])], "is for fstab"),
        ([told(source="nas:/srv\nOptions=suid")], "wants `server:/directory`|one line"),
        ([told(source="nas:/srv ")], "one line without a blank"),
        ([told(path="/mnt/x\\")], "one line without a blank"),
        ([smb(options=["password=x"])], "read by everybody"),
        ([smb(options=["credentials=/root/x"])], "read by everybody"),
        ([told(owner="ada")], "its server decides"),
        ([told(password="x", username="y")], "is for smb"),
        ([smb(username="ada")], "belong together"),
        ([smb(password="x")], "belong together"),
        ([smb(domain="HOME")], "belong together"),
        ([smb(username="ada", password="two\nlines")], "`password` has a line break"),
    ],
)
@pytest.mark.negative
def test_what_cannot_be_is_refused_with_its_reason(entries: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(nas.NasError, match=reason) as refused:
        read(*entries)
    assert "two" not in str(refused.value)


def test_paths_that_only_begin_alike_are_no_matter() -> None:
    assert [entry.path for entry in read(told(), told(path="/mnt/xy"))] == ["/mnt/x", "/mnt/xy"]
