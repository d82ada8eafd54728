"""There is one place that writes: what the commands say goes through it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from homelab_provision import cli

FOLDER = Path(cli.__file__).parent


@pytest.mark.negative
def test_no_command_writes_past_the_place_that_cleans() -> None:
    allowed = {"options.py": {"write"}, "streams.py": {"write"}, "trouble.py": {"write"}}
    allowed |= {name: {"print"} for name in ("terminal.py", "live.py", "many.py")}  # onto a console that cleans
    found = []
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                called = node.func
                name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                if name in ("echo", "secho", "write", "writelines", "print"):
                    found += [f"{file.name}:{node.lineno}: {name}"] if name not in allowed.get(file.name, ()) else []
    assert found == []
