"""What a host shows when the role `backup` has done its work."""

from __future__ import annotations

import re
from typing import Any

import pytest

LIBRARY = "/usr/local/lib/homelab-provision"

# As a program of a role starts: isolated, and without leaving anything compiled behind.
IMPORT = f"""
python3 -IBc 'import sys; sys.path.insert(0, "{LIBRARY}")
from homelab_host import lock, process, records, share, signing
print(signing.statement("role", "host", "file", "body").splitlines()[0])'
find {LIBRARY} -name __pycache__
"""
TRY = f"""
runuser -u nobody -- sh -c 'echo "import os" >>{LIBRARY}/homelab_host/share.py' 2>&1 || echo refused
runuser -u nobody -- touch {LIBRARY}/own.py 2>&1 || echo refused
find {LIBRARY} ! -user root -o -perm /022
"""

QUESTIONS = {
    "library": IMPORT,
    "units": "systemctl show --property=ExecStart homelab-backup@verify.service homelab-prove@verify.service",
    "timers": "systemctl cat homelab-backup@verify.timer homelab-prove@verify.timer | grep -c ^Persistent=true",
    "try": TRY,
}


def test_programs_find_the_library(answers: Any) -> None:
    assert answers["library"].text == "homelab-backup 1"


def test_each_role_has_its_units(answers: Any) -> None:
    started = re.findall(r"argv\[\]=/usr/local/sbin/(.*?) ;", answers["units"].text)
    assert started == ["homelab-verify backup", "homelab-verify prove"]
    assert answers["timers"].text == "2"


@pytest.mark.negative
def test_nobody_but_root_changes_what_root_runs(answers: Any) -> None:
    lines = answers["try"].text.splitlines()
    assert lines.count("refused") == 2
    assert not [line for line in lines if line.startswith("/")]
