"""Records and proofs are signed by the program, and the controller believes what it signed."""

from __future__ import annotations

import dataclasses
import os
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from homelab_provision.identity.signing import Signer, objection
from tests.unit.data.signers import HOST, key, public
from tests.unit.roles.postgres.test_records import EARLY
from tests.unit.roles.programs import part

records, signing, process = part("records"), part("signing"), part("process")
Trouble = part("errors").Trouble
NOW = datetime.now(UTC)

pytestmark = pytest.mark.processes


@pytest.fixture(autouse=True)
def whoever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests need not be root: the program's change of ids is left out, unless they are."""
    if os.geteuid() != 0:
        for module in (signing, process):
            monkeypatch.setattr(module, "as_root", nullcontext)
        start = process.start
        monkeypatch.setattr(process, "start", lambda argv, **how: start(argv, **{**how, "root": False}))
    monkeypatch.setattr(signing, "KEY", key(HOST))


def against(path: Path) -> str | None:
    signers = [Signer(public(HOST), NOW - timedelta(days=1))]
    return objection(path.read_text(), HOST, f"postgres/{path.name}", NOW, signers)


@pytest.mark.parametrize("files", [0, 20_000])
def test_a_record_is_signed_and_reads_as_before(tmp_path: Path, files: int) -> None:
    many = dataclasses.replace(EARLY, files={f"pgbackrest/archive/{number:040}": number for number in range(files)})
    records.save_record(tmp_path, many)
    assert against(tmp_path / f"{EARLY.label}.json") is None
    assert records.load_all(tmp_path) == [many]


def test_a_proof_is_signed(tmp_path: Path) -> None:
    records.write_proof(tmp_path, EARLY, NOW, 1.0, {"rows": 3})
    assert against(tmp_path / "proof.json") is None


def test_a_host_without_a_key_says_so_and_keeps_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signing, "KEY", tmp_path / "none")
    records.save_record(tmp_path, EARLY)
    assert "is not signed" in capsys.readouterr().out
    assert against(tmp_path / f"{EARLY.label}.json") == "is not signed"


@pytest.mark.negative
def test_a_damaged_key_is_trouble_but_the_record_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken: Any = tmp_path / "key"
    broken.write_text("no key")
    broken.chmod(0o600)
    monkeypatch.setattr(signing, "KEY", broken)
    with pytest.raises(Trouble, match="could not be signed"):
        records.save_record(tmp_path / "postgres", EARLY)
    assert records.load_all(tmp_path / "postgres") == [EARLY]


@pytest.mark.negative
def test_a_proof_that_cannot_be_signed_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records.write_proof(tmp_path, EARLY, NOW, 1.0, {"rows": 3})
    before = (tmp_path / "proof.json").read_text()
    damaged = tmp_path / "damaged"
    damaged.write_text("no key")
    monkeypatch.setattr(signing, "KEY", damaged)
    with pytest.raises(Trouble, match=r"proof\.json could not be signed"):
        records.write_proof(tmp_path, EARLY, NOW, 1.0, {"rows": 4})
    assert (tmp_path / "proof.json").read_text() == before
