"""A role with data, from its first backup to its data put back; and what the controller makes of what it wrote."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from homelab_provision.data.backups import BackupProof, Record
from homelab_provision.identity.signing import Signer, objection
from tests.container import Container


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest) -> Container:
    return Container.of(request.config)


def test_the_unit_of_the_role_backs_it_up_and_the_controller_believes_it(machine: Container) -> None:
    machine.sh("systemctl start homelab-backup@example_service.service homelab-prove@example_service.service")
    name = machine.sh("cd /nas/example_service && ls *F.json").split()[-1]
    text = machine.run(f"cat /nas/example_service/{name}").stdout  # to the last byte, as it was signed
    record = Record.model_validate_json(text)
    assert record.files == {f"example/{record.label}": record.bytes}
    proof = BackupProof.model_validate_json(machine.sh("cat /nas/example_service/proof.json"))
    assert (proof.label, proof.host) == (record.label, "example")
    kind, key = machine.sh("cat /etc/homelab-provision/signing-key.pub").split()[:2]
    signers = [Signer(f"{kind} {key}", datetime.now(UTC) - timedelta(days=1))]
    assert objection(text, "example", f"example_service/{name}", record.finished, signers) is None
    assert objection(text, "example", f"postgres/{name}", record.finished, signers) is not None


def test_what_was_lost_is_put_back(machine: Container) -> None:
    machine.sh("systemctl stop example.service && rm /srv/example/counter")
    last = json.loads(machine.sh("homelab-example_service restore").splitlines()[-1])
    assert last["kind"] == "result"
    assert machine.sh("sha256sum /srv/example/counter").split()[0] == last["fingerprint"]
    machine.sh("systemctl start example.service")


@pytest.mark.negative
def test_a_backup_that_was_changed_is_not_proven(machine: Container) -> None:
    proof = machine.sh("cat /nas/example_service/proof.json")
    newest = machine.sh("ls /nas/example/*F").split()[-1]
    machine.sh(f"cp {newest} /tmp/good && echo more >>{newest}")
    last = json.loads(machine.sh("homelab-example_service prove", status=1).splitlines()[-1])
    assert "is not what was recorded" in last["message"]
    assert machine.sh("cat /nas/example_service/proof.json") == proof
    machine.sh(f"cp /tmp/good {newest}")


@pytest.mark.negative
def test_without_its_share_nothing_is_written(machine: Container) -> None:
    machine.sh("umount /mnt/backup")
    last = json.loads(machine.sh("homelab-example_service backup", status=1).splitlines()[-1])
    assert last["kind"] == "error"
    assert "the share with the backups, /mnt/backup, is not mounted" in last["message"]
    assert machine.sh("ls /mnt/backup") == ""
    machine.sh("mount --bind /nas /mnt/backup")
