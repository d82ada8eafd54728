"""What the role writes for pgBackRest, played by the real one: the repository is encrypted, and needs its key."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tests.unit.roles.postgres.server import Server, running
from tests.unit.roles.programs import PACKAGE, part

pgbackrest_info = part("pgbackrest_info")
ROLE = PACKAGE.parents[1]
KEY = "a-key-of-32-characters-as-made-x"
EMPTY = {"postgres_backup_key": "", "postgres_backup_second_repository": {}}


def written(template: str, **variables: Any) -> str:
    made = Environment(loader=FileSystemLoader(ROLE / "templates"), undefined=StrictUndefined, trim_blocks=True)
    made.filters["combine"] = lambda one, other: {**one, **other}
    return made.get_template(template).render({**EMPTY, **variables}) + "\n"


class Kept(Server):
    """A server whose log goes to two repositories."""

    def __init__(self, folder: Path, programs: Path) -> None:
        super().__init__(folder, programs)
        for name in ("one", "two"):
            (folder / name).mkdir()
            shutil.chown(folder / name, "postgres", "postgres")

    def configure(self, key: str, second: dict[str, Any] | None = None) -> None:
        own = {"path": f"{self.folder}/two", **(second or {})}
        variables = {"postgres_backup_key": key, "postgres_backup_second_repository": own}
        common = f"""[global]
repo1-path={self.folder}/one
log-level-file=off
lock-path={self.folder}/lock
spool-path={self.folder}/spool
log-path={self.folder}/log
[main]
pg1-path={self.folder}/data
pg1-socket-path={self.folder}
pg1-port=5999
"""
        texts = [common, written("second.conf.j2", **variables), written("key.conf.j2", **variables) if key else ""]
        (self.folder / "conf").write_text("".join(texts))
        shutil.chown(self.folder / "conf", "postgres", "postgres")

    def pgbackrest(self, *words: str, status: int = 0) -> str:
        return self.run("pgbackrest", f"--config={self.folder}/conf", "--stanza=main", *words, status=status)

    def heads(self, repository: str) -> set[bytes]:
        return {path.read_bytes()[:8] for path in (self.folder / repository).rglob("*") if path.is_file()}


def test_the_program_reads_the_key_where_the_role_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "key.conf"
    file.write_text(written("key.conf.j2", postgres_backup_key=KEY))
    told = dict.fromkeys(("host", "version", "service", "stanza"), "x") | {"port": 5432}
    told |= dict.fromkeys(("data", "config", "socket", "repository", "records"), "/x") | {"key": str(file)}
    setup = part("config").parse(json.dumps(told))
    assert part("repository").Repository(setup).key() == KEY
    file.unlink()
    with pytest.raises(part("errors").Trouble, match=r"cannot read .*key\.conf"):
        part("repository").Repository(setup).key()
    assert part("repository").Repository(part("config").parse(json.dumps(told | {"key": None}))).key() is None


@pytest.fixture
def kept() -> Iterator[Kept]:
    if not shutil.which("pgbackrest"):
        pytest.skip("no pgBackRest on this computer: apt-get install pgbackrest")
    with running(Kept) as made:
        archive = f"pgbackrest --config={made.folder}/conf --stanza=main archive-push %p"
        with (made.folder / "data/postgresql.conf").open("a") as settings:
            settings.write(f"archive_mode = on\narchive_command = '{archive}'\nwal_level = replica\n")
        yield made


@pytest.mark.processes
@pytest.mark.negative
def test_nothing_in_either_repository_can_be_read_without_the_key(kept: Kept) -> None:
    kept.configure(KEY)
    kept.control("restart")
    kept.pgbackrest("stanza-create")
    for number in ("1", "2"):
        kept.pgbackrest("backup", "--type=full", f"--repo={number}")
    assert kept.heads("one") == kept.heads("two") == {b"Salted__"}
    known = pgbackrest_info.parse_info(kept.pgbackrest("info", "--output=json", "--repo=1"), "main")
    assert len(known.backups) == 1
    for key in ("", f"{KEY[:-1]}y"):
        kept.configure(key)
        with pytest.raises(pgbackrest_info.NotUnderstood):
            pgbackrest_info.parse_info(kept.pgbackrest("info", "--output=json", "--repo=1"), "main")


@pytest.mark.processes
def test_a_second_repository_has_its_own_word(kept: Kept) -> None:
    kept.configure(KEY, {"cipher-type": "none"})
    kept.control("restart")
    kept.pgbackrest("stanza-create")
    assert kept.heads("one") == {b"Salted__"}
    assert b"Salted__" not in kept.heads("two")


def test_without_a_key_a_second_repository_is_as_it_was() -> None:
    own = {"type": "s3", "cipher-type": "aes-256-cbc", "cipher-pass": "its own"}
    assert written("second.conf.j2", postgres_backup_second_repository=own).splitlines()[2:] == [
        "repo2-type=s3",
        "repo2-cipher-type=aes-256-cbc",
        "repo2-cipher-pass=its own",
        "",
    ]
    assert "cipher" not in written("second.conf.j2", postgres_backup_second_repository={"type": "s3"})


@pytest.mark.negative
@pytest.mark.parametrize(
    "said",
    [
        "raised from local-1 protocol: unable to flush",
        "raised from local-1 protocol: unable to flush\n[CryptoError] on retry after 0ms",
        "raised from local-1 protocol: cipher header missing",
        "raised from local-1 protocol: cipher header invalid",
        "error restoring '/srv/postgresql.conf': actual checksum '804d' does not match expected checksum '7b00'",
        "unable to load backup manifest file 'm' or 'm.copy':\nCryptoError: unable to flush",
    ],
)
def test_damage_to_encrypted_files_is_called_damage(said: str) -> None:
    """What pgBackRest says of files that were cut off, emptied, overwritten, or partly zeroed."""
    assert "missing or damaged" in part("repository")._hint(said)


@pytest.mark.parametrize("site", ["example", "lab"])
def test_new_sites_encrypt(site: str) -> None:
    path = ROLE.parents[1] / f"inventories/{site}/group_vars/databases/postgres.yml"
    said = yaml.safe_load(path.read_text())
    assert "backup" in said["provision_secrets"]
    assert said["postgres_backup_key"] == "{{ secret_backup }}"


@pytest.mark.processes
@pytest.mark.negative
@pytest.mark.parametrize(
    ("begun", "key", "said"),
    [
        (None, KEY, None),
        (None, "", None),
        (b"[backrest]\n", "", None),
        (b"Salted__\xff\xfe", KEY, None),
        (b"[backrest]\n", KEY, "was begun without encryption, and postgres_backup_key is set"),
        (b"Salted__\xff\xfe", "", "is encrypted, and postgres_backup_key is not set"),
        (None, "short", "at least 16 characters without blanks"),
        (None, f"{KEY}\nrepo1-path=/elsewhere", "one line of at least 16"),
    ],
    ids=str,
)
def test_half_a_change_of_the_key_is_refused_before_anything_is_written(
    begun: bytes | None, key: str, said: str | None
) -> None:
    if os.geteuid() != 0:
        pytest.skip("the role looks as the account postgres, which takes root")
    folder = Path(tempfile.mkdtemp(prefix="homelab-begun-"))
    try:
        folder.chmod(0o755)
        archive = folder / "pgbackrest/archive/main"
        archive.mkdir(parents=True)
        if begun is not None:
            (archive / "archive.info").write_bytes(begun)
            # Nobody but the account's number reads it, on a share that squashes root; the account is not there yet.
            os.chown(archive / "archive.info", 5432, 5432)
            (archive / "archive.info").chmod(0o600)
        tasks = yaml.safe_load((ROLE / "tasks/main.yml").read_text())
        first = next(number for number, task in enumerate(tasks) if "host_state" in task)
        files = [str(ROLE / "defaults/main.yml")]
        files += [str(ROLE / f"vars/main/{name}.yml") for name in ("cluster", "accounts", "tenants")]
        told = {"postgres_backup_share": str(folder), "postgres_backup_key": key, "postgres_packages": []}
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars_files": files}
        (folder / "play.yml").write_text(yaml.safe_dump([{**play, "tasks": tasks[:first]}]))
        (folder / "told.yml").write_text(yaml.safe_dump(told))
        words = [
            sys.executable,
            "-m",
            "ansible",
            "playbook",
            "-ilocalhost,",
            f"-e@{folder}/told.yml",
            f"{folder}/play.yml",
        ]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    finally:
        shutil.rmtree(folder)
    assert (done.returncode != 0) == (said is not None), done.stdout + done.stderr
    assert (said or "failed=0") in " ".join((done.stdout + done.stderr).split())
