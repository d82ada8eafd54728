"""The module `nas_mounts` as a whole: what it plans, in which order it acts, and what it still owes after a crash."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from tests.unit.roles import modules

bare = modules.part("mountpoint", "nas_mounts")
files = modules.part("files")
nas_entries = modules.part("spec", "nas_mounts")
nas_files = modules.part("mount_files", "nas_mounts")
nas_units = modules.part("mount_units", "nas_mounts")
time_limits = modules.part("time_limits", "nas_mounts")

FOREIGN = "LABEL=hlp-root / ext4 noatime 0 1\n"
BACKUP = {"source": "127.0.0.1:/srv/b", "path": "/mnt/backup", "profile": "backup"}
FILMS = {
    "source": "//127.0.0.1/films",
    "path": "/mnt/films",
    "protocol": "smb",
    "username": "ada",
    "password": "open-sesame",
}


class Machine:
    """A host on which the module runs: its files are in a directory, its mounts and units are noted."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.capsys = root, capsys
        self.module = modules.module("nas_mounts", "nas_mounts")
        self.log: list[str] = []
        self.mounted: dict[str, list[str]] = {}
        self.guarded: set[str] = set()
        self.active: set[str] = set()
        self.busy: set[str] = set()
        self.up = {("127.0.0.1", 2049), ("127.0.0.1", 445)}
        self.fstab = root / "fstab"
        self.fstab.write_text(FOREIGN)
        replaced = {
            (self.module, "FSTAB"): self.fstab,
            (nas_files, "UNITS"): root / "units",
            (nas_files, "OWED"): root / "run" / "owed.json",
            (nas_files, "CREDENTIALS"): root / "nas",
            (nas_entries, "CREDENTIALS"): root / "nas",
            (bare, "mounts_now"): lambda: self.mounted,
            (bare, "is_guarded"): self.guarded.__contains__,
            (bare, "guard"): self.guard,
            (bare, "release"): self.release,
            (time_limits, "probe"): lambda servers: {server: server in self.up for server in servers},
            (nas_units, "let_go"): self.let_go,
            (self.module.UnloggedModule, "run_command"): self.run_command,
            (os, "fchown"): lambda *_: None,
            (os, "chown"): lambda *_: None,
        }
        for (owner, name), value in replaced.items():
            monkeypatch.setattr(owner, name, value)
        look = files.look
        # Whoever runs the tests owns the files; on a host that is root.
        monkeypatch.setattr(files, "look", lambda path: look(path)._replace(uid=0, gid=0))

    def guard(self, path: str) -> None:
        self.log.append(f"guard {path}")
        self.guarded.add(path)

    def release(self, path: str) -> None:
        self.log.append(f"release {path}")
        self.guarded.discard(path)

    def let_go(self, path: str, *, answers: bool) -> str | None:
        if path in self.busy:
            return f"{path} is in use by sleep (7)"
        self.log.append(f"{'unmount' if answers else 'detach'} {path}")
        return None

    def run_command(self, argv: list[str], check_rc: bool = False) -> tuple[int, str, str]:
        if argv[:2] == ["systemctl", "show"]:
            names = argv[argv.index("--") + 1 :]
            return 0, "\n\n".join(self.show(name) for name in names), ""
        self.log.append(" ".join(argv))
        if argv[1] in ("start", "restart"):
            self.active |= set(argv[2:])
        if argv[1] == "stop":
            self.active -= set(argv[2:])
        return 0, "", ""

    def show(self, name: str) -> str:
        state = "active" if name in self.active else "inactive"
        load = "loaded" if (self.root / "units" / name).exists() else "not-found"
        return f"Id={name}\nLoadState={load}\nActiveState={state}\nNeedDaemonReload=no"

    def unit(self, name: str) -> str:
        return (self.root / "units" / name).read_text()

    @property
    def units(self) -> list[str]:
        return sorted(path.name for path in (self.root / "units").glob("*.*mount"))

    def play(self, *mounts: dict[str, Any], check: bool = False) -> dict[str, Any]:
        """Run the module with this list; what it answers. The log is that of this run alone."""
        self.log.clear()
        words = {"mounts": list(mounts), "_ansible_check_mode": check, "_ansible_remote_tmp": str(self.root)}
        with patch_module_args(words), pytest.raises(SystemExit):
            self.module.main()
        answer: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        return answer


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Machine:
    return Machine(tmp_path, monkeypatch, capsys)


def test_documentation_names_every_argument_with_its_default() -> None:
    documented = yaml.safe_load(modules.module("nas_mounts", "nas_mounts").DOCUMENTATION)["options"]["mounts"]
    assert documented["suboptions"].keys() == nas_entries.ENTRY.keys()
    for name, argument in nas_entries.ENTRY.items():
        for word in ("type", "default", "choices", "required", "elements"):
            assert documented["suboptions"][name].get(word) == argument.get(word), (name, word)


def test_the_role_and_the_module_take_the_same_entries() -> None:
    text = (modules.PLAYBOOKS.parent / "roles" / "nas_mounts" / "meta" / "argument_specs.yml").read_text()
    entries = yaml.safe_load(text)["argument_specs"]["main"]["options"]["nas_mounts"]["options"]
    assert {
        name: {key: value for key, value in option.items() if key != "description"} for name, option in entries.items()
    } == nas_entries.ENTRY


def test_a_share_is_guarded_before_systemd_hears_of_it_and_started_last(machine: Machine) -> None:
    answer = machine.play(BACKUP)
    assert answer["changed"]
    assert machine.log == ["guard /mnt/backup", "systemctl daemon-reload", "systemctl start mnt-backup.automount"]
    assert machine.units == ["mnt-backup.automount", "mnt-backup.mount"]
    # As `systemctl enable` would: it comes with the boot, which does not wait for it.
    link = machine.root / "units" / "remote-fs.target.wants" / "mnt-backup.automount"
    assert link.readlink() == machine.root / "units" / "mnt-backup.automount"
    again = machine.play(BACKUP)
    assert (again["changed"], again["actions"], machine.log) == (False, [], [])


def test_check_mode_tells_and_does_nothing(machine: Machine) -> None:
    answer = machine.play(BACKUP, check=True)
    assert answer["changed"]
    assert "start mnt-backup.automount" in answer["actions"]
    assert machine.log == []
    assert not (machine.root / "units").exists()


def test_changed_options_take_effect(machine: Machine) -> None:
    machine.play(BACKUP)
    answer = machine.play({**BACKUP, "options": ["timeo=9"]})
    assert machine.log == ["systemctl daemon-reload", "unmount /mnt/backup", "systemctl restart mnt-backup.automount"]
    assert "timeo=9" in machine.unit("mnt-backup.mount")
    assert answer["actions"] == [f"write {machine.root}/units/mnt-backup.mount", "mount /mnt/backup anew"]


def test_a_share_whose_nas_is_away_is_detached_not_waited_for(machine: Machine) -> None:
    machine.play(BACKUP)
    machine.up.clear()
    answer = machine.play({**BACKUP, "options": ["timeo=9"]})
    assert "detach /mnt/backup" in machine.log
    assert answer["changed"]


@pytest.mark.negative
def test_a_nas_that_is_away_is_warned_of_and_nothing_fails(machine: Machine) -> None:
    machine.up = {("127.0.0.1", 445)}
    answer = machine.play(BACKUP, FILMS)
    assert not answer.get("failed")
    (told,) = answer["silent"]
    assert told.startswith("127.0.0.1 does not answer at port 2049: /mnt/backup")


@pytest.mark.negative
def test_a_share_in_use_is_not_pulled_away_and_the_next_run_goes_on(machine: Machine) -> None:
    machine.play(BACKUP)
    machine.busy = {"/mnt/backup"}
    changed = {**BACKUP, "options": ["timeo=9"]}
    failed = machine.play(changed)
    assert failed["failed"]
    assert "in use by sleep (7)" in failed["msg"]
    assert not [line for line in machine.log if "restart" in line or "stop" in line]
    assert machine.play(changed, check=True)["actions"] == ["mount /mnt/backup anew"]
    machine.busy = set()
    assert machine.play(changed)["changed"]
    assert "systemctl restart mnt-backup.automount" in machine.log
    assert machine.play(changed)["changed"] is False


