"""A role with data, from its first backup to its data put back; and what the controller makes of what it wrote."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from homelab_provision.data.backups import BackupProof, Record
from homelab_provision.identity.signing import Signer, objection

MACHINE = "backup"


def sh(script: str, status: int = 0) -> str:
    argv = ["docker", "exec", MACHINE, "bash", "-euc", script]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_unit_of_the_role_backs_it_up_and_the_controller_believes_it() -> None:
    sh("systemctl start homelab-backup@example_service.service homelab-prove@example_service.service")
    name = sh("cd /nas/example_service && ls *F.json").split()[-1]
    text = sh(f"cat /nas/example_service/{name}")
    record = Record.model_validate_json(text)
    assert record.files == {f"example/{record.label}": record.bytes}
    proof = BackupProof.model_validate_json(sh("cat /nas/example_service/proof.json"))
    assert (proof.label, proof.host) == (record.label, "example")
    kind, key = sh("cat /etc/homelab-provision/signing-key.pub").split()[:2]
    signers = [Signer(f"{kind} {key}", datetime.now(UTC) - timedelta(days=1))]
    assert objection(text, "example", f"example_service/{name}", record.finished, signers) is None
    assert objection(text, "example", f"postgres/{name}", record.finished, signers) is not None


def test_what_was_lost_is_put_back() -> None:
    sh("systemctl stop example.service && rm /srv/example/counter")
    last = json.loads(sh("homelab-example_service restore").splitlines()[-1])
    assert last["kind"] == "result"
    assert sh("sha256sum /srv/example/counter").split()[0] == last["facts"]
    sh("systemctl start example.service")


@pytest.mark.negative
def test_a_backup_that_was_changed_is_not_proven() -> None:
    proof = sh("cat /nas/example_service/proof.json")
    newest = sh("ls /nas/example/*F").split()[-1]
    sh(f"cp {newest} /tmp/good && echo more >>{newest}")
    last = json.loads(sh("homelab-example_service prove", status=1).splitlines()[-1])
    assert "is not what was recorded" in last["message"]
    assert sh("cat /nas/example_service/proof.json") == proof
    sh(f"cp /tmp/good {newest}")


@pytest.mark.negative
def test_without_its_share_nothing_is_written() -> None:
    sh("umount /mnt/backup")
    last = json.loads(sh("homelab-example_service backup", status=1).splitlines()[-1])
    assert last["kind"] == "error"
    assert "the share with the backups, /mnt/backup, is not mounted" in last["message"]
    assert sh("ls /mnt/backup") == ""
    sh("mount --bind /nas /mnt/backup")
