from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from homelab_provision import paths
from homelab_provision.doctor import Finding, Verdict, all_checks
from homelab_provision.doctor.checks import (
    Surroundings,
    forwarding,
    images,
    kept_from_git,
    kvm,
    locks,
    namespace,
    permissions,
    security_updates,
    space,
)
from homelab_provision.doctor.tools import FILES, TOOLS, Tool, judge_tool, look_for_file, look_for_tool
from tests.unit.image.test_image import _image

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL

# What Debian 12's programs print.
SAID = {
    "ssh": "OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026",
    "nc": "OpenBSD netcat (Debian patchlevel 1.219-1)\nusage: nc [-46CDdFhklNnrStUuvZz]",
    "setpriv": "setpriv from util-linux 2.38.1",
    "zstd": "*** Zstandard CLI (64-bit) v1.5.4, by Yann Collet ***",
    "mmdebstrap": "mmdebstrap 1.3.5",
    "mkfs.ext4": "mke2fs 1.47.0 (5-Feb-2023)\n\tUsing EXT2FS Library version 1.47.0",
    "mkfs.vfat": "Usage: mkfs.vfat [OPTIONS] TARGET [BLOCKS]",
    "mcopy": "mcopy (GNU mtools) 4.0.32",
    "cpio": "cpio (GNU cpio) 2.13\nCopyright (C) 2019 Free Software Foundation, Inc.",
    "newuidmap": "usage: newuidmap [<pid>|fd:<pidfd>] <uid> <loweruid> <count> [ <uid> <loweruid> <count> ] ...",
    "sysctl": "sysctl from procps-ng 4.0.2",
    "sfdisk": "sfdisk from util-linux 2.38.1",
    "qemu-system-x86_64": "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)",
    "nfs-ls": "Usage: nfs-ls [-?|--help|--usage] [-R|--recursive] [-s|--summary] [-D|--discovery] <url>",
    "qemu-img": "qemu-img version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)",
    "dnsmasq": "Dnsmasq version 2.90  Copyright (c) 2000-2024 Simon Kelley",
    "ip": "ip utility, iproute2-6.1.0, libbpf 1.1.2",
    "nft": "nftables v1.0.6 (Lester Gooch #5)",
    "docker": "Docker version 20.10.24+dfsg1, build 297e128",
}


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    monkeypatch.delenv("PROVISION_LAB_ACCEL", raising=False)
    return Surroundings(cache=tmp_path / "cache", state=tmp_path / "state", root=tmp_path)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_the_tools_of_debian_12_are_good_enough(tool: Tool) -> None:
    answer = judge_tool(tool, f"/usr/bin/{tool.name}", SAID[tool.name])
    assert answer.verdict is OK, answer


def test_an_old_tool_is_told_from_a_new_one_by_number_not_by_text() -> None:
    qemu = next(tool for tool in TOOLS if tool.name == "qemu-system-x86_64")
    assert judge_tool(qemu, "/usr/bin/q", "QEMU emulator version 10.0.2").verdict is OK
    old = judge_tool(qemu, "/usr/bin/q", "QEMU emulator version 5.2.0")
    assert (old.verdict, old.found) == (WARN, "5.2.0 is too old, 7.2 is wanted")


def test_the_other_netcat_is_not_taken_for_ours() -> None:
    nc = next(tool for tool in TOOLS if tool.name == "nc")
    answer = judge_tool(nc, "/usr/bin/nc", "[v1.10-47]\nconnect to somewhere:")
    assert (answer.verdict, answer.repair) == (FAIL, "sudo apt-get install netcat-openbsd")


def test_a_missing_tool_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = look_for_tool(Tool("no-such-program", "some-package"))
    assert (answer.verdict, answer.package) == (FAIL, "some-package")


def test_files_are_found_in_any_of_their_places(tmp_path: Path) -> None:
    firmware = next(file for file in FILES if file.package == "ovmf")
    assert look_for_file(firmware, tmp_path).repair == "sudo apt-get install ovmf"
    second = tmp_path / firmware.paths[1].lstrip("/")
    second.parent.mkdir(parents=True)
    second.touch()
    assert look_for_file(firmware, tmp_path).found == firmware.paths[1]


@pytest.mark.parametrize(("answer", "verdict"), [(None, OK), ("kvm", OK), ("tcg", WARN)])
def test_kvm_is_believed_only_from_the_probe(around: Surroundings, answer: str | None, verdict: Verdict) -> None:
    (around.root / "dev").mkdir()
    (around.root / "dev/kvm").touch()
    asked = Surroundings(around.cache, around.state, root=around.root, accelerator=lambda: answer)
    assert kvm(asked).verdict is verdict


