"""Boxes in the rescue system: found, looked at, and written into the site. With real servers that take its part."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from homelab_provision.doors.ssh import RESCUE, Ssh
from homelab_provision.errors import ExitCode, ProvisionError, Refused, UsageError
from homelab_provision.events import Event, Notice, discard
from homelab_provision.identity import identities
from homelab_provision.identity.identities import Identities, KeyPair, SiteIdentity
from homelab_provision.jobs import adopt
from homelab_provision.jobs.adopt import Found
from homelab_provision.lab import reach
from homelab_provision.machine.facts import MachineFacts
from homelab_provision.machine.inspection import Inspection
from homelab_provision.machine.match import recognise
from homelab_provision.site.models import Site
from homelab_provision.site.vault.store import Vault
from tests import sshd
from tests.unit.cli.command import Provision, provision, site
from tests.unit.jobs.test_trust import Memory
from tests.unit.site.sites import HOSTS, MACHINES, site_of

__all__ = ["provision", "site"]  # fixtures

FIXTURES = Path(__file__).parents[2] / "fixtures"
FACTS = (FIXTURES / "machines" / "wyse5070-d407-sata-and-emmc-tpm.json").read_text()
INSPECTION = (FIXTURES / "inspections" / "wyse5070-d407.json").read_text()
SYSTEM = "DOC-MICRON-D407"
# What a rescue does with the scripts that it is sent: the box of the fixtures answers.
SESSION = """
case "$SSH_ORIGINAL_COMMAND" in
  "python3 -") if grep -q "What shape"; then cat {folder}/inspection; else cat {folder}/facts; fi ;;
