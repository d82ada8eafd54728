"""The Ansible modules of the project, loaded from where Ansible finds them."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from homelab_provision import paths

LIBRARY = paths.content("playbooks") / "library"


def load(name: str) -> Any:
    """The module as a Python module, so that its functions can be called."""
    spec = importlib.util.spec_from_file_location(f"library_{name}", LIBRARY / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def play(module: Any, arguments: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str],
         check: bool = False) -> dict[str, Any]:  # fmt: skip
    """Run the whole module as Ansible does; what it answers."""
    words = {**arguments, "_ansible_check_mode": check, "_ansible_remote_tmp": str(tmp_path)}
    with patch_module_args(words), pytest.raises(SystemExit):
        module.main()
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer
