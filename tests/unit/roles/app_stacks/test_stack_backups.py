"""Backups of stacks by the real restic: what a record says, what a failing stack means, what is let go."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from homelab_provision.data.backups import Record
from homelab_provision.identity.signing import Signer, objection
from tests.unit.data.signers import public
from tests.unit.roles.app_stacks.host import KEY, NAME, Host, needs_restic

pytestmark = [pytest.mark.processes, needs_restic]


def read(host: Host, label: str) -> Record:
    return Record.model_validate_json((host.records / f"{label}.json").read_text())


def test_the_controller_believes_the_record(host: Host) -> None:
    result = host.backup()
    record = read(host, result["label"])
    assert (record.host, record.label, record.bytes) == (NAME, result["label"], result["bytes"])
    assert record.opens_with(KEY)
    assert not record.opens_with(KEY[:-1])
    lying = {
        str(path.relative_to(host.share)): path.stat().st_size
        for path in host.repository.rglob("*")
        if path.is_file() and path.parent.name not in ("locks", "snapshots")
    }
    assert {path: size for path, size in record.files.items() if "/snapshots/" not in path} == lying
    assert sum("/snapshots/" in path for path in record.files) == 2
    text = (host.records / f"{record.label}.json").read_text()
    signers = [Signer(public(NAME), datetime.now(UTC) - timedelta(days=1))]
    assert objection(text, NAME, f"app_stacks/{record.label}.json", record.finished, signers) is None


def test_a_record_says_what_the_stacks_hold(host: Host) -> None:
    result = host.backup()
    told = json.loads((host.records / f"{result['label']}.json").read_text())["stacks"]["notes"]
    large = len(b"notes 3") * 100_000
    assert (told["files"], told["bytes"], told["version"]) == (3, large + 2 * len("row 0\n") * 3, "1.4")
    assert told["facts"] == {"rows": "3"}
    assert result["fingerprint"] == {"notes": {"rows": "3"}, "wiki": {"rows": "3"}}
    assert (result["stacks"], result["facts"]) == (2, 2)


def test_the_group_of_the_share_may_look_at_every_file(host: Host) -> None:
    """The controller reads as another account of that group; also what later backups write."""
    host.backup()
    host.write("notes", 4)
    host.backup()
    closed = [path for path in host.share.rglob("*") if not path.stat().st_mode & 0o040]
    assert not closed
    assert not [path for path in host.share.rglob("*") if path.stat().st_mode & 0o007]


def test_only_what_is_new_is_written_the_second_time(host: Host) -> None:
    host.backup()
    before = sum(path.stat().st_size for path in host.repository.rglob("data/*/*"))
    host.backup()
    assert sum(path.stat().st_size for path in host.repository.rglob("data/*/*")) < before + 8000


def test_progress_is_told(host: Host) -> None:
    told = [line for line in host.run("backup").lines if line["kind"] == "progress"]
    assert any(line["unit"] == "bytes" and line["name"] == "back up notes" for line in told)


def test_hooks_run_around_the_copy(host: Host) -> None:
    dump, asked = 'cp "$STACK_DATA/live" "$STACK_DATA/data/dump"', ["sh", "-c", "cat $STACK_DATA/data/dump"]
    host.setup["stacks"][0] = host.stack("notes", before=dump, facts=[{"name": "dump", "command": asked}])
    host.setup["stacks"][0]["backup"]["after"] = f'rm "$STACK_DATA/data/dump"; echo $STACK >>{host.folder}/log'
    (host.data / "notes/live").write_text("seven")
    assert host.backup()["fingerprint"]["notes"] == {"dump": "seven"}
    assert (host.folder / "log").read_text() == "notes\n"
    assert "/data/dump" in host.restic("ls", "latest", "--tag", "stack=notes")


@pytest.mark.negative
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"before": "echo the database is gone; exit 7"}, "the database is gone"),
        ({"after": "echo cannot thaw; exit 1"}, "cannot thaw"),
        ({"paths": ["data", "nothing"]}, "the stack notes has no"),
        ({"facts": [{"name": "rows", "command": ["sh", "-c", "echo no rows >&2; exit 3"]}]}, "no rows"),
        ({"facts": [{"name": "rows", "command": ["/no/such/program"]}]}, "/no/such/program"),
        ({"facts": [{"name": "all", "command": ["seq", "2000"]}]}, "4096 are allowed"),
    ],
)
def test_a_stack_that_fails_holds_up_no_other_and_leaves_no_record(
    host: Host, changes: dict[str, object], said: str
) -> None:
    first = host.backup()["label"]
    thawed = host.folder / "thawed"
    host.setup["stacks"][0] = host.stack("notes", **{"after": f"touch {thawed}", **changes})
    host.write("wiki", 9)
    error = host.run("backup").error
    assert "no complete backup: notes failed; wiki is backed up, but without a record" in error["message"]
    assert said in error["evidence"]
    assert thawed.exists() or "after" in changes
    assert host.labels() == [first]
    snapshots = json.loads(host.restic("snapshots", "--json", "--tag=stack=wiki"))
    assert len(snapshots) == 2
    host.setup["stacks"][0] = host.stack("notes")
    host.backup()
    assert len(host.labels()) == 2


@pytest.mark.negative
def test_a_stack_that_is_written_to_all_the_time_gets_no_record(host: Host) -> None:
    counting = f"cd {host.folder}; echo >>count; wc -l <count"
    host.setup["stacks"][0] = host.stack("notes", facts=[{"name": "asked", "command": ["sh", "-c", counting]}])
    error = host.run("backup").error
    assert "was written to during each of 3 copies" in error["evidence"]
    assert not host.labels()


def test_a_stack_that_is_written_to_once_is_copied_again(host: Host) -> None:
    until = f"cd {host.folder}; echo >>count; n=$(wc -l <count); [ $n -gt 2 ] && echo settled || echo $n"
    host.setup["stacks"][0] = host.stack("notes", facts=[{"name": "asked", "command": ["sh", "-c", until]}])
    answer = host.run("backup")
    assert answer.result["fingerprint"]["notes"] == {"asked": "settled"}
    assert [text for text in answer.notices if "was written to meanwhile" in text]


@pytest.mark.negative
@pytest.mark.parametrize("bare", [True, False], ids=["empty", "a repository lies in the mount point"])
def test_nothing_is_written_where_the_share_is_not_mounted(host: Host, bare: bool) -> None:
    if bare:
        shutil.rmtree(host.share / "stacks")
    before = sorted(host.share.rglob("*"))
    host.mount(False)
    for job in ("backup", "prove", "restore"):
        assert "is not mounted" in host.run(job).error["message"]
    assert sorted(host.share.rglob("*")) == before


def test_a_repository_is_made_where_there_is_none(host: Host) -> None:
    shutil.rmtree(host.share / "stacks")
    answer = host.run("backup")
    assert answer.notices[0] == f"make the repository {host.repository}"
    assert not [path for path in host.share.rglob("*") if not path.stat().st_mode & 0o040]
    assert read(host, answer.result["label"]).files


@pytest.mark.negative
def test_a_repository_that_vanished_is_not_begun_anew(host: Host) -> None:
    host.backup()
    host.repository.rename(host.folder / "elsewhere")
    assert "holds records, but there is no repository" in host.run("backup").error["message"]
    assert not host.repository.exists()


@pytest.mark.negative
@pytest.mark.parametrize("job", ["backup", "prove", "restore"])
def test_another_key_opens_nothing(host: Host, job: str) -> None:
    host.backup()
    (host.folder / "key").write_text("another-key-of-32-characters-xxx\n")
    error = host.run(job).error
    assert "made with another key" in error["hint"]
    assert len(host.labels()) == 1


@pytest.mark.negative
def test_a_key_that_is_missing_is_named(host: Host) -> None:
    (host.folder / "key").unlink()
    error = host.run("backup").error
    assert str(host.folder / "key") in f"{error['message']} {error['evidence']}"
    assert not host.records.exists()


@pytest.mark.negative
def test_a_full_share_is_said_so_and_leaves_the_last_record(host: Host) -> None:
    shutil.move(host.share / "stacks", host.folder / "stacks")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "full", str(host.share)], check=True)
    try:
        shutil.move(host.folder / "stacks", host.share / "stacks")
        first = host.backup()["label"]
        (host.data / "wiki/data/noise").write_bytes(os.urandom(16 << 20))
        error = host.run("backup").error
        assert "make room" in error["hint"]
        assert "no space left on device" in error["evidence"].lower()
        assert host.labels() == [first]
    finally:
        subprocess.run(["umount", "--lazy", str(host.share)], check=True)


def test_a_lock_of_a_run_that_was_killed_stops_nobody(host: Host) -> None:
    host.backup()
    # restic's own, while it waits for a text that does not come.
    words = ["restic", f"--repo={host.repository}", f"--password-file={host.folder}/key", "backup", "--stdin"]
    held = subprocess.Popen([*words, f"--cache-dir={host.folder}/cache"], stdin=subprocess.PIPE)
    while not [path for path in host.repository.glob("locks/*") if "-tmp-" not in path.name]:
        assert held.poll() is None
    held.kill()
    held.wait()
    host.run("prove")  # its look takes the repository for itself
    host.backup()
    assert not list(host.repository.glob("locks/*"))


def test_what_is_too_old_goes_with_its_record(host: Host) -> None:
    host.setup["keep"] = {"daily": 1, "weekly": 0, "monthly": 0}
    host.backup(keep_all=False)
    host.write("notes", 5)
    last = host.backup(keep_all=False)["label"]
    assert host.labels() == [last]
    tags = {tag for each in json.loads(host.restic("snapshots", "--json")) for tag in each["tags"]}
    assert tags == {"record", "stack=notes", "stack=wiki", f"label={last}"}


def test_what_was_proven_is_kept(host: Host) -> None:
    """The controller refuses a proof of a backup that is not there any more."""
    proven = host.backup(keep_all=False)["label"]
    host.run("prove").result["label"]
    last = host.backup(keep_all=False)["label"]
    assert host.labels() == [proven, last]
    (host.records / "proof.json").write_text("no proof")
    assert host.labels()[:1] == [proven]
    newest = host.backup(keep_all=False)["label"]
    assert host.labels() == [newest]


def test_after_pruning_the_record_lists_what_is_there(host: Host) -> None:
    """Also packs that were rewritten: the controller would call the repository damaged."""
    host.setup["keep"] = {"daily": 1, "weekly": 0, "monthly": 0}
    host.backup()
    host.write("notes", 500)
    more = "import homelab_stacks.retention as r; r.prune_due = lambda *words: True"
    packs = {path.name for path in host.repository.rglob("data/*/*")}
    label = host.run("backup", more=f"import time; time.sleep(1.1); {more}").result["label"]
    assert packs - {path.name for path in host.repository.rglob("data/*/*")}, "nothing was pruned"
    for path, size in read(host, label).files.items():
        assert (host.share / path).stat().st_size == size


@pytest.mark.negative
def test_a_clock_that_was_set_back_makes_no_backup_that_looks_old(host: Host) -> None:
    label = host.backup()["label"]
    (host.records / f"{label}.json").rename(host.records / "20990101-000000F.json")
    assert "set the clock" in host.run("backup").error["hint"]


def test_stacks_that_keep_nothing_leave_a_record_too(host: Host) -> None:
    host.setup["stacks"] = [host.stack("notes", paths=[], facts=[])]
    record = read(host, host.backup()["label"])
    assert record.bytes == 0
    assert record.files


@pytest.mark.negative
def test_nobody_but_root_runs_it(host: Host) -> None:
    answer = host.run("backup", more="os.setegid(65534); os.seteuid(65534)")
    assert "has to run as root" in answer.error["message"]


def test_files_of_others_among_the_records_stay(host: Host) -> None:
    host.backup()
    foreign = [host.records / name for name in ("notes.json", "._20260101-000000F.json", "20260101-000000F (1).json")]
    for path in foreign:
        path.write_text("somebody else's")
    host.backup()
    assert all(path.exists() for path in foreign)


def test_a_path_may_be_one_file(host: Host) -> None:
    host.setup["stacks"] = [host.stack("notes", paths=["data/rows", "data/sub"])]
    host.backup()
    assert host.run("prove").result["stacks"] == 1


def test_the_host_has_no_place_for_backups(host: Host) -> None:
    host.setup["share"] = None
    assert "no place for backups" in host.run("backup").error["message"]