esac
"""


def found(**changed: Any) -> Found:
    facts = MachineFacts.model_validate({**json.loads(FACTS), **changed})
    return Found("fe80::1%eth0", facts, Inspection.model_validate_json(INSPECTION))


@pytest.fixture
def keys(tmp_path: Path) -> Identities:
    Memory.values = {}
    return identities.load(Memory(tmp_path, tmp_path), "lab")


Rescue = Callable[..., sshd.Server]


@pytest.fixture
def rescue(tmp_path: Path, keys: Identities, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rescue]:
    """Start a server that takes itself for the rescue on the box of the fixtures, at 127.0.0.1."""
    servers = []

    def start(
        key: KeyPair = keys.site.rescue, login: KeyPair = keys.site.controller, facts: str = FACTS
    ) -> sshd.Server:
        folder = tmp_path / "rescue"
        server = sshd.listening(folder, key, login, session=SESSION.format(folder=folder))
        servers.append(server)
        running = server.__enter__()
        (folder / "facts").write_text(facts)
        (folder / "inspection").write_text(INSPECTION)

        @contextmanager
        def opened(site: Site) -> Iterator[tuple[SiteIdentity, Ssh]]:
            with sshd.reached(running, keys, RESCUE) as ssh:
                config = ssh.config_file.read_text()
                monkeypatch.setattr(Ssh, "know", lambda self, alias, address: None)
                assert "StrictHostKeyChecking yes" in config
                yield keys.site, ssh

        monkeypatch.setattr(adopt, "_opened", opened)
        monkeypatch.setattr(reach, "door", lambda site: running.door)
        return running

    yield start
    for server in servers:
        server.__exit__(None, None, None)


@pytest.mark.processes
def test_a_box_in_the_rescue_is_found_among_all_on_the_wire(rescue: Rescue, monkeypatch: pytest.MonkeyPatch) -> None:
    server = rescue()
    monkeypatch.setattr(reach, "link_local_neighbours", lambda site: ("127.0.0.9", "127.0.0.1"))
    (box,) = adopt.look(site_of(), [], discard)
    assert box.address == "127.0.0.1"
    assert box.facts == MachineFacts.model_validate_json(FACTS)
    assert str(box.health("sda")) == "health good (1730 hours on)"
    assert box.known is None
    assert set(server.asked) == {"true", "python3 -"}


@pytest.mark.processes
@pytest.mark.negative
def test_who_shows_another_key_is_not_talked_to(
    rescue: Rescue, keys: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = rescue(key=keys.site.controller)
    monkeypatch.setattr(reach, "link_of", lambda site: "eth7")
    with pytest.raises(ProvisionError, match=r"no rescue system of this site answers at 127\.0\.0\.1"):
        adopt.look(site_of(), ["127.0.0.1"], discard)
    monkeypatch.setattr(reach, "link_local_neighbours", lambda site: ("127.0.0.1",))
    with pytest.raises(ProvisionError, match=r"answers on eth7 \(1 others were asked"):
        adopt.look(site_of(), [], discard)
    assert server.asked == []


@pytest.mark.processes
@pytest.mark.negative
def test_the_key_of_a_stick_that_was_revoked_is_told(rescue: Rescue, keys: Identities, tmp_path: Path) -> None:
    server = rescue()
    identities.revoke_rescue(Memory(tmp_path, tmp_path), "lab")
    now = identities.load(Memory(tmp_path, tmp_path), "lab").site
    told: list[Event] = []
    assert adopt._ours(now, server.door, ["127.0.0.1"], told.append) == []
    assert [event.text.split(" on ")[0] for event in told if isinstance(event, Notice)] == [
        "127.0.0.1 shows the key of a rescue stick that was revoked"
    ]
    assert server.asked == []


@pytest.mark.processes
@pytest.mark.negative
def test_a_rescue_that_does_not_let_us_in(rescue: Rescue, keys: Identities) -> None:
    rescue(login=keys.site.rescue)
    told: list[Event] = []
    with pytest.raises(ProvisionError, match="answers at 127\\.0\\.0\\.1, but could not be read"):
        adopt.look(site_of(), ["127.0.0.1"], told.append)
    # On a machine that is busy enough, ssh is given up before it has said why.
    said = [event.text for event in told if isinstance(event, Notice)]
    assert [text for text in said if "does not let us in: locked out" in text or "gave up after" in text]


@pytest.mark.negative
def test_a_site_without_a_stick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Memory.values = {}
    monkeypatch.setattr(Vault, "of", lambda root, name: Memory(tmp_path, tmp_path))
    with pytest.raises(UsageError, match="no stick was ever made of it"):
        adopt.look(site_of(), ["127.0.0.1"], discard)


def test_the_machine_that_is_proposed() -> None:
    machine = adopt.propose(site_of(), found(), None, SYSTEM)
    assert (machine.name, machine.model, machine.plays) == ("wyse-1", "wyse5070", None)
    assert [disk.serial for disk in machine.passport.system_disks] == [SYSTEM]
    assert adopt.propose(site_of(), found(), "shelf-3", SYSTEM).name == "shelf-3"


def test_flags_that_a_host_asks_for_are_in_its_passport() -> None:
    hosts = HOSTS.replace("192.168.50.10\n", "192.168.50.10\n          provision_needs: {cpu_flags: [rdrand, avx]}\n")
    machine = adopt.propose(site_of(MACHINES, hosts), found(), None, SYSTEM)
    assert machine.passport.cpu_flags == ("sse4_2", "aes", "rdrand")


@pytest.mark.negative
@pytest.mark.parametrize(
    ("name", "system", "error", "said"),
    [
        ("wyse-b", SYSTEM, UsageError, "there is a machine `wyse-b` already"),
        ("Wyse B", SYSTEM, UsageError, "is no name for a machine"),
        (None, None, Refused, "which of them may be flashed is not guessed"),
        (None, "DOC-STICK", Refused, "no built-in disk"),
    ],
)
def test_what_is_not_proposed(name: str | None, system: str | None, error: type[ProvisionError], said: str) -> None:
    with pytest.raises(error, match=said):
        adopt.propose(site_of(), found(), name, system)


@pytest.mark.negative
def test_a_box_that_shows_no_disk() -> None:
    with pytest.raises(Refused, match="no built-in disk") as caught:
        adopt.propose(site_of(), found(disks=[]), None, None)
    assert caught.value.hint is not None
    assert "RAID mode" in caught.value.hint


@pytest.mark.negative
def test_a_failing_disk_is_not_taken_without_a_person() -> None:
    box = found()
    machine = adopt.propose(site_of(), box, None, SYSTEM)
    adopt.refuse_failing(box, machine)
    failing = json.loads((FIXTURES / "inspections" / "smartctl-ata-failing.json").read_text())
    inspection = Inspection.model_validate({"disks": {"sda": {"smartctl": failing}}})
    with pytest.raises(Refused, match="says that it is failing"):
        adopt.refuse_failing(Found(box.address, box.facts, inspection), machine)


# ---- the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> list[Found]:
    """What is found on the wire: each time it is recognised anew."""
    boxes = [found()]

    def look(site: Site, addresses: tuple[str, ...], emit: object) -> list[Found]:
        known = site.machines.values()
        return [Found(box.address, box.facts, box.inspection, recognise(known, box.facts)) for box in boxes]

    monkeypatch.setattr(adopt, "look", look)
    return boxes


ADOPT = ("machines", "adopt", "wyse-c", "--system", SYSTEM, "--yes")


def test_adopted_twice_the_file_changes_once_and_its_comments_stay(
    site: Path, provision: Provision, one: list[Found]
) -> None:
    file = site / "machines.yml"
    shown = provision(*ADOPT)
    assert shown.code == ExitCode.DONE, shown.err
    text = file.read_text()
    assert text.startswith(MACHINES)
    assert "  wyse-c:  # adopted " in text
    assert "the rescue saw 8013 MiB\n" in text
    assert [machine.name for machine in site_of(text).spares()] == ["wyse-b", "wyse-c"]
    before = file.stat()
    again = provision("machines", "adopt", "--system", SYSTEM)
    assert again.code == ExitCode.DONE, again.err
    assert "this is wyse-c" in again.out
    assert "differs" not in again.out
    assert again.err.endswith("nothing to adopt: the site knows every machine that answers\n")
    assert (file.read_text(), file.stat().st_ino, file.stat().st_mtime_ns) == (text, before.st_ino, before.st_mtime_ns)


@pytest.mark.usefixtures("site", "one")
def test_what_a_person_sees(provision: Provision) -> None:
    out = provision(*ADOPT).out
    for line in (
        "at fe80::1%eth0",
        "  box      Dell Inc., Wyse 5070 Thin Client, serial DOCD407, SKU 080C, board 06MC09",
        "  firmware uefi, Secure Boot unknown, TPM 2",
        "  CPU      Intel(R) Celeron(R) J4105 CPU @ 1.50GHz, 4 cores; sse4_2 aes",
        "  memory   8013 MiB, as the kernel sees it",
        "  disk     mmcblk0  mmc  31.3 GB  hB8aP>  serial 0x0d0cd407; health good (up to 20 % of its life used, "
        "reserve: normal)",
        "  disk     sda  sata  256.1 GB  Micron_1100_MTFDDAV256TBN  serial DOC-MICRON-D407; "
        "health good (1730 hours on)",
        "  network  enp1s0  00:00:5e:00:53:d4  r8169  1000 Mb/s  wake-up disabled",
        "  left out sdb  usb  8 GB  USB DISK 2.0  serial DOC-STICK: it holds the rescue",
    ):
        assert line in out.splitlines()


def test_a_known_box_that_has_changed_is_compared(site: Path, provision: Provision, one: list[Found]) -> None:
    provision(*ADOPT)
    one[0] = found(memory_mib=3917)
    shown = provision("machines", "adopt")
    assert "  differs  memory: expected 8192 MiB, found 3917 MiB" in shown.out.splitlines()


def test_json_never_writes_without_yes(site: Path, provision: Provision, one: list[Found]) -> None:
    shown = provision("machines", "adopt", "--json")
    assert shown.code == ExitCode.CHANGES_PENDING
    (told,) = json.loads(shown.out)
    assert (told["machine"], told["adopted"], told["health"]["sda"]) == (None, False, "health good (1730 hours on)")
    assert (site / "machines.yml").read_text() == MACHINES
    shown = provision(*ADOPT, "--json")
    assert shown.code == ExitCode.DONE
    (told,) = json.loads(shown.out)
    assert (told["machine"], told["adopted"]) == ("wyse-c", True)


def test_a_person_is_asked_for_name_disk_and_consent(
    site: Path, provision: Provision, one: list[Found], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["", "2", "wyse-1"]
    monkeypatch.setattr("homelab_provision.cli.terminal.Renderer._ask", lambda self, prompt: answers.pop(0))
    shown = provision("machines", "adopt")
    assert shown.code == ExitCode.DONE, shown.err
    machine = site_of((site / "machines.yml").read_text()).machine("wyse-1")
    assert [disk.serial for disk in machine.passport.system_disks] == [SYSTEM]
    assert "as db-wyse: fits" in shown.err


@pytest.mark.negative
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("machines", "adopt", "--yes"), ExitCode.USAGE),  # which name?
        (("machines", "adopt", "wyse-c", "--yes"), ExitCode.REFUSED),  # which disk?
        (("machines", "adopt", "wyse-b", "--system", SYSTEM, "--yes"), ExitCode.USAGE),
        (("machines", "adopt", "wyse-c", "--system", SYSTEM), ExitCode.USAGE),  # no terminal to ask on
    ],
)
def test_nothing_is_written_where_something_is_open(
    site: Path,
    provision: Provision,
    one: list[Found],
    words: tuple[str, ...],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert provision(*words).code == code
    assert (site / "machines.yml").read_text() == MACHINES


@pytest.mark.negative
def test_one_name_for_two_boxes(site: Path, provision: Provision, one: list[Found]) -> None:
    dmi = {**json.loads(FACTS)["dmi"], "product_serial": "ANOTHER"}
    one.append(found(dmi=dmi))
    shown = provision(*ADOPT)
    assert (shown.code, (site / "machines.yml").read_text()) == (ExitCode.USAGE, MACHINES)
    assert "2 new machines are there" in shown.err
