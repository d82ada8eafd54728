"""What a host shows when the role `backup` has done its work."""

from __future__ import annotations

import re
from typing import Any

import pytest

UNITS = "/etc/systemd/system"
TRY = f"""
runuser -u nobody -- sh -c 'echo "ExecStartPre=true" >>{UNITS}/homelab-backup@.service' 2>&1 || echo refused
runuser -u nobody -- touch {UNITS}/homelab-prove@own.service 2>&1 || echo refused
find {UNITS} -type f -name 'homelab-*@*' '(' ! -user root -o -perm /022 ')'
"""

QUESTIONS = {
    "units": "systemctl show --property=ExecStart homelab-backup@verify.service homelab-prove@verify.service",
    "timers": "systemctl cat homelab-backup@verify.timer homelab-prove@verify.timer | grep -c ^Persistent=true",
    "try": TRY,
}


def test_each_role_has_its_units(answers: Any) -> None:
    started = re.findall(r"argv\[\]=/usr/local/sbin/(.*?) ;", answers["units"].text)
    assert started == ["homelab-verify backup", "homelab-verify prove"]
    assert answers["timers"].text == "2"


@pytest.mark.negative
def test_nobody_but_root_changes_what_root_runs(answers: Any) -> None:
    lines = answers["try"].text.splitlines()
    assert lines.count("refused") == 2
    assert not [line for line in lines if line.startswith("/")]
