"""A role's tree: found on the controller, laid on the host, and what it had before is removed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from tests.unit.roles import modules

files = modules.part("files")
tree = modules.part("tree")
plugin = modules.action("host_state")


@pytest.fixture
def role(tmp_path: Path) -> Path:
    folder = tmp_path / "roles" / "shop"
    for name, text in {
        "files/early/etc/systemd/system/rpcbind.service": "",
        "files/root/etc/shop/shop.conf": "open = yes\n",
        "files/root/usr/local/sbin/homelab-shop": "#!/bin/sh\n",
        "files/root/usr/local/sbin/__pycache__/x.cpython-311.pyc": "compiled",
        "program/homelab_shop.py": "print('{{ no template }}')\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def arguments(role: Path, *given: dict[str, Any], **more: Any) -> dict[str, Any]:
    return dict(plugin.with_tree(role, {"tree": {"role": "shop", **more}, "files": list(given)}))


def by_path(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    assert len({entry["path"] for entry in entries}) == len(entries)
    return {entry["path"]: entry for entry in entries}


def test_what_lies_in_the_tree_is_found(role: Path) -> None:
    made = arguments(role)
    assert by_path(made["early"]) == {
        "/etc/systemd/system/rpcbind.service": {
            "path": "/etc/systemd/system/rpcbind.service",
            "content": "",
            "mode": "0644",
        }
    }
    assert {path: entry["mode"] for path, entry in by_path(made["files"]).items()} == {
        "/etc/shop/shop.conf": "0644",
        "/usr/local/sbin/homelab-shop": "0755",
        "/usr/local/lib/homelab-provision/homelab_shop.py": "0644",
    }
    program = by_path(made["files"])["/usr/local/lib/homelab-provision/homelab_shop.py"]
    assert program["content"] == "print('{{ no template }}')\n"
    assert made["tree"]["paths"] == sorted(by_path(made["early"] + made["files"]))


def test_a_task_says_what_is_not_as_usual(role: Path) -> None:
    conf = {"path": "/etc/shop/shop.conf", "mode": "0600", "then": ["systemctl restart shop"]}
    other = {"path": "/etc/other", "content": "x"}
    made = by_path(arguments(role, conf, other)["files"])
    assert made["/etc/shop/shop.conf"] == {**conf, "content": "open = yes\n"}
    assert made["/etc/other"] == other


@pytest.mark.parametrize("own", [{"content": "open = no\n"}, {"state": "absent"}, {"link": "/etc/hosts"}])
def test_what_a_task_gives_itself_takes_the_place_of_the_trees(role: Path, own: dict[str, Any]) -> None:
    made = by_path(arguments(role, {"path": "/etc/shop/shop.conf", **own})["files"])
    assert made["/etc/shop/shop.conf"] == {"path": "/etc/shop/shop.conf", **own}


def test_what_is_skipped_is_left_alone_and_still_the_trees(role: Path) -> None:
    made = arguments(role, skips=["/etc/shop/shop.conf", "/etc/systemd/system/rpcbind.service"])
    assert made["early"] == []
    assert "/etc/shop/shop.conf" not in by_path(made["files"])
    assert "/etc/shop/shop.conf" in made["tree"]["paths"]


def test_one_folder_alone_is_laid_and_the_rest_still_the_trees(role: Path) -> None:
    made = arguments(role, only="program")
    assert made["early"] == []
    assert by_path(made["files"]).keys() == {"/usr/local/lib/homelab-provision/homelab_shop.py"}
    assert made["tree"]["paths"] == arguments(role)["tree"]["paths"]
    with pytest.raises(AnsibleActionFail, match=r"has to be one of files/early, files/root, program"):
        arguments(role, only="programs")


@pytest.mark.negative
def test_a_role_has_no_tree_but_its_own(role: Path) -> None:
    with pytest.raises(AnsibleActionFail, match=r"has to be shop"):
        plugin.with_tree(role, {"tree": {"role": "postgres"}})


# ---- on the host ---------------------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if os.geteuid() != 0:
        pytest.skip("files of root's need root")
    root = tmp_path / "host"
    root.mkdir()
    monkeypatch.setattr(files, "PENDING", root / "run" / "pending.json")
    monkeypatch.setattr(tree, "KEPT", str(root / "trees"))
    monkeypatch.setattr(tree, "UNITS", f"{root}/units/")
    return root


def play(host: Path, tmp_path: Path, capsys: Any, *names: str, check: bool = False) -> dict[str, Any]:
    paths = [str(host / name) for name in names]
    entries = [{"path": path, "content": f"{path}\n"} for path in paths]
    told = {"tree": {"role": "shop", "paths": paths}, "files": entries}
    return modules.play(told, tmp_path, capsys, check=check)


def test_what_the_tree_has_no_more_is_removed(host: Path, tmp_path: Path, capsys: Any) -> None:
    play(host, tmp_path, capsys, "etc/shop/a", "etc/shop/b")
    assert (host / "etc/shop").stat().st_mode & 0o777 == 0o755
    (host / "etc/shop/c").write_text("somebody else's")
    answer = play(host, tmp_path, capsys, "etc/shop/a", check=True)
    assert answer["changed"]
    assert (host / "etc/shop/b").exists(), "looking changes nothing"
    answer = play(host, tmp_path, capsys, "etc/shop/a")
    assert answer["changed"]
    assert sorted(file.name for file in (host / "etc/shop").iterdir()) == ["a", "c"]
    assert json.loads((host / "trees/shop.json").read_text()) == [str(host / "etc/shop/a")]
    assert not play(host, tmp_path, capsys, "etc/shop/a")["changed"]


def test_what_went_over_to_another_role_stays(host: Path, tmp_path: Path, capsys: Any) -> None:
    """Whichever of the two is played first: the other one's file is never taken away for good."""
    play(host, tmp_path, capsys, "lib/shared.py", "lib/old.py")
    shared = str(host / "lib/shared.py")
    taker = {"tree": {"role": "ground", "paths": [shared]}, "files": [{"path": shared, "content": "newer\n"}]}
    modules.play(taker, tmp_path, capsys)
    answer = play(host, tmp_path, capsys)
    assert sorted(answer["files"]["changed_files"]) == [str(host / "lib/old.py"), str(host / "trees/shop.json")]
    assert (host / "lib/shared.py").read_text() == "newer\n"
    assert json.loads((host / "trees/shop.json").read_text()) == []
    assert not modules.play(taker, tmp_path, capsys)["changed"]
    assert not play(host, tmp_path, capsys)["changed"]


