"""What a play is told before a host is changed, by the module that needs nothing there."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from homelab_provision import paths
from homelab_provision.image.os_image import GRUB_CONFIG
from tests.unit.roles import modules
from tests.unit.roles.inference import parts

module = modules.module("inference_preflight", "inference")
DROP_IN = parts.part("memory").plan(131045116 * 1024).drop_in


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(root: Path, reboot: bool = False, **settings: Any) -> tuple[dict[str, Any], list[str]]:
        warned: list[str] = []
        monkeypatch.setattr(module, "ROOT", root)
        monkeypatch.setattr(module.AnsibleModule, "warn", lambda self, text: warned.append(text))
        words = {"settings": settings, "reboot": reboot, "_ansible_check_mode": True}
        with patch_module_args(words), pytest.raises(SystemExit):
            module.main()
        return dict(json.loads(capsys.readouterr().out)), warned

    return run


def lay(root: Path, text: str, ago: float) -> None:
    """The drop-in, written so many seconds ago on a host that has run for a hundred."""
    file = root / module.DROP_IN
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    os.utime(file, (time.time() - ago,) * 2)
    (root / "proc/uptime").write_text("100.00 180.00\n")


def test_a_good_host_is_told_what_its_kernel_is_started_with(play: Any, tmp_path: Path) -> None:
    root = parts.host("framework-desktop", tmp_path)
    answer, warned = play(root, backend="rocm", build="b12000", min_kernel={}, gtt_gib=0)
    assert (answer["changed"], answer["drop_in"], answer["restart"], warned) == (False, DROP_IN, [], [])
    assert play(root, backend="cpu")[0]["drop_in"] == ""
    (root / "run/systemd").mkdir(parents=True)
    (root / "run/systemd/container").write_text("docker")
    assert play(root)[0]["drop_in"] == ""


@pytest.mark.negative
def test_all_that_is_refused_is_said_and_what_is_warned_of_as_well(play: Any, tmp_path: Path) -> None:
    root = parts.host("denied-firmware", tmp_path)
    (root / "proc/sys/kernel/osrelease").write_text("6.12.107+deb13-amd64\n")
    answer, warned = play(root, backend="vulkan")
    assert answer["failed"] is True
    lines = answer["msg"].splitlines()
    assert lines[0] == "this host cannot serve models as it is told to:"
    assert [line.partition(": ")[0] for line in lines[1::4]] == ["refused firmware"] * 2
    assert [text.partition(": ")[0] for text in warned] == ["warned kernel"]
    answer, _ = play(root, backend="cuda")
    assert answer["msg"].startswith("the settings cannot be used: 'cuda'")


def test_a_host_without_a_gpu_for_it_is_left_alone(play: Any, tmp_path: Path) -> None:
    answer, warned = play(parts.host("wyse-5070", tmp_path), backend="cpu")
    assert (answer["drop_in"], answer["restart"]) == ("", [])
    assert [text.partition(": ")[0] for text in warned] == ["warned cpu"]


def test_what_waits_for_another_start_is_named_until_it_was_tried(play: Any, tmp_path: Path) -> None:
    root = parts.host("not-restarted", tmp_path)
    waits = ["ttm.pages_limit=28311552", "amdgpu.lockup_timeout=20000"]
    answer, (warned,) = play(root)
    assert answer["restart"] == waits
    assert "ttm.pages_limit=28311552; amdgpu.lockup_timeout=20000" in warned
    assert play(root, reboot=True)[1] == []
    lay(root, DROP_IN, ago=50)
    assert play(root)[0]["restart"] == waits
    # The host was started since, and nothing has come of it: another start would bring nothing either.
    lay(root, DROP_IN, ago=150)
    answer, warned = play(root, reboot=True)
    assert (answer["restart"], len(warned)) == ([], 1)
    lay(root, "another plan\n", ago=150)
    assert play(root)[0]["restart"] == waits


def test_the_file_is_where_both_ways_to_start_a_host_look() -> None:
    """grub-mkconfig reads all of /etc/default/grub.d; images of this toolkit have a grub.cfg of their own."""
    content = paths.content("roles") / "inference"
    files = yaml.safe_load((content / "vars/main/files.yml").read_text())["__inference_files"]
    assert f"/{module.DROP_IN}" in [entry["path"] for entry in files]
    lines = GRUB_CONFIG.read_text().splitlines()
    read = lines.index(f"if [ -f /{module.DROP_IN} ]; then source /{module.DROP_IN}; fi")
    told = next(number for number, line in enumerate(lines) if line.startswith("set options="))
    assert lines[told].endswith('$GRUB_CMDLINE_LINUX_DEFAULT"')
    assert lines.index('set root="$disk,gpt2"') < read < told
