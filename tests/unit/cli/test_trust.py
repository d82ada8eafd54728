"""`usb revoke`, `identity rotate`, `--confirm-code`: the commands for what is in other hands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homelab_provision import paths
from homelab_provision.identity import identities
from homelab_provision.identity.identities import Identities
from homelab_provision.runs import lock
from homelab_provision.site.models import Host
from homelab_provision.site.vault.store import PASSWORD_VARIABLE, Vault
from tests.unit.cli.command import Provision, provision, rebuild_that, site

__all__ = ["provision", "site"]  # fixtures
HOST = Host(name="db-wyse", address="192.168.50.10", provisioned=True, groups=("provisioned",))


@pytest.fixture
def keys(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("of the site\n")
    monkeypatch.setenv(PASSWORD_VARIABLE, str(password))
    return Vault.of(site, name="home")


def known(keys: Vault) -> Identities:
    return identities.load(keys, "home", HOST)


@pytest.mark.processes
def test_revoke_makes_a_new_rescue_key_and_leaves_no_stick_of_the_old_one(keys: Vault, provision: Provision) -> None:
    before = known(keys)
    sticks = paths.private(paths.state() / "sticks")
    for name in ("home-0123456789ab.img", "home-2-0123456789ab.img"):
        (sticks / name).write_text("a stick")
    shown = provision("usb", "revoke", "--yes")
    assert shown.code == 0, shown.err
    assert identities.fingerprint(before.site.rescue.public) in shown.err
    after = known(keys)
    assert after.site.rescue != before.site.rescue
    assert after.hosts == before.hosts
    assert [left.name for left in sticks.iterdir()] == ["home-2-0123456789ab.img"]  # that of another site


@pytest.mark.processes
@pytest.mark.negative
@pytest.mark.parametrize(
    "words", [("usb", "revoke"), ("identity", "rotate", "db-wyse"), ("identity", "rotate-authority")], ids=" ".join
)
def test_nothing_changes_unasked_or_under_a_rebuild(keys: Vault, provision: Provision, words: tuple[str, ...]) -> None:
    """A rebuild at work trusts the keys that it began with."""
    before = known(keys)
    assert provision(*words).code == 2  # there is no terminal to ask on
    with lock.locked(["host-db-wyse"], "a rebuild"):
        shown = provision(*words, "--yes")
    assert shown.code == 6
    assert "a rebuild" in shown.err
    assert known(keys) == before


@pytest.mark.processes
def test_rotate_makes_a_new_identity_and_says_what_is_left_to_do(keys: Vault, provision: Provision) -> None:
    before = known(keys)
    shown = provision("identity", "rotate", "db-wyse", "--yes")
    assert shown.code == 0, shown.err
    assert identities.fingerprint(before.hosts["db-wyse"].host_key.public) in shown.err
    assert "provision rebuild db-wyse --keep-data" in shown.err
    assert "accept the old certificate until it ends" in shown.err
    after = known(keys)
    assert after.hosts["db-wyse"].host_key != before.hosts["db-wyse"].host_key
    assert after.site == before.site


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("words", "given", "wanted"),
    [
        ((), None, False),
        (("--confirm-code",), "", True),
        (("--confirm-code", "--yes"), "", True),
        (("--confirm-code", "bcdf-ghjk"), "bcdf-ghjk", True),
    ],
    ids=str,
)
def test_the_code_is_asked_for_or_given(
    provision: Provision, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], given: str | None, wanted: bool
) -> None:
    calls: list[dict[str, Any]] = rebuild_that(monkeypatch, None)
    assert provision("rebuild", "db-wyse", *words).code == 0
    assert calls[0]["code"] == given
    assert calls[0]["run"].request.confirm_code is wanted


@pytest.mark.negative
@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("code", ["db-wyse", "BCDF", "BCDF-GHJK-MPQR", "AEIO-UYZS", "\x1b[2J"])
def test_what_is_no_code_is_a_usage_error(provision: Provision, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    calls = rebuild_that(monkeypatch, None)
    shown = provision("rebuild", "--confirm-code", code, "db-wyse")
    assert shown.code == 2
    assert "is no code" in shown.err
    assert "\x1b[2J" not in shown.err
    assert calls == []
