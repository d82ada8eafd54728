"""Proofs: what is restored aside has to be as much as was backed up, and to answer as the stack did."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from homelab_provision.data.backups import BackupProof
from homelab_provision.identity.signing import Signer, objection
from tests.unit.data.signers import public
from tests.unit.roles.app_stacks.host import NAME, Host, needs_restic

pytestmark = [pytest.mark.processes, needs_restic]

DOCKER = """#!/bin/sh
echo "$@" >>{folder}/docker.log
case "$*" in
  *" config "*) cat {folder}/described ;;
  *" exec -T app "*) cd {folder}/srv/stacks/notes; [ ! -e {folder}/copy-runs ] || cd "$(cat {folder}/copy-runs)"
     wc -l <data/rows ;;
  *" up "*) sed -n 's/.*"source": "\\(.*\\)\\/data".*/\\1/p' {folder}/run/proof-notes.json >{folder}/copy-runs
     stat -c '%a' {folder}/run/proof-notes.json >{folder}/mode; [ ! -e {folder}/sick ] ;;
  *" down "*) rm -f {folder}/copy-runs ;;
esac
"""
IN_TEST = "proof_copy.FOLDER = folder / 'run'"


def proof(host: Host) -> BackupProof:
    return BackupProof.model_validate_json((host.records / "proof.json").read_text())


def test_a_proof_is_what_the_controller_reads(host: Host) -> None:
    label = host.backup()["label"]
    # What was written since has nothing to do with the backup.
    host.write("notes", 50)
    result = host.run("prove").result
    assert (result["label"], result["stacks"], result["facts"]) == (label, 2, 2)
    assert (proof(host).host, proof(host).label) == (NAME, label)
    signers = [Signer(public(NAME), datetime.now(UTC) - timedelta(days=1))]
    text = (host.records / "proof.json").read_text()
    assert objection(text, NAME, "app_stacks/proof.json", proof(host).proven, signers) is None
    assert not (host.data / ".proof").exists()
    assert not host.called()


@pytest.mark.negative
def test_a_flipped_byte_is_found_and_the_last_proof_stays(host: Host) -> None:
    host.backup()
    host.run("prove")
    before = (host.records / "proof.json").read_bytes()
    for pack in host.repository.glob("data/*/*"):
        data = bytearray(pack.read_bytes())
        data[len(data) // 3] ^= 1
        pack.chmod(0o640)
        pack.write_bytes(data)
    (host.folder / "cache").rename(host.folder / "cache-of-before")
    error = host.run("prove").error
    assert "missing or damaged" in error["hint"], error
    assert (host.records / "proof.json").read_bytes() == before
    assert not (host.data / ".proof").exists()
    assert "missing or damaged" in host.run("restore").error["hint"]
    assert host.rows("notes") == 3
    assert not list((host.data / "notes").glob(".restore-*/note.json"))


@pytest.mark.negative
def test_a_missing_pack_is_found(host: Host) -> None:
    host.backup()
    max(host.repository.glob("data/*/*"), key=lambda path: path.stat().st_size).unlink()
    assert host.run("prove").error
    assert not (host.records / "proof.json").exists()


@pytest.mark.negative
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"facts": {"rows": "4"}}, "stack wiki, rows: '3' instead of '4'"),
        ({"facts": {"rows": "3", "more": "1"}}, "stack wiki, more: is not asked any more"),
        ({"files": 4}, "came back with 3 files"),
        ({"bytes": 1}, "instead of 3 and 1"),
        ({"snapshot": "0" * 64}, "does not hold the snapshots of wiki"),
    ],
)
def test_what_is_not_as_recorded_is_no_proof(host: Host, change: dict[str, object], said: str) -> None:
    file = host.records / f"{host.backup()['label']}.json"
    told = json.loads(file.read_text())
    told["stacks"]["wiki"].update(change)
    file.write_text(json.dumps(told))
    error = host.run("prove").error
    assert said in f"{error['message']}\n{error['evidence']}"
    assert not (host.records / "proof.json").exists()


@pytest.mark.negative
def test_a_record_of_another_host_is_refused(host: Host) -> None:
    file = host.records / f"{host.backup()['label']}.json"
    file.write_text(file.read_text().replace(f'"{NAME}"', '"db-wyse"'))
    for job in ("prove", "restore"):
        assert f"is a record of 'db-wyse', not of {NAME}" in host.run(job).error["message"]


@pytest.mark.negative
@pytest.mark.parametrize(
    "change",
    [
        {"paths": ["../wiki/data"]},
        {"paths": ["/etc"]},
        {"folder": "/srv/../etc"},
        {"folder": "etc"},
        {"paths": []},
        {"snapshot": "latest"},
    ],
)
def test_a_record_whose_paths_lead_elsewhere_is_none(host: Host, change: dict[str, object]) -> None:
    file = host.records / f"{host.backup()['label']}.json"
    told = json.loads(file.read_text())
    told["stacks"]["notes"].update(change)
    file.write_text(json.dumps(told))
    assert "is no record of a backup" in host.run("restore").error["message"]


@pytest.mark.negative
def test_without_room_nothing_is_begun(host: Host) -> None:
    host.backup()
    before = host.labels()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "small", str(host.data)], check=True)
    try:
        for job in ("prove", "restore"):
            error = host.run(job).error
            assert "have to be restored on the disk of" in error["message"]
            assert not list(host.data.rglob("large"))
    finally:
        subprocess.run(["umount", "--lazy", str(host.data)], check=True)
    assert host.labels() == before


@pytest.mark.negative
def test_a_disk_that_becomes_full_meanwhile_is_said_so(host: Host) -> None:
    host.backup()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "small", str(host.data)], check=True)
    try:
        nothing = "import homelab_stacks.{0} as m; m.require_room = lambda *words: None"
        for job in ("prove", "restore"):
            error = host.run(job, more=nothing.format(job)).error
            assert "has become full; nothing was replaced" in error["message"], error
            assert not list(host.data.rglob("large"))
    finally:
        subprocess.run(["umount", "--lazy", str(host.data)], check=True)


@pytest.fixture
def composed(host: Host) -> Host:
    """`notes` is a compose project; docker is a stand-in that answers from the data which the copy is given."""
    docker = host.folder / "bin/docker"
    docker.write_text(DOCKER.format(folder=host.folder))
    docker.chmod(0o755)
    fact = {"name": "rows", "command": ["count", "rows"], "service": "app"}
    project = host.folder / "project"
    project.mkdir()
    (project / "environment").write_text("A=b\n")
    host.setup["stacks"] = [{**host.stack("notes", facts=[fact]), "kind": "compose", "project": str(project)}]
    volume = {"type": "bind", "source": str(host.data / "notes/data"), "target": "/data"}
    app = {"image": "x", "environment": {"PASSWORD": "hidden"}, "volumes": [volume], "restart": "always"}
    (host.folder / "described").write_text(json.dumps({"name": "notes", "services": {"app": app}}))
    return host


def asked(host: Host, what: str) -> list[str]:
    return [line for line in (host.folder / "docker.log").read_text().splitlines() if f" {what} " in f"{line} "]


def test_a_copy_is_started_on_the_scratch_data_asked_and_removed(composed: Host) -> None:
    assert composed.run("backup").result["fingerprint"] == {"notes": {"rows": "3"}}
    composed.write("notes", 9)
    composed.run("prove", more=IN_TEST).result["label"]
    assert "--project-name=proof-notes" in asked(composed, "exec")[-1]
    assert "--project-name=notes" in asked(composed, "config")[-1]
    assert asked(composed, "up")[-1].endswith("--detach --wait --wait-timeout=600 --no-build --quiet-pull app")
    assert asked(composed, "down")[-1].endswith("down --volumes --remove-orphans --timeout=5")
    assert (composed.folder / "mode").read_text() == "600\n"
    assert not (composed.folder / "copy-runs").exists()
    assert not list((composed.folder / "run").glob("proof-*"))


@pytest.mark.negative
def test_a_copy_that_does_not_start_is_removed_and_no_proof(composed: Host) -> None:
    composed.run("backup").result["label"]
    (composed.folder / "sick").touch()
    assert "does not become healthy" in composed.run("prove", more=IN_TEST).error["message"]
    assert not (composed.folder / "copy-runs").exists()
    assert not list((composed.folder / "run").glob("proof-*"))
    assert not (composed.data / ".proof").exists()
    assert not (composed.records / "proof.json").exists()


@pytest.mark.negative
def test_no_copy_is_started_on_the_data_of_others(composed: Host) -> None:
    data = composed.data / "notes/data"
    data.rename(composed.data / "elsewhere")
    data.symlink_to(composed.data / "elsewhere")
    composed.run("backup").result["label"]
    assert "lead out of the restored data by a link" in composed.run("prove", more=IN_TEST).error["message"]
    assert not asked(composed, "up")


def test_what_a_killed_proof_has_left_is_removed(composed: Host) -> None:
    composed.run("backup").result["label"]
    composed.killed("prove", at="prove.check")
    assert list(composed.data.glob(".proof/notes/**/rows"))
    composed.run("prove", more=IN_TEST).result["label"]
    assert asked(composed, "down")[0].startswith("compose --project-name=proof-notes down")
    assert not (composed.data / ".proof").exists()
    assert os.path.lexists(composed.data / "notes/data/rows")
    assert Path(composed.data / "notes/data/out").is_symlink()
