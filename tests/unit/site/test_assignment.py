"""Recording who plays whom: the file is replaced whole, or stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from homelab_provision.errors import ProvisionError, UsageError
from homelab_provision.site.assignment import record_player
from homelab_provision.site.loading import load_site
from homelab_provision.site.models import Site
from homelab_provision.site.problems import SiteError
from tests.unit.site.sites import HOSTS, MACHINES, inventory_of


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site on the disk, whose inventory is read without Ansible."""
    root = tmp_path / "lab"
    root.mkdir()
    (root / "hosts.yml").write_text(HOSTS)
    (root / "machines.yml").write_text(MACHINES)
    monkeypatch.setattr(
        "homelab_provision.site.loading.read_inventory",
        lambda root, password, patterns: inventory_of(HOSTS, patterns),
    )
    return root


@pytest.fixture
def site(root: Path) -> Site:
    """The site as it was when the run began."""
    return load_site(root)


def test_the_spare_becomes_the_host(root: Path, site: Site) -> None:
    record_player(site, "db-wyse", "wyse-b")
    changed = load_site(root)
    player = changed.player_of("db-wyse")
    assert player is not None
    assert player.name == "wyse-b"
    assert changed.machine("wyse-a").plays is None
    assert changed.machine("wyse-a").distrusted_as == ("db-wyse",)
    assert [machine.name for machine in changed.spares()] == ["wyse-a"]
    expected = MACHINES.replace("    plays: db-wyse\n", "    distrusted_as: [db-wyse]\n")
    expected = expected.replace("# the spare\n", "# the spare\n    plays: db-wyse\n")
    assert (root / "machines.yml").read_text() == expected


def test_a_machine_that_changes_its_part_gives_up_the_old_one(root: Path, site: Site) -> None:
    record_player(site, "web-wyse", "wyse-a")
    changed = load_site(root)
    assert changed.machine("wyse-a").plays == "web-wyse"
    assert changed.player_of("db-wyse") is None


def test_a_machine_that_plays_the_host_already(root: Path, site: Site) -> None:
    before = (root / "machines.yml").stat()
    record_player(site, "db-wyse", "wyse-a")
    assert (root / "machines.yml").read_text() == MACHINES
    assert (root / "machines.yml").stat().st_ino == before.st_ino, "an unchanged file is not replaced"


def test_mode_and_links_stay(root: Path, site: Site) -> None:
    real = root / "real.yml"
    (root / "machines.yml").rename(real)
    (root / "machines.yml").symlink_to("real.yml")
    real.chmod(0o640)
    record_player(site, "db-wyse", "wyse-b")
    assert (root / "machines.yml").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in root.iterdir()) == ["hosts.yml", "machines.yml", "real.yml"]


def test_what_was_edited_meanwhile_stays(root: Path, site: Site) -> None:
    (root / "machines.yml").write_text(MACHINES.replace("# the spare", "# on the left"))
    record_player(site, "db-wyse", "wyse-b")
    assert "# on the left\n    plays: db-wyse\n" in (root / "machines.yml").read_text()


@pytest.mark.negative
def test_names_that_do_not_exist(root: Path, site: Site) -> None:
    for host, machine in (("db-wise", "wyse-b"), ("db-wyse", "wyse-x")):
        with pytest.raises(UsageError):
            record_player(site, host, machine)
    assert (root / "machines.yml").read_text() == MACHINES


@pytest.mark.negative
def test_a_wrong_site_is_not_rewritten(root: Path, site: Site) -> None:
    (root / "machines.yml").write_text(wrong := MACHINES.replace("serial: BBB0001", "serail: BBB0001"))
    with pytest.raises(SiteError):
        record_player(site, "db-wyse", "wyse-b")
    assert (root / "machines.yml").read_text() == wrong


@pytest.mark.negative
@pytest.mark.parametrize(
    "text",
    [
        # `plays` that is merged into a machine cannot be taken away from it: two machines would play the host.
        MACHINES.replace("    plays: db-wyse\n", "    <<: {plays: db-wyse}\n"),
        # A list that two machines share: the new player would still be distrusted.
        MACHINES.replace("    plays: db-wyse\n", "    plays: db-wyse\n    distrusted_as: &old [db-wyse]\n")
        + "    distrusted_as: *old\n",
    ],
    ids=["merged", "shared list"],
)
def test_what_cannot_be_rewritten_stays_and_is_said(root: Path, site: Site, text: str) -> None:
    (root / "machines.yml").write_text(text)
    with pytest.raises(ProvisionError, match="it is as it was") as caught:
        record_player(site, "db-wyse", "wyse-b")
    assert caught.value.hint is not None
    assert "`wyse-b` plays `db-wyse` now" in caught.value.hint
    assert (root / "machines.yml").read_text() == text


@pytest.mark.negative
def test_a_failed_write_leaves_nothing_behind(root: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("homelab_provision.site.assignment.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        record_player(site, "db-wyse", "wyse-b")
    assert (root / "machines.yml").read_text() == MACHINES
    assert sorted(path.name for path in root.iterdir()) == ["hosts.yml", "machines.yml"]
