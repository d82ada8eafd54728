"""The throw-away copy of a compose project, made from what docker compose 2.26 really says of one (the JSON file)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.programs import library, stacks

made_by = stacks("throwaway")
Trouble = library("errors").Trouble
FOLDER = Path("/srv/stacks/notes")
SCRATCH = Path("/srv/stacks/.proof/notes/srv/stacks/notes")
TOLD = Path(__file__).with_name("compose_config.json").read_text()


@pytest.fixture
def made() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made_by.throwaway(TOLD, "notes", FOLDER, SCRATCH))
    return found


def test_it_reaches_nothing_and_nobody_reaches_it(made: dict[str, Any]) -> None:
    assert made["name"] == "proof-notes"
    assert made["networks"] == {"proof": {"internal": True}}
    for name in ("app", "db"):
        assert list(made["services"][name]["networks"]) == ["proof"]
    assert made["services"]["app"]["networks"]["proof"] == {"aliases": ["notes.example"]}
    assert made["services"]["side"]["network_mode"] == "service:app"
    assert "networks" not in made["services"]["side"]


@pytest.mark.negative
@pytest.mark.parametrize(
    "word",
    ["ports", "container_name", "privileged", "pid", "labels", "logging", "cap_add", "devices", "restart_policy"],
)
def test_what_would_touch_the_host_or_the_live_stack_is_gone(made: dict[str, Any], word: str) -> None:
    assert f'"{word}"' in TOLD
    assert f'"{word}"' not in json.dumps(made)


@pytest.mark.negative
@pytest.mark.parametrize("word", ["docker.sock", "everybodys", "shared_back", "10.9.0.5", '"host"', "notes_cache"])
def test_nothing_of_others_is_in_it(made: dict[str, Any], word: str) -> None:
    assert word in TOLD
    assert word not in json.dumps(made)


def test_it_works_on_the_scratch_data_alone(made: dict[str, Any]) -> None:
    volumes = {each["target"]: each for each in made["services"]["app"]["volumes"]}
    assert volumes["/data"]["source"] == f"{SCRATCH}/data"
    assert volumes["/fixed"]["source"] == f"{SCRATCH}/fixed"
    assert (volumes["/media"]["source"], volumes["/media"]["read_only"]) == ("/mnt/media", True)
    assert volumes["/media"]["bind"] == {"create_host_path": False}
    assert volumes["/cache"] == {"type": "volume", "source": "cache", "target": "/cache", "volume": {}}
    assert made["volumes"] == {"cache": {}, "shared": {}}
    assert "/tmp" in volumes


def test_it_is_the_stack_otherwise(made: dict[str, Any]) -> None:
    app, told = made["services"]["app"], json.loads(TOLD)["services"]["app"]
    for same in ("image", "environment", "depends_on", "healthcheck", "secrets", "hostname"):
        assert app[same] == told[same], same
    # A $ of a value is written twice in what compose says, and read once again from what is made of it.
    assert app["environment"]["PRICE"] == "5$$"
    assert app["deploy"] == {"resources": told["deploy"]["resources"]}
    assert (app["restart"], app["pull_policy"]) == ("no", "missing")
    assert made["secrets"] == {"token": {"file": "/etc/homelab-provision/stacks/notes/token"}}


@pytest.mark.negative
@pytest.mark.parametrize(
    "told", ["", "[]", "{}", '{"services": {"app": []}}', '{"services": {"a": {"volumes": [{}]}}}']
)
def test_what_is_not_understood_is_refused(told: str) -> None:
    with pytest.raises(Trouble, match="the stack notes in a way that is not understood"):
        made_by.throwaway(told, "notes", FOLDER, SCRATCH)


@pytest.mark.negative
def test_a_link_in_the_restored_data_that_leads_out_is_seen(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    (scratch / "fixed").mkdir(parents=True)
    text = made_by.throwaway(TOLD.replace(str(SCRATCH), str(scratch)), "notes", FOLDER, scratch)
    assert made_by.outside(text, scratch) == []
    (scratch / "data").symlink_to("/srv/stacks/wiki/data")
    assert made_by.outside(text, scratch) == [f"{scratch}/data"]
