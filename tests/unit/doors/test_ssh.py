"""What a person is told when ssh cannot say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from homelab_provision.doors.ssh import Door, Ssh
from homelab_provision.errors import ProvisionError


def ssh_that_ends_with(status: int, monkeypatch: pytest.MonkeyPatch) -> Ssh:
    monkeypatch.setattr("homelab_provision.doors.ssh.interact", lambda argv: status)
    return Ssh(Path("ssh_config"), {"db-wyse": "192.168.50.10"}, Door(), {})


@pytest.mark.negative
def test_a_lost_connection_is_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProvisionError, match=r"no connection to `db-wyse` \(192\.168\.50\.10\), or it was lost"):
        ssh_that_ends_with(255, monkeypatch).interact("db-wyse", "true")


@pytest.mark.parametrize("status", [0, 3])
def test_the_commands_own_status_comes_back(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ssh_that_ends_with(status, monkeypatch).interact("db-wyse", "true") == status
