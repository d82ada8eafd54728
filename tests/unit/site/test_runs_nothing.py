"""Looking at a site runs nothing of it but the password script that the user named, whoever wrote the site."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from homelab_provision import paths

pytestmark = pytest.mark.processes

PLUGIN = """
from pathlib import Path
Path({mark!r}).touch()
"""
PLUGIN_FOLDERS = (
    "action_plugins",
    "become_plugins",
    "cache_plugins",
    "callback_plugins",
    "connection_plugins",
    "filter_plugins",
    "inventory_plugins",
    "lookup_plugins",
    "strategy_plugins",
    "test_plugins",
    "vars_plugins",
    "plugins/vars",
    "plugins/inventory",
    "library",
    "module_utils",
)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What every planted program leaves behind when it is run."""
    return tmp_path / "was-run"


@pytest.fixture
def site(tmp_path: Path, mark: Path) -> Path:
    """The example, with a trap in every place where Ansible, or git, takes code from."""
    site = tmp_path / "site"
    shutil.copytree(paths.content("inventories") / "example", site, ignore=shutil.ignore_patterns(".vault*", "vault"))
    code = PLUGIN.format(mark=str(mark))
    for folder in PLUGIN_FOLDERS:
        (site / folder).mkdir(parents=True)
        (site / folder / "trap.py").write_text(code)
    names = ("action", "callback", "connection", "filter", "inventory", "lookup", "strategy", "test", "vars")
    settings = "".join(f"{name}_plugins = ./{name}_plugins\n" for name in names)
    (site / "ansible.cfg").write_text(
        f"[defaults]\n{settings}stdout_callback = trap\ncallbacks_enabled = trap\nstrategy = trap\n"
        "vars_plugins_enabled = host_group_vars,trap\nvault_password_file = ./script\ninventory = ./script\n"
        "[inventory]\nenable_plugins = script,trap,yaml\n"
    )
    collection = site / "collections" / "ansible_collections" / "trap" / "trap"
    (collection / "plugins" / "vars").mkdir(parents=True)
    (collection / "plugins" / "vars" / "trap.py").write_text(code)
    (collection / "__init__.py").write_text(code)
    script = f"#!/bin/sh\ntouch {mark}\necho '{{}}'\n"
    for name in ("script", "group_vars/all/script", "ansible-inventory", "ansible-vault"):
        (site / name).write_text(script)
        (site / name).chmod(0o755)
    (site / "group_vars" / "all" / "script").rename(site / "group_vars" / "all" / "script.sh")
    for name in ("hosts.yml", "machines.yml"):
        (site / name).chmod(0o755)  # as an inventory script is
    for name in ("sitecustomize.py", "yaml.py", "ansible.py", "json.py"):
        (site / name).write_text(code)
    (site / "group_vars" / "all" / "lookup.yml").write_text(
        f"base_domain: \"{{{{ lookup('ansible.builtin.pipe', 'touch {mark}; echo lan') }}}}\"\n"
    )
    return site


def provision(site: Path, home: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": str(Path.cwd())}
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-P", "-m", "homelab_provision", *words],
        cwd=site,
        env={**environment, **more},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.negative
@pytest.mark.parametrize("words", [("config", "show"), ("machines", "list"), ("doctor",)], ids=" ".join)
def test_a_planted_program_is_not_run(site: Path, mark: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    shown = provision(site, tmp_path / "home", *words)
    assert not mark.exists(), shown.stderr
    assert "Traceback" not in shown.stderr
    if words != ("doctor",):
        assert shown.returncode == 0, shown.stderr
        assert "db-wyse" in shown.stdout


def test_the_ansible_of_the_computer_does_not_leak_in(site: Path, mark: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".ansible" / "plugins" / "vars").mkdir(parents=True)
    (home / ".ansible" / "plugins" / "vars" / "trap.py").write_text(PLUGIN.format(mark=str(mark)))
    (home / ".ansible.cfg").write_text(
        "[defaults]\nverbosity = 3\nvars_plugins_enabled = trap,host_group_vars\nlog_path = /nowhere/log\n"
        "[inventory]\nenable_plugins = ini\nexport = False\n"
    )
    shown = provision(
        site, home, "config", "show", ANSIBLE_VERBOSITY="3", ANSIBLE_INVENTORY_ENABLED="ini", ANSIBLE_CONFIG="/nowhere"
    )
    assert shown.returncode == 0, shown.stderr
    assert "db-wyse" in shown.stdout
    assert not mark.exists()


def test_a_home_that_takes_nothing_is_no_fault_of_the_site(site: Path, tmp_path: Path) -> None:
    home = tmp_path / "no-home"
    home.write_text("a file is a home that even root cannot write into")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": str(Path.cwd())}
    for words in (("config", "show"), ("machines", "list")):
        shown = subprocess.run(
            [sys.executable, "-P", "-m", "homelab_provision", *words],
            cwd=site, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert shown.returncode == 0, shown.stderr
        assert "db-wyse" in shown.stdout


def test_the_password_script_that_the_user_named_is_run(site: Path, mark: Path, tmp_path: Path) -> None:
    (site / "vault").mkdir()
    (site / "vault" / "secrets.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n3030\n")
    script = tmp_path / "password"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\necho password\n")
    script.chmod(0o700)
    provision(site, tmp_path / "home", "doctor", ANSIBLE_VAULT_PASSWORD_FILE=str(script))
    assert (tmp_path / "asked").exists()
    assert not mark.exists()


@pytest.mark.parametrize("words", [["-i", "hosts.yml"], ["-i", "."], []], ids=" ".join)
@pytest.mark.parametrize("name", ["example", "lab"])
def test_ansible_itself_understands_a_site(tmp_path: Path, name: str, words: list[str]) -> None:
    """By whoever stands in it; machines.yml and the vault are no inventories."""
    site = tmp_path / "site"
    shutil.copytree(paths.content("inventories") / name, site, ignore=shutil.ignore_patterns(".vault-p*", "vault"))
    (site / "vault").mkdir()
    (site / "vault" / "site.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n3030\n")
    (site / "roles" / "mine" / "tasks").mkdir(parents=True)
    (site / "roles" / "mine" / "tasks" / "main.yml").write_text("- ansible.builtin.debug: {msg: of my own}\n")
    (site / "playbooks").mkdir()
    (site / "playbooks" / "mine.yml").write_text(
        "- hosts: db-wyse\n  gather_facts: false\n  connection: local\n  roles: [mine]\n"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"}

    def ansible(program: str, *rest: str) -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [Path(sys.executable).with_name(program), *words, *rest]
        return subprocess.run(command, cwd=site, env=environment, capture_output=True, text=True, check=False)

    listed = ansible("ansible-inventory", "--graph")
    assert listed.returncode == 0
    assert "WARNING" not in listed.stderr
    assert "db-wyse" in listed.stdout
    assert "machines" not in listed.stdout
    played = ansible("ansible-playbook", "playbooks/mine.yml")
    assert played.returncode == 0, played.stdout + played.stderr
    assert "of my own" in played.stdout
