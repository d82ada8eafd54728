"""A stolen stick: what somebody gets who has the rescue's key, before and after it was revoked. With real servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from homelab_provision.doors.ssh import RESCUE, Answer, Ssh
from homelab_provision.errors import ExitCode, Refused, UsageError
from homelab_provision.events import discard
from homelab_provision.identity import identities
from homelab_provision.identity.identities import Identities
from homelab_provision.phases import boot, confirm, flash, identify
from homelab_provision.runs import store
from homelab_provision.runs.store import Request
from homelab_provision.site.vault.store import Vault
from homelab_provision.ways import Medium, usb
from tests.unit.jobs.false_rescue import BOOT_ID, CODE, at, listening

pytestmark = pytest.mark.processes


class Memory(Vault):
    """A vault that is not written down: sealing it takes seconds."""

    values: ClassVar[dict[str, dict[str, str]]]

    def read(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        return {name: dict(self.values[name]) for name in names if name in self.values}

    def write(self, name: str, values: Mapping[str, str]) -> None:
        self.values[name] = dict(values)


@pytest.fixture
def keys(tmp_path: Path) -> Vault:
    Memory.values = {}
    return Memory(tmp_path, tmp_path)


@pytest.fixture
def site(keys: Vault) -> Identities:
    return identities.load(keys, "lab")


class Screen:
    """Whoever sits before the machine reads this from its screen."""

    patience = 1.0

    def __init__(self, code: str | None, typed: str = "") -> None:
        self.code, self.typed = code, typed
        self.started: list[Path] = []

    def shown_code(self, machine: Any) -> str | None:
        return self.code

    def ask(self, text: str) -> str:
        return self.typed

    def console(self, machine: Any) -> str:
        return ""

    def start_from_stick(self, machine: Any, stick: Path) -> None:
        self.started.append(stick)


def rebuild_of(ssh: Ssh, identities: Identities, screen: Screen, *, code: str | None = "", **more: Any) -> Any:
    run = store.start(Request(command="rebuild", site=Path("/site"), host="db-wyse"))
    machine = SimpleNamespace(name="wyse-b", passport=SimpleNamespace(serial="LAB5070B", macs=("52:54:00:00:00:01",)))
    plan = SimpleNamespace(host="db-wyse", machine="wyse-b", keep_data=False, way="usb", operator="person")
    return SimpleNamespace(
        ssh=ssh,
        session=SimpleNamespace(identities=identities),
        way=usb.WAY,
        run=run,
        machine=machine,
        plan=plan,
        emit=discard,
        code=code,
        operator=screen,
        person=screen,
        unattended=False,
        consent=True,
        say=lambda text: None,
        site=SimpleNamespace(name="lab"),
        **more,
    )


# ---- a stick that was revoked ---------------------------------------------------------------------------------


def test_a_stick_is_trusted_until_it_is_revoked(site: Identities, tmp_path: Path) -> None:
    with listening(tmp_path / "r", site.site.rescue, site.site.controller) as rescue, at(rescue, site) as ssh:
        assert ssh.answer(RESCUE) is Answer.OURS
        assert boot.run(rebuild_of(ssh, site, Screen(None)))["boot_id"] == BOOT_ID


@pytest.mark.negative
def test_a_revoked_stick_gets_not_one_byte(
    keys: Vault, site: Identities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities.revoke_rescue(keys, "lab")
    now = identities.load(keys, "lab")
    assert now.site.rescue != site.site.rescue
    assert now.site.controller == site.site.controller
    monkeypatch.setattr(boot, "build_rescue", lambda *words: None)
    monkeypatch.setattr(usb, "site_stick", lambda *words: Medium(rescue_id="new", path=Path("/the-new-stick")))
    with listening(tmp_path / "r", site.site.rescue, site.site.controller) as rescue, at(rescue, now) as ssh:
        assert ssh.answer(RESCUE) is Answer.STRANGER
        screen = Screen(None)
        with pytest.raises(boot.RescueNotReached, match="a stick that was revoked on 20"):
            boot.run(rebuild_of(ssh, now, screen))
        assert screen.started == [Path("/the-new-stick")]
        assert (rescue.asked, rescue.received) == ([], b"")


def test_all_that_was_ever_revoked_is_remembered(keys: Vault, site: Identities) -> None:
    identities.revoke_rescue(keys, "lab")
    between = identities.load(keys, "lab")
    identities.revoke_rescue(keys, "lab")
    now = identities.load(keys, "lab")
    for old in (site, between):
        assert identities.retired_on(now.site, old.site.rescue.public)
    assert identities.retired_on(now.site, now.site.rescue.public) is None
    assert identities.retired_on(now.site, None) is None


@pytest.mark.negative
def test_a_site_without_a_stick_has_nothing_to_revoke(keys: Vault) -> None:
    with pytest.raises(UsageError, match="no rescue key"):
        identities.revoke_rescue(keys, "lab")
    assert keys.read(["site"]) == {}


# ---- the code on the screen ------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", [CODE, "bcdf ghjk", "BCDFGHJK", " bcdf-ghjk "])
def test_the_code_on_the_screen_confirms_the_rescue(site: Identities, tmp_path: Path, typed: str) -> None:
    with listening(tmp_path / "r", site.site.rescue, site.site.controller) as rescue, at(rescue, site) as ssh:
        for screen, code in ((Screen(None, typed), ""), (Screen(typed), ""), (Screen(None), typed)):
            assert confirm.confirm(rebuild_of(ssh, site, screen, code=code)) == BOOT_ID
        assert rescue.received == b""  # what was typed is compared here and goes nowhere
        assert confirm.confirm(rebuild_of(ssh, site, Screen(None), code=None)) is None


@pytest.mark.negative
def test_a_false_rescue_that_has_the_key_is_refused_before_anything_is_sent(site: Identities, tmp_path: Path) -> None:
    """It answers as the rescue in every way; only what the person's own screen shows it cannot know."""
    with listening(tmp_path / "r", site.site.rescue, site.site.controller) as rescue, at(rescue, site) as ssh:
        with pytest.raises(Refused, match="not the rescue on the screen of wyse-b") as refused:
            identify.run(rebuild_of(ssh, site, Screen(None, "TTTT-VVVV")))
        assert refused.value.exit_code is ExitCode.REFUSED
        assert rescue.asked == [f"cat {confirm.BOOT_ID_FILE} {confirm.CODE_FILE}"]
        assert rescue.received == b""


@pytest.mark.negative
@pytest.mark.parametrize("made", ["", "x", "TTTT-VVVV-WWWW"])
def test_a_rescue_without_a_code_is_refused(site: Identities, tmp_path: Path, made: str) -> None:
    with (
        listening(tmp_path / "r", site.site.rescue, site.site.controller, code=made) as rescue,
        at(rescue, site) as ssh,
        pytest.raises(Refused, match="no confirmation code"),
    ):
        confirm.confirm(rebuild_of(ssh, site, Screen(None, made)))


@pytest.mark.negative
def test_without_anybody_to_ask_the_code_must_be_given(site: Identities, tmp_path: Path) -> None:
    with listening(tmp_path / "r", site.site.rescue, site.site.controller) as rescue, at(rescue, site) as ssh:
        alone = rebuild_of(ssh, site, Screen(None, CODE))
        alone.unattended = True
        with pytest.raises(UsageError, match="--confirm-code"):
            confirm.confirm(alone)


def test_one_start_of_the_rescue_is_confirmed_once(site: Identities, tmp_path: Path) -> None:
    with listening(tmp_path / "r", site.site.rescue, site.site.controller) as rescue, at(rescue, site) as ssh:
        work = rebuild_of(ssh, site, Screen(None, CODE))
        assert confirm.confirm(work) == BOOT_ID
        work.person = Screen(None, "another")
        assert confirm.confirm(work) == BOOT_ID
        (rescue.folder / "boot_id").write_text("another\n")
        with pytest.raises(Refused):
            confirm.confirm(work)


# ---- the identity's own way ------------------------------------------------------------------------------------


def _identified(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    work.run.write(identify.FACTS_FILE, "{}")
    monkeypatch.setattr(
        flash, "MachineFacts", SimpleNamespace(model_validate_json=lambda text: SimpleNamespace(boot_id=BOOT_ID))
    )
    monkeypatch.setattr(flash, "PLACE", str(work.place))
    work.place.mkdir()
    (work.place / flash.WRITER.name).write_text(
        "import json, sys\nprint(json.dumps({'result': 'ok', 'bytes': len(sys.stdin.buffer.read())}))\n"
    )


@pytest.mark.parametrize("size", [3, 30_000, 300_000])
def test_the_identity_goes_whole_to_the_machine_that_was_identified(
    site: Identities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    with listening(tmp_path / "r", site.site.rescue, site.site.controller) as rescue, at(rescue, site) as ssh:
        work = rebuild_of(ssh, site, Screen(None), place=tmp_path / "place")
        _identified(work, monkeypatch)
        flash._personalise(work, b"k" * size)
        assert rescue.received == b"k" * size


@pytest.mark.negative
def test_a_rescue_that_took_over_since_gets_no_identity(
    site: Identities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "99999999-2222-4333-8444-555555555555"
    with (
        listening(tmp_path / "r", site.site.rescue, site.site.controller, boot_id=other) as rescue,
        at(rescue, site) as ssh,
    ):
        work = rebuild_of(ssh, site, Screen(None), place=tmp_path / "place")
        _identified(work, monkeypatch)
        with pytest.raises(Refused, match="restarted or exchanged"):
            flash._personalise(work, b"the private key")
        assert rescue.received == b""
