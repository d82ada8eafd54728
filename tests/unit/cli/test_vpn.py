"""`provision vpn`: files and codes that other programs read, and no key where nobody asked for it."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import zxingcpp
from PIL import Image
from wgconfig import WGConfig

from homelab_provision.identity import identities
from homelab_provision.runs import lock
from homelab_provision.site.models import Site
from homelab_provision.site.vault.store import PASSWORD_VARIABLE, Vault
from tests.unit.cli.command import Provision, Shown, provision, site
from tests.unit.site.sites import VPN, hosts_with, site_of

__all__ = ["provision", "site"]  # fixtures
MODULE = 4  # pixels


@pytest.fixture
def vault(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    """The vault of a site with a VPN, whose server is db-wyse; `nas` is a client."""

    def load_site(given: Path) -> Site:
        found = site_of((given / "machines.yml").read_text(), hosts_with(VPN), given)
        playing = {name: host.model_copy(update={"roles": ("vpn",)}) for name, host in found.hosts.items()}
        return replace(found, hosts={**found.hosts, "db-wyse": playing["db-wyse"], "nas": playing["nas"]})

    monkeypatch.setattr("homelab_provision.site.loading.load_site", load_site)
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("of the site\n")
    monkeypatch.setenv(PASSWORD_VARIABLE, str(password))
    return Vault.of(site, name="home")


def keys(vault: Vault) -> dict[str, str]:
    return vault.read(["secrets"]).get("secrets", {})


def secret_keys(vault: Vault) -> set[str]:
    return {text for name, text in keys(vault).items() if name.startswith("secret_")}


def private_key_in(text: str) -> str:
    file = WGConfig()
    file.read_from_fileobj(io.StringIO(text))
    return str(file.interface["PrivateKey"])


@pytest.fixture
def on_a_terminal(provision: Provision, monkeypatch: pytest.MonkeyPatch) -> Provision:
    """The command with a terminal of 120 columns behind standard output."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*words: str) -> Shown:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)  # of the stream that captures this part of the test
        return provision(*words)

    return run


# ---- what a client gets --------------------------------------------------------------------------------------


def test_without_a_terminal_the_text_of_the_file_is_data(vault: Vault, provision: Provision) -> None:
    shown = provision("vpn", "client", "phone")
    assert (shown.code, shown.err) == (0, "")
    assert private_key_in(shown.out) == keys(vault)["secret_vpn_private_phone"]
    assert secret_keys(vault) & {*re.findall(r"\S{43}=", shown.out)} == {
        keys(vault)["secret_vpn_private_phone"],
        keys(vault)["secret_vpn_shared_phone"],
    }
    assert provision("vpn", "client", "phone").out == shown.out


def test_a_file_is_for_its_owner_alone_and_replaces_none(vault: Vault, provision: Provision, tmp_path: Path) -> None:
    file = tmp_path / "wg0.conf"
    before = os.umask(0)
    try:
        shown = provision("vpn", "client", "tablet", "--file", str(file))
    finally:
        os.umask(before)
    assert (shown.code, shown.out) == (0, "")
    assert "everything that the device sends goes through the home" in shown.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert private_key_in(file.read_text()) == keys(vault)["secret_vpn_private_tablet"]
    assert not [key for key in secret_keys(vault) if key in shown.err]
    first = file.read_text()
    for option in ("--file", "--png"):
        shown = provision("vpn", "client", "phone", option, str(file))
        assert shown.code == 5
        assert "--force" in shown.err
        assert file.read_text() == first
    file.chmod(0o644)
    assert provision("vpn", "client", "phone", "--file", str(file), "--force").code == 0
    assert private_key_in(file.read_text()) == keys(vault)["secret_vpn_private_phone"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir() if "wg0" in each.name] == ["wg0.conf"]


