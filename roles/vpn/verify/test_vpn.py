"""What a host shows when the role `vpn` has done its work."""

from __future__ import annotations

import json
from typing import Any

import pytest

CONFIGURATION = "/etc/homelab-provision/vpn.json"
# Each question looks for the key without having it among the words of a program.
KEY = f"""python3 -c 'import json; print(json.load(open("{CONFIGURATION}"))["private_key"])'"""

QUESTIONS = {
    "status": "homelab-vpn status",
    "unit": "systemctl is-active homelab-vpn.service homelab-vpn-watch.timer",
    "mode": f"stat --format '%a %U' {CONFIGURATION} /var/lib/homelab-provision/vpn/good.json",
    "journal": f"{KEY} >key; journalctl --no-pager --output=cat >said; grep --count --fixed-strings --file=key said",
    "processes": f"{KEY} >key; ps -eo args >said; grep --count --fixed-strings --file=key said",
    "planted": f"{KEY} >key; cp key said; grep --count --fixed-strings --file=key said",
    # What root cannot read holds no text (a namespace that Docker keeps), or is gone meanwhile.
    "files": f"{KEY} >key; grep -rlFs --file=key /etc /var /run /root /usr/local",
    "damaged": f"""
        before=$(homelab-vpn status | grep -c endpoint)
        head -c 200 {CONFIGURATION} >half
        homelab-vpn apply half && echo accepted
        [ "$(homelab-vpn status | grep -c endpoint)" = "$before" ] && echo unchanged""",
}


@pytest.fixture(scope="module")
def status(answers: Any) -> dict[str, Any]:
    return dict(json.loads(answers["status"].text))


def test_the_interface_is_up_and_nothing_is_wrong_with_it(status: dict[str, Any], answers: Any) -> None:
    assert answers["unit"] == (0, "active\nactive")
    assert status["up"]
    assert status["troubles"] == {}


def test_the_keys_are_for_root_alone(answers: Any) -> None:
    assert answers["mode"] == (0, "600 root\n600 root")


@pytest.mark.negative
def test_the_private_key_is_nowhere_else(answers: Any) -> None:
    """The same search finds it where it was put."""
    assert answers["planted"].text == "1"
    assert answers["journal"].text == "0"
    assert answers["processes"].text == "0"
    kept = {CONFIGURATION, "/var/lib/homelab-provision/vpn/good.json"}
    assert set(answers["files"].text.split("\n")) == kept


@pytest.mark.negative
def test_a_damaged_configuration_changes_nothing(answers: Any) -> None:
    said = answers["damaged"].text
    assert "half: it is damaged" in said
    assert "accepted" not in said
    assert said.endswith("unchanged")
