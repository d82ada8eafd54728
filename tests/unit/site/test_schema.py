"""The JSON schema for editors says what the models say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from homelab_provision.site.machines import machines_schema
from tests.unit.site.sites import MACHINES

TOP = Path(__file__).parents[3]
COMMITTED = TOP / "docs" / "reference" / "machines.schema.json"
jsonschema = pytest.importorskip("jsonschema")


def test_the_committed_schema_is_the_generated_one() -> None:
    """After a change of the models: `provision config schema > docs/reference/machines.schema.json`."""
    assert COMMITTED.read_text() == json.dumps(machines_schema(), indent=2) + "\n"


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(machines_schema())


@pytest.mark.parametrize("site", ["lab", "example"])
def test_the_sites_of_the_repository_keep_to_it(site: str) -> None:
    text = (TOP / "inventories" / site / "machines.yml").read_text()
    assert text.startswith("# yaml-language-server: $schema=../../docs/reference/machines.schema.json\n")
    jsonschema.validate(yaml.safe_load(text), machines_schema())


@pytest.mark.negative
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("serial: AAA0001", "serail: AAA0001"),
        ("plays: db-wyse", "name: db-wyse"),
        ("52:54:00:50:70:0a", "52:54:00:50:70"),
        ("size: 256 GB}", "size: about 256 GB}"),
        ("    plays: db-wyse", "    way: usbstick"),
        ("machines:\n", "mashines:\n"),
    ],
)
def test_an_editor_sees_mistakes(old: str, new: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(MACHINES.replace(old, new, 1)), machines_schema())