@pytest.mark.negative
@pytest.mark.usefixtures("vault")
def test_what_cannot_be_a_file_is_said_before_any_key_is_made(provision: Provision, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    for target, code in ((tmp_path, 2), (tmp_path / "pipe", 2), (tmp_path / "no" / "where", 2), (tmp_path / "link", 5)):
        for option in ("--file", "--png"):
            assert provision("vpn", "client", "phone", option, str(target)).code == code
    assert provision("vpn", "client", "phone", "--file", str(tmp_path / "pipe"), "--force").code == 2
    assert not (tmp_path / "home" / "vault").exists()


@pytest.mark.usefixtures("vault")
def test_a_picture_holds_the_same_as_the_file(provision: Provision, tmp_path: Path) -> None:
    png = tmp_path / "phone.png"
    shown = provision("vpn", "client", "phone", "--png", str(png))
    assert (shown.code, shown.out) == (0, "")
    assert stat.S_IMODE(png.stat().st_mode) == 0o600
    found = zxingcpp.read_barcode(Image.open(png), try_invert=False)
    assert found
    assert found.text == provision("vpn", "client", "phone").out


def picture(shown: str, foreground: int, background: int) -> memoryview:
    """What a terminal shows of lines of blocks: grey values. Its own colours count where a line does not set any."""
    rows: list[bytes] = []
    for line in shown.splitlines():
        white_on_black = line.startswith("\x1b[38;5;231;48;5;16m")
        light, dark = (255, 0) if white_on_black else (foreground, background)
        halves = {" ": (dark, dark), "▀": (light, dark), "▄": (dark, light), "█": (light, light)}
        cells = [halves[char] for char in re.sub(r"\x1b\[[0-9;]*m", "", line)]
        for half in (0, 1):
            rows += [b"".join(bytes([cell[half]]) * MODULE for cell in cells)] * MODULE
    margin = [bytes([background]) * len(rows[0])] * 40
    rows = [*margin, *rows, *margin]
    return memoryview(b"".join(rows)).cast("B", (len(rows), len(rows[0])))


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize("words", [(), ("--qr",)], ids=["by itself", "asked for"])
@pytest.mark.parametrize(("foreground", "background"), [(220, 0), (0, 255), (131, 0), (101, 253)])
def test_the_code_in_a_terminal_is_read_on_dark_and_on_light(
    on_a_terminal: Provision, words: tuple[str, ...], foreground: int, background: int
) -> None:
    shown = on_a_terminal("vpn", "client", "phone", *words)
    assert shown.code == 0
    assert "in the app of WireGuard" in shown.err
    assert "192.168.50.0/24" in shown.err
    found = zxingcpp.read_barcode(picture(shown.out, foreground, background), try_invert=False)
    assert found
    assert "PrivateKey = " in found.text
    assert found.text.endswith("PersistentKeepalive = 25\n")


@pytest.mark.negative
@pytest.mark.usefixtures("vault")
def test_a_code_that_would_come_out_torn_is_not_shown(
    on_a_terminal: Provision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = on_a_terminal("vpn", "client", "phone")
    assert (shown.code, shown.out) == (2, "")
    assert "columns wide, the terminal 60" in shown.err
    assert "--png FILE" in shown.err


def test_a_device_with_its_own_key_gets_text_and_no_code(
    vault: Vault, on_a_terminal: Provision, tmp_path: Path
) -> None:
    shown = on_a_terminal("vpn", "client", "own")
    assert shown.code == 0
    assert "# PrivateKey = (here the device puts" in shown.out
    assert secret_keys(vault) & {*re.findall(r"\S{43}=", shown.out)} == {keys(vault)["secret_vpn_shared_own"]}
    for words in (("--qr",), ("--png", str(tmp_path / "own.png"))):
        shown = on_a_terminal("vpn", "client", "own", *words)
        assert (shown.code, shown.out) == (2, "")
        assert "--file" in shown.err


@pytest.mark.negative
@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("client", "old_laptop"), 5, "`old_laptop` is revoked"),
        (("client", "cloud_a"), 5, "provision apply nas"),
        (("client", "phon"), 2, "did you mean `phone`?"),
        (("client", "phone", "--qr", "--file", "x"), 2, "at a time"),
        (("rekey", "phon", "--yes"), 2, "did you mean `phone`?"),
        (("rekey", "old_laptop", "--yes"), 5, "`old_laptop` is revoked"),
        (("rekey", "own", "--yes"), 5, "its new public key"),
    ],
)
def test_refusals(provision: Provision, words: tuple[str, ...], code: int, said: str) -> None:
    shown = provision("vpn", *words)
    assert (shown.code, shown.out) == (code, "")
    assert said in shown.err.replace("\n", " ")