def test_a_run_that_is_killed_is_finished_by_the_next(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.play(BACKUP)
    changed = {**BACKUP, "options": ["timeo=9"]}
    with monkeypatch.context() as broken:
        broken.setattr(nas_units, "let_go", lambda *_, **__: (_ for _ in ()).throw(OSError("killed here")))
        assert machine.play(changed)["failed"]
    assert "timeo=9" in machine.unit("mnt-backup.mount")
    assert machine.play(changed)["actions"] == ["mount /mnt/backup anew"]
    assert machine.play(changed)["changed"] is False


def test_a_removed_share_leaves_nothing(machine: Machine) -> None:
    machine.play(BACKUP, FILMS)
    assert (machine.root / "nas" / "mnt-films").read_text() == "username=ada\npassword=open-sesame\n"
    machine.play(BACKUP, {"path": "/mnt/films", "state": "absent"})
    assert machine.log == [
        "unmount /mnt/films",
        "systemctl stop mnt-films.automount",
        "release /mnt/films",
        "systemctl daemon-reload",
    ]
    assert not (machine.root / "nas").exists()
    assert machine.units == ["mnt-backup.automount", "mnt-backup.mount"]
    assert machine.play()["changed"]
    assert machine.units == []
    assert not list((machine.root / "units" / "remote-fs.target.wants").iterdir())
    assert machine.play()["changed"] is False


def test_credentials_go_when_the_host_comes_as_a_guest(machine: Machine) -> None:
    machine.play(FILMS)
    guest = {key: value for key, value in FILMS.items() if key not in ("username", "password")}
    machine.play(guest)
    assert not (machine.root / "nas").exists()
    assert "guest" in machine.unit("mnt-films.mount")
    assert machine.play(guest)["changed"] is False


@pytest.mark.negative
def test_a_removed_share_in_use_keeps_its_units_and_its_credentials(machine: Machine) -> None:
    machine.play(BACKUP, FILMS)
    machine.busy = {"/mnt/films"}
    failed = machine.play(BACKUP)
    assert failed["failed"]
    assert "mnt-films.mount" in machine.units
    assert (machine.root / "nas" / "mnt-films").exists()
    machine.busy = set()
    assert machine.play(BACKUP)["changed"]
    assert "mnt-films.mount" not in machine.units
    assert not (machine.root / "nas" / "mnt-films").exists()


@pytest.mark.negative
def test_credentials_are_nobody_elses_and_in_no_answer(machine: Machine) -> None:
    answer = machine.play(FILMS)
    secret = machine.root / "nas" / "mnt-films"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.parent.stat().st_mode & 0o777 == 0o700
    assert "sesame" not in json.dumps(answer)
    other = machine.play({**FILMS, "password": "close-sesame"})
    assert "sesame" not in json.dumps(other)
    assert "unmount /mnt/films" in machine.log, "a new password has to be used"
    assert machine.play({**FILMS, "password": "close-sesame"})["changed"] is False


@pytest.mark.negative
def test_what_is_mounted_by_others_is_left_alone(machine: Machine) -> None:
    machine.mounted["/mnt/backup"] = ["ext4"]
    refused = machine.play(BACKUP)
    assert "/mnt/backup is mounted already (ext4)" in refused["msg"]
    assert machine.log == []


@pytest.mark.negative
def test_a_mount_point_on_a_share_is_refused_before_it_is_looked_at(machine: Machine) -> None:
    machine.mounted["/mnt"] = ["autofs", "nfs4"]
    assert "would lie on /mnt" in machine.play(BACKUP)["msg"]
    assert machine.log == []


@pytest.mark.negative
def test_a_line_of_fstab_for_the_same_path_is_an_error(machine: Machine) -> None:
    machine.fstab.write_text(f"{FOREIGN}nas:/x /mnt/backup nfs ro 0 0\n")
    assert "fstab, line 2, already mounts /mnt/backup" in machine.play(BACKUP)["msg"]
    assert machine.log == []


@pytest.mark.parametrize("make", [lambda unit: unit.write_text("[Mount]\n"), lambda unit: unit.symlink_to("/dev/null")])
@pytest.mark.negative
def test_a_unit_of_somebody_else_is_never_overwritten(machine: Machine, make: Any) -> None:
    unit = machine.root / "units" / "mnt-backup.mount"
    unit.parent.mkdir()
    make(unit)
    assert "was not written by nas_mounts" in machine.play(BACKUP)["msg"]
    assert machine.log == []


def test_an_automount_that_was_stopped_is_started_again(machine: Machine) -> None:
    machine.play(BACKUP)
    machine.active.clear()
    assert machine.play(BACKUP)["actions"] == ["start mnt-backup.automount"]


def test_an_owner_that_does_not_exist_is_named(machine: Machine) -> None:
    assert "'nobody-at-all'; there is no such account" in machine.play({**FILMS, "owner": "nobody-at-all"})["msg"]