def test_a_file_that_becomes_a_template_stays(
    host: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(host, tmp_path, capsys, "units/shop.service")
    ran: list[list[str]] = []

    def run(module: Any, words: list[str], *rest: Any, **more: Any) -> tuple[int, str, str]:
        ran.append(words)
        return 0, "", ""

    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.run_command", run)
    written = {"path": str(host / "units/shop.service"), "content": "written for this host\n"}
    modules.play({"tree": {"role": "shop", "paths": []}, "files": [written]}, tmp_path, capsys)
    assert (host / "units/shop.service").read_text() == "written for this host\n"
    assert ran == []


def test_a_file_of_the_tree_that_somebody_removed_comes_back(host: Path, tmp_path: Path, capsys: Any) -> None:
    play(host, tmp_path, capsys, "etc/shop/a")
    (host / "etc/shop/a").unlink()
    assert play(host, tmp_path, capsys, "etc/shop/a")["files"]["changed_files"] == [str(host / "etc/shop/a")]


@pytest.mark.parametrize("text", ["", "{", "{}", '["/etc/passwd"', "[1, null]"])
def test_a_broken_list_removes_nothing(host: Path, tmp_path: Path, capsys: Any, text: str) -> None:
    (host / "trees").mkdir()
    (host / "trees/shop.json").write_text(text)
    answer = play(host, tmp_path, capsys, "etc/shop/a")
    assert sorted(answer["files"]["changed_files"]) == [str(host / "etc/shop/a"), str(host / "trees/shop.json")]


def test_a_unit_that_goes_is_switched_off_first(
    host: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("units/shop.timer", "units/shop@.service", "units/shop.timer.d/own.conf")
    play(host, tmp_path, capsys, *names)
    ran: list[list[str]] = []

    def run(module: Any, words: list[str], *rest: Any, **more: Any) -> tuple[int, str, str]:
        ran.append(words)
        assert (host / "units/shop.timer").exists()
        return 0, "", ""

    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.run_command", run)
    play(host, tmp_path, capsys, check=True)
    assert ran == []
    play(host, tmp_path, capsys)
    assert ran == [["systemctl", "disable", "--now", "shop.timer"]]
    assert not any((host / name).exists() for name in names)


@pytest.mark.negative
def test_a_unit_runs_on_where_another_file_of_the_task_is_refused(
    host: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(host, tmp_path, capsys, "units/shop.timer", "etc/shop/a")
    ran: list[list[str]] = []

    def run(module: Any, words: list[str], *rest: Any, **more: Any) -> tuple[int, str, str]:
        ran.append(words)
        return int(words[0] == "shopcheck"), "", "no shop"

    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.run_command", run)
    conf = {"path": str(host / "etc/shop/a"), "content": "b\n", "validate": "shopcheck %s"}
    told = {"tree": {"role": "shop", "paths": [conf["path"]]}, "files": [conf]}
    answer = modules.play(told, tmp_path, capsys)
    assert "refuses the new text: no shop" in answer["msg"]
    assert [words[0] for words in ran] == ["shopcheck"]
    assert (host / "units/shop.timer").exists()
    assert json.loads((host / "trees/shop.json").read_text()) == [
        str(host / "etc/shop/a"),
        str(host / "units/shop.timer"),
    ]
    # Mended, the same task switches it off.
    answer = modules.play({**told, "files": [{**conf, "validate": "true"}]}, tmp_path, capsys)
    assert ["systemctl", "disable", "--now", "shop.timer"] in ran
    assert not (host / "units/shop.timer").exists()


@pytest.mark.negative
def test_a_unit_that_does_not_stop_keeps_its_file(
    host: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(host, tmp_path, capsys, "units/shop.timer")
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.run_command", lambda *words, **more: (1, "", "busy"))
    assert "shop.timer is no more, but could not be switched off: busy" in play(host, tmp_path, capsys)["msg"]
    assert (host / "units/shop.timer").exists()


@pytest.mark.negative
def test_without_its_part_on_the_controller_it_says_so(host: Path, tmp_path: Path, capsys: Any) -> None:
    answer = modules.play({"tree": {"role": "shop"}, "files": []}, tmp_path, capsys)
    assert "action_plugins" in answer["msg"]


def test_systemd_is_told_of_its_units(host: Path) -> None:
    def asked(path: str, kind: str = "file", then: tuple[str, ...] = ()) -> list[str]:
        return list(files.asked(files.Desired(path, kind, then=then)))

    assert asked("/etc/systemd/system/shop.service", then=("x",)) == ["systemctl daemon-reload", "x"]
    assert asked("/etc/systemd/system/shop.service.d/own.conf", "absent") == ["systemctl daemon-reload"]
    assert asked("/etc/systemd/system/shop.service.d", "directory") == []
    assert asked("/etc/shop") == []
