"""What `tools/setup` installs and what `provision doctor` asks for are two lists of one thing."""

from __future__ import annotations

import re
from pathlib import Path

from homelab_provision.doctor.tools import FILES, TOOLS

SETUP = Path(__file__).parents[3] / "tools" / "setup"
# Only who works on the toolkit itself needs these.
FOR_DEVELOPERS = {"openssh-server", "restic", "restic-rest-server", "shellcheck"}


def test_set_up_installs_what_doctor_asks_for_and_nothing_else() -> None:
    installed = set(re.findall(r"^([a-z0-9.+-]+):\S+$", SETUP.read_text(), re.MULTILINE))
    asked = {tool.package for tool in TOOLS} | {file.package for file in FILES}
    assert installed - FOR_DEVELOPERS == asked