@pytest.mark.negative
@pytest.mark.usefixtures("vault")
def test_after_its_last_day_a_client_gets_no_file(provision: Provision, monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> Later:
            return cls(2027, 2, 1, tzinfo=UTC)

    monkeypatch.setattr("homelab_provision.cli.vpn.datetime", Later)
    shown = provision("vpn", "client", "phone")
    assert (shown.code, shown.out) == (5, "")
    assert "its last day was 2027-01-31" in shown.err
    assert "expired 2027-01-31" in provision("vpn", "list").out


@pytest.mark.negative
@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("words", [("list",), ("client", "phone"), ("rekey", "phone", "--yes")], ids=" ".join)
def test_a_site_without_a_vpn_is_told_how_to_have_one(provision: Provision, words: tuple[str, ...]) -> None:
    shown = provision("vpn", *words)
    assert shown.code == 2
    assert "`provision_vpn` is not set" in shown.err


# ---- who may connect -----------------------------------------------------------------------------------------


def test_the_list_needs_no_key_and_shows_none(vault: Vault, provision: Provision) -> None:
    shown = provision("vpn", "list")
    assert shown.code == 0
    assert [re.split(r"\s{2,}", line) for line in shown.out.splitlines()] == [
        ["client", "addresses", "tunnel", "note"],
        ["cloud_a", "10.77.0.5, fd77:5070::5", "split", "host nas"],
        ["tablet", "10.77.0.10, fd77:5070::a", "full"],
        ["phone", "10.77.0.11, fd77:5070::b", "split", "expires 2027-01-31"],
        ["old_laptop", "10.77.0.12, fd77:5070::c", "split", "revoked"],
        ["own", "10.77.0.13, fd77:5070::d", "split", "its own key"],
    ]
    assert json.loads(provision("vpn", "list", "--json").out)[2] == {
        "name": "phone",
        "number": 11,
        "addresses": ["10.77.0.11", "fd77:5070::b"],
        "tunnel": "split",
        "expires": "2027-01-31",
        "expired": datetime.now(UTC).date() > date(2027, 1, 31),
        "revoked": False,
        "host": None,
        "own_key": False,
    }
    assert not vault.folder.exists()


# ---- new keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "apply"),
    [("phone", "provision apply db-wyse`"), ("cloud_a", "provision apply db-wyse nas`"), ("server", "db-wyse nas`")],
)
def test_new_keys_are_made_for_one_and_the_hosts_named_that_need_them(
    vault: Vault, provision: Provision, name: str, apply: str
) -> None:
    provision("vpn", "client", "phone")
    before = keys(vault)
    shown = provision("vpn", "rekey", name, "--yes")
    assert (shown.code, shown.out) == (0, "")
    assert apply in shown.err
    assert ("every client needs its new file" in shown.err) is (name == "server")
    after = keys(vault)
    changed = {key for key in after if after[key] != before[key]}
    assert changed == {key for key in before if key.endswith(f"_{name}")}
    assert not [key for key in {*before.values(), *after.values()} if key in shown.err]


@pytest.mark.negative
def test_no_key_changes_unasked_or_while_a_host_is_worked_on(vault: Vault, provision: Provision) -> None:
    provision("vpn", "client", "phone")
    before = keys(vault)
    shown = provision("vpn", "rekey", "phone")
    assert shown.code == 2  # there is no terminal to ask on
    assert "no terminal to ask on" in shown.err
    with lock.locked(["host-db-wyse"], "an apply"):
        assert provision("vpn", "rekey", "phone", "--yes").code == 6
    assert keys(vault) == before


@pytest.mark.processes
def test_who_rotates_a_host_is_told_of_its_key_of_the_vpn(vault: Vault, provision: Provision, site: Path) -> None:
    known = site_of((site / "machines.yml").read_text()).host("db-wyse")
    identities.load(vault, "home", known)
    assert "`provision vpn rekey server`" in provision("identity", "rotate", "db-wyse", "--yes").err


# ---- secrets -------------------------------------------------------------------------------------------------


def test_no_private_key_is_anywhere_but_where_it_was_asked_for(
    vault: Vault, provision: Provision, tmp_path: Path
) -> None:
    asked = tmp_path / "phone.conf"
    said = [
        provision("vpn", *words)
        for words in (
            ("client", "phone", "--file", str(asked)),
            ("client", "phone", "--file", str(asked)),
            ("client", "tablet", "--png", str(tmp_path / "tablet.png")),
            ("client", "old_laptop"),
            ("list",),
            ("list", "--json"),
        )
    ]
    secrets = secret_keys(vault)
    said.append(provision("vpn", "rekey", "phone", "--yes"))
    vault.write("secrets", keys(vault) | {"public_vpn_phone": keys(vault)["public_vpn_tablet"]})
    with pytest.raises(Exception, match="belongs to another key"):
        keys(vault)
    said.append(provision("vpn", "client", "phone"))
    said.append(provision("config", "show"))
    assert said[-2].code == 2
    assert "belongs to another key" in said[-2].err
    assert len(secrets) == 8
    everything = {str(number): shown.out + shown.err for number, shown in enumerate(said)}
    everything |= {str(path): path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()}
    found = {place for place, text in everything.items() if any(secret in text for secret in secrets)}
    assert found == {str(asked)}
