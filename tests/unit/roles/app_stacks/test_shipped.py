"""Stacks that come with the toolkit: what a site's words make of them, as the role hands it to its program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from homelab_provision import paths
from tests.unit.roles import programs

database = programs.stacks("database")
desired = programs.stacks("desired")
values = programs.stacks("values")
ROLE = paths.content("roles") / "app_stacks"
NAMES = sorted(path.parent.name for path in (ROLE / "stacks").glob("*/stack.yml"))
DIGEST = f"sha256:{'0' * 64}"


def document(tmp_path: Path, stacks: list[dict[str, Any]]) -> Any:
    """What the role makes of `app_stacks`, by its own variables."""
    files = sorted((ROLE / "vars" / "main").glob("*.yml"))
    out = tmp_path / "document.json"
    task = {
        "ansible.builtin.copy": {"dest": str(out), "content": "{{ __app_stacks_document | to_json }}", "mode": "0600"}
    }
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {**defaults, "app_stacks_backup_share": "", "role_path": str(ROLE), "app_stacks": stacks},
        "vars_files": [str(file) for file in files],
        "tasks": [task],
    }
    playbook = tmp_path / "play.yml"
    playbook.write_text(json.dumps([play]))
    (tmp_path / "hosts.yml").write_text("all: {hosts: {localhost: }}\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "--inventory", tmp_path / "hosts.yml", playbook],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text())


def entry(name: str) -> dict[str, Any]:
    """As a site has one: what it alone can know."""
    shipped = yaml.safe_load((ROLE / "stacks" / name / "stack.yml").read_text())
    version = shipped.get("version", "1")
    images = {image: f"registry.home.arpa/{image}:{version}@{DIGEST}" for image in shipped["images"]}
    made = {
        "name": name,
        "stack": name,
        "version": version,
        "images": images,
        "secrets": dict.fromkeys(shipped["secrets"], "s3cret"),
    }
    made["files"] = {"sites.caddy": "notes.home.arpa {}"}
    return made | {"database": {"host": "db-wyse", "password": "s3cret"}}


def parsed(stack: dict[str, Any], projects: dict[str, str]) -> Any:
    return desired.parse(database.furnished(stack, {"db-wyse": "192.0.2.10"}, "a certificate"), projects)


def test_the_interface_names_those_that_there_are() -> None:
    options = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert options["app_stacks"]["options"]["stack"]["choices"] == NAMES
    assert NAMES


@pytest.mark.processes
def test_each_is_whole_with_what_only_a_site_can_know_and_yields_to_it(tmp_path: Path) -> None:
    last = entry(NAMES[-1]) | {"name": "mine", "environment": {"OWN": "yes"}, "health": {"seconds": 7}}
    made = document(tmp_path, [*map(entry, NAMES), last])
    stacks = {each["name"]: each for each in made["stacks"]}
    for name in NAMES:
        whole = parsed(stacks[name], made["projects"])
        assert whole.version
        assert whole.told["health"]["url"]
        assert yaml.safe_load(whole.files["compose.yml"])["services"]
    shipped = yaml.safe_load((ROLE / "stacks" / NAMES[-1] / "stack.yml").read_text())
    mine = stacks["mine"]
    assert mine["health"] == {**shipped["health"], "seconds": 7}
    assert mine["environment"] == {**shipped.get("environment", {}), "OWN": "yes"}
    assert made["projects"]["mine"] == made["projects"][NAMES[-1]]


@pytest.mark.processes
def test_one_that_was_copied_into_the_site_is_found_there(tmp_path: Path) -> None:
    shutil.copytree(ROLE / "stacks" / "own-app", tmp_path / "stacks" / "search")
    (tmp_path / "stacks" / "search" / "compose.yml").write_text("services: {mine: {image: x}}\n")
    [stack] = document(tmp_path, [{"name": "search", "memory": "3G"}])["stacks"]
    shipped = yaml.safe_load((ROLE / "stacks" / "own-app" / "stack.yml").read_text())
    assert stack == {**shipped, "name": "search", "memory": "3G"}


@pytest.mark.negative
@pytest.mark.parametrize("name", NAMES)
def test_an_image_or_a_secret_that_nobody_gave_is_named(name: str) -> None:
    shipped = yaml.safe_load((ROLE / "stacks" / name / "stack.yml").read_text())
    projects = {name: (ROLE / "stacks" / name / "compose.yml").read_text()}
    whole = {**shipped, **entry(name)}
    parsed(whole, projects)
    for image in shipped["images"]:
        with pytest.raises(values.Wrong, match=f"stack {name}: the image {image} has to be NAME:TAG@sha256"):
            parsed({**whole, "images": {**whole["images"], image: ""}}, projects)
    for secret in shipped["secrets"]:
        with pytest.raises(values.Wrong, match=f"stack {name}: the secret {secret} has no value"):
            parsed({**whole, "secrets": {**whole["secrets"], secret: ""}}, projects)
