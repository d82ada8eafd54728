"""What a person is told when ssh cannot say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from homelab_provision.doors.process import run
from homelab_provision.doors.ssh import Door, Ssh, config
from homelab_provision.errors import ProvisionError


def ssh_that_ends_with(status: int, monkeypatch: pytest.MonkeyPatch) -> Ssh:
    monkeypatch.setattr("homelab_provision.doors.ssh.interact", lambda argv: status)
    return Ssh(Path("ssh_config"), {"db-wyse": "192.168.50.10"}, Door(), {})


@pytest.mark.negative
def test_a_lost_connection_is_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProvisionError, match=r"no connection to `db-wyse` \(192\.168\.50\.10\), or it was lost"):
        ssh_that_ends_with(255, monkeypatch).interact("db-wyse", "true")


@pytest.mark.processes
def test_a_machine_that_is_known_later_has_its_own_key_and_address(tmp_path: Path) -> None:
    (tmp_path / "ssh_config").write_text(config(addresses={"db-wyse": "192.168.50.10"}, folder=tmp_path, door=Door()))
    ssh = Ssh(tmp_path / "ssh_config", {"db-wyse": "192.168.50.10"}, Door(), {})
    ssh.know("rescue", "192.168.50.102")
    for alias, address in (("db-wyse", "192.168.50.10"), ("rescue", "192.168.50.102")):
        said = run(["ssh", "-G", "-F", ssh.config_file, alias], deadline=10).stdout.splitlines()
        assert {f"hostname {address}", f"hostkeyalias {alias}", "stricthostkeychecking true"} <= set(said)


@pytest.mark.parametrize("status", [0, 3])
def test_the_commands_own_status_comes_back(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ssh_that_ends_with(status, monkeypatch).interact("db-wyse", "true") == status