def test_no_kvm_is_a_warning_unless_overruled(around: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kvm(around).verdict is WARN
    monkeypatch.setenv("PROVISION_LAB_ACCEL", "tcg")
    assert kvm(around).verdict is OK


def test_a_namespace_that_is_not_ours_is_a_clash(around: Surroundings) -> None:
    assert namespace(around).verdict is OK
    (around.root / "run/netns").mkdir(parents=True)
    (around.root / "run/netns/hlp-lab").touch()
    assert namespace(around).verdict is WARN
    (around.state / "lab/hlp-lab").mkdir(parents=True)
    assert namespace(around).verdict is OK


def test_forwarding_is_read(around: Surroundings) -> None:
    assert forwarding(around).verdict is WARN
    switch = around.root / "proc/sys/net/ipv4/ip_forward"
    switch.parent.mkdir(parents=True)
    switch.write_text("1\n")
    assert forwarding(around).found == "on"


@pytest.mark.parametrize(("free", "verdict"), [(3 * 10**9, FAIL), (8 * 10**9, WARN), (50 * 10**9, OK)])
def test_space_is_judged_where_the_directory_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: Verdict
) -> None:
    asked: list[Path] = []

    def usage(path: Path) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(free=free)

    monkeypatch.setattr("homelab_provision.doctor.checks.shutil.disk_usage", usage)
    assert space(tmp_path / "not" / "yet").verdict is verdict
    assert asked == [tmp_path]


def test_state_that_others_can_read_is_found(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert permissions(state).verdict is OK
    (state / "runs" / "one").mkdir(parents=True)
    for folder in (state, state / "runs", state / "runs" / "one"):
        folder.chmod(0o700)
    assert permissions(state).verdict is OK
    (state / "runs" / "one").chmod(0o750)
    answer = permissions(state)
    assert (answer.verdict, answer.repair) == (WARN, f"chmod -R go= {state}")
    assert str(state / "runs" / "one") in answer.found


@pytest.fixture
def held_lock(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "db-wyse.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    yield path
    os.close(handle)


def test_a_lock_of_a_living_run_is_fine(held_lock: Path) -> None:
    held_lock.write_text(json.dumps({"run": "r1", "pid": os.getpid(), "since": "now"}))
    answer = locks(held_lock.parent)
    assert (answer.verdict, answer.found) == (OK, f"held by a run that is going on: db-wyse (pid {os.getpid()})")


def test_a_lock_that_outlives_its_run_is_found(held_lock: Path) -> None:
    dead = max(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()) + 100_000
    held_lock.write_text(json.dumps({"run": "r1", "pid": dead, "since": "now"}))
    answer = locks(held_lock.parent)
    assert answer.verdict is WARN
    assert f"fuser -v {held_lock}" in str(answer.repair)


def test_the_text_of_a_free_lock_means_nothing(tmp_path: Path) -> None:
    (tmp_path / "db-wyse.lock").write_text(json.dumps({"run": "r1", "pid": 1, "since": "now"}))
    assert locks(tmp_path).found == "none held"


def an_image(cache: Path, name: str, *, days: int = 0, security: bool = True, pgvector: str = "0.8.2-1") -> None:
    """An image that the recipe `name` leads to."""
    image = _image(cache / "images" / name, datetime.now(UTC) - timedelta(days=days))
    made = image.model_copy(update={"security": security, "packages": {"postgresql-17-pgvector": pgvector}})
    (cache / "images" / name / "manifest.json").write_text(made.model_dump_json())
    (cache / "images" / "by-inputs").mkdir(exist_ok=True)
    (cache / "images" / "by-inputs" / name).symlink_to(Path("..") / name)


def test_images_are_counted(tmp_path: Path) -> None:
    assert images(tmp_path).verdict is WARN
    an_image(tmp_path, "aaaa", days=3)
    an_image(tmp_path, "bbbb")
    assert images(tmp_path).verdict is OK
    assert images(tmp_path).found.startswith("2 cached, the newest ")


@pytest.mark.negative
@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ({"days": 15}, "15 days old"),
        ({"security": False}, "without Debian's security updates"),
        ({"pgvector": "0.8.0-1"}, "pgvector 0.8.0-1, older than 0.8.2 (CVE-2026-3172)"),
        ({"pgvector": "0.8.1-2+deb13u1"}, "pgvector 0.8.1-2+deb13u1"),
    ],
    ids=str,
)
def test_what_ails_an_image_is_named(tmp_path: Path, fault: dict[str, Any], found: str) -> None:
    an_image(tmp_path, "aaaa")
    an_image(tmp_path, "bbbb", **fault)
    answer = images(tmp_path)
    assert answer.verdict is WARN
    assert found in answer.found
    assert "provision image build --anew" in (answer.repair or "")


def test_how_old_an_image_may_be_the_site_says(tmp_path: Path) -> None:
    an_image(tmp_path, "aaaa", days=15)
    (tmp_path / "machines.yml").write_text("image_max_age: 30d\nmachines: {}\n")
    assert images(tmp_path, tmp_path).verdict is OK
    (tmp_path / "machines.yml").write_text("machines: [")
    assert images(tmp_path, tmp_path).verdict is WARN


@pytest.mark.negative
def test_an_apt_without_security_updates_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc/apt").mkdir(parents=True)
    (tmp_path / "etc/os-release").write_text("ID=debian\n")
    source = "deb http://127.0.0.1:9/debian trixie main\n"
    (tmp_path / "etc/apt/sources.list").write_text(source)
    assert security_updates(tmp_path).verdict is WARN
    monkeypatch.setattr("homelab_provision.image.mirror.is_offered", lambda base, suite: True)
    assert security_updates(tmp_path).verdict is OK
    monkeypatch.setattr("homelab_provision.image.mirror.is_offered", lambda base, suite: False)
    (tmp_path / "etc/apt/sources.list").write_text(f"{source}deb http://sec.lan/s trixie-security main\n")
    assert security_updates(tmp_path).verdict is OK


def test_site_checks_are_made_only_with_a_site(around: Surroundings) -> None:
    assert "site" not in {check.group for check in all_checks(around)}
    with_site = Surroundings(around.cache, around.state, load_site=lambda: "2 hosts", open_vault=lambda: "opens")
    assert [check.name for check in all_checks(with_site) if check.group == "site"] == ["description", "vault"]


def test_the_table_shows_repairs_and_all_packages() -> None:
    from homelab_provision.cli.doctor import table

    shown = table(
        [
            Finding(group="tools", name="ssh", verdict=OK, found="9.2"),
            Finding(
                group="tools",
                name="mmdebstrap",
                verdict=FAIL,
                found="not installed",
                repair="sudo apt-get install mmdebstrap",
                package="mmdebstrap",
            ),
            Finding(group="lab", name="KVM", verdict=WARN, found="no /dev/kvm\nat all"),
        ]
    )
    assert shown.splitlines() == [
        "tools",
        "  ok    ssh         9.2",
        "  fail  mmdebstrap  not installed",
        "                    repair: sudo apt-get install mmdebstrap",
        "",
        "lab",
        "  warn  KVM         no /dev/kvm",
        "                    at all",
        "",
        "1 ok, 1 warn, 1 fail",
        "all packages at once: sudo apt-get install mmdebstrap",
    ]


# ---- git -----------------------------------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> None:
    own = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    subprocess.run(["git", *who, *words], cwd=folder, env=own, check=True, capture_output=True)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A copy of the example in a repository of its own, with a password and a vault."""
    site = tmp_path / "homelab"
    shutil.copytree(paths.content("inventories") / "example", site, ignore=shutil.ignore_patterns(".vault-p*", "vault"))
    (site / ".vault-password").write_text("hunter2")
    (site / "vault").mkdir()
    (site / "vault" / "site.yml").write_text("sealed")
    git(site, "init", "--quiet")
    return site


@pytest.mark.processes
def test_add_everything_stages_neither_password_nor_vault(site: Path) -> None:
    git(site, "add", "--all")
    listed = subprocess.run(["git", "ls-files"], cwd=site, capture_output=True, text=True, check=True).stdout.split()
    assert "hosts.yml" in listed
    assert [name for name in listed if "vault" in name] == []
    assert kept_from_git(site).verdict is OK


@pytest.mark.processes
@pytest.mark.negative
def test_a_password_that_git_tracks_is_a_failure(site: Path) -> None:
    git(site, "add", "--force", ".vault-password")
    answer = kept_from_git(site)
    assert answer.verdict is FAIL
    assert ".vault-password" in answer.found
    assert "rm --cached" in (answer.repair or "")
    git(site, "commit", "--quiet", "--message", "all")
    assert kept_from_git(site).verdict is FAIL


@pytest.mark.processes
@pytest.mark.negative
def test_a_password_that_nothing_ignores_is_a_warning(site: Path) -> None:
    (site / ".gitignore").unlink()
    assert kept_from_git(site).verdict is WARN


@pytest.mark.processes
def test_a_site_below_a_repository_and_one_without(site: Path, tmp_path: Path) -> None:
    shutil.rmtree(site / ".git")
    assert kept_from_git(site).found == "the site is in no git repository"
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--force", "homelab/.vault-password")
    assert kept_from_git(site).verdict is FAIL


@pytest.mark.processes
@pytest.mark.negative
def test_what_the_repository_would_run_is_not_run(site: Path, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    script.chmod(0o700)
    for name in ("core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.askPass", "alias.ls-files"):
        git(site, "config", name, f"!{script}" if name.startswith("alias") else str(script))
    (site / ".git" / "hooks").mkdir(exist_ok=True)
    shutil.copy(script, site / ".git" / "hooks" / "post-index-change")
    assert kept_from_git(site).verdict is OK
    assert not (tmp_path / "was-run").exists()
