"""Continuous integration sees what an ordinary user sees, not what the builder's machine happens to set."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.processes


def test_the_builders_environment_stays_outside(tmp_path: Path) -> None:
    (tmp_path / "make").write_text('#!/bin/sh\necho "$*"\nenv\n')
    (tmp_path / "make").chmod(0o755)
    of_the_builder = {
        "PATH": f"{tmp_path}{os.pathsep}{os.defpath}",
        "HOME": "/home/ada",
        "https_proxy": "http://proxy.example:3128",
        "PIP_INDEX_URL": "https://index.example/two words",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": "/elsewhere",
        "ANSIBLE_HOST_KEY_CHECKING": "False",
        "SSH_AUTH_SOCK": "/run/agent",
        "CI": "true",
    }
    shown = subprocess.run([ROOT / ".ci/run"], env=of_the_builder, capture_output=True, text=True, check=True).stdout
    first, *lines = shown.splitlines()
    seen = dict(line.split("=", 1) for line in lines)
    assert first == "test"
    kept = ("HOME", "PATH", "https_proxy", "PIP_INDEX_URL")
    assert {name: seen.get(name) for name in kept} == {name: of_the_builder[name] for name in kept}
    assert seen.keys() <= {*kept, "PWD", "OLDPWD", "SHLVL", "_"}  # what a shell sets by itself
