"""The Ansible module `host_state` and its parts, imported as Ansible does on a host."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import ansible.module_utils
import pytest
from ansible.module_utils.testing import patch_module_args

from homelab_provision import paths

PLAYBOOKS, ROLES = paths.content("playbooks"), paths.content("roles")
for _folder in (PLAYBOOKS, *sorted(ROLES.iterdir())):
    ansible.module_utils.__path__.append(str(_folder / "module_utils"))


def part(name: str, role: str | None = None) -> Any:
    """One part of a module, shared or a role's own, so that its functions can be called."""
    return importlib.import_module(f"ansible.module_utils.homelab{f'_{role}' if role else ''}.{name}")


def module(name: str = "host_state", role: str | None = None) -> Any:
    """The module itself."""
    return _loaded((ROLES / role if role else PLAYBOOKS) / "library" / f"{name}.py")


def _loaded(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def action(name: str) -> Any:
    """The part of a module that runs on the controller."""
    return _loaded(PLAYBOOKS / "action_plugins" / f"{name}.py")


def play(
    arguments: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], check: bool = False
) -> dict[str, Any]:
    """Run the whole module as Ansible does; what it answers."""
    words = {**arguments, "_ansible_check_mode": check, "_ansible_remote_tmp": str(tmp_path)}
    with patch_module_args(words), pytest.raises(SystemExit):
        module().main()
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer
