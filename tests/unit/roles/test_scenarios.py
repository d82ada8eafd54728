"""What the roles' scenarios leave behind on the computer that plays them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import homelab_provision

SCENARIOS = sorted((Path(homelab_provision.__file__).parent.parent / "molecule").glob("*/molecule.yml"))


@pytest.mark.negative
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.parent.name)
def test_no_disk_of_a_container_outlives_it(scenario: Path) -> None:
    """A volume without a name belongs to its container alone, and Docker keeps it unless it is told otherwise."""
    for platform in yaml.safe_load(scenario.read_text()).get("platforms", ()):
        if any(":" not in volume for volume in platform.get("volumes", ())):
            assert platform.get("keep_volumes") is False, platform["name"]


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) > 10
