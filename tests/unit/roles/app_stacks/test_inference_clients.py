"""Stacks that ask language models: `site.yml` tells them where the site's own are, and which key opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.app_stacks.test_databases import PASSWORD, played

CHAT = {"name": "chat", "stack": "open-webui", "secrets": {"session_key": "s", "admin_password": "a"}}
OPENCODE = {"name": "code", "stack": "opencode", "environment": {"INFERENCE_MODEL": "tiny"}}
ELSEWHERE = {
    "name": "elsewhere",
    "stack": "opencode",
    "environment": {"INFERENCE_URL": "http://192.0.2.99:1/v1"},
    "secrets": {"inference_key": "another-key"},
}
OTHER = {"name": "caddy", "stack": "caddy"}
# The first one serves only itself.
BOX = {"inference_api_keys": ["a-key-of-nobody-else"]}
SERVES = {"inference_api_keys": ["{{ secret_notes }}", "another"], "inference_port": 9000}


def told(folder: Path, hosts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    done = played(folder, {"site-wyse": {"app_stacks": [CHAT, OPENCODE, ELSEWHERE, OTHER]}, **hosts})
    assert done.status == 0, done.said
    return {stack["name"]: stack for stack in done.of("site-wyse")["stacks"]}


@pytest.mark.processes
@pytest.mark.parametrize(
    ("listen", "url"),
    [("192.0.2.200", "http://192.0.2.200:9000/v1"), ("0.0.0.0", "http://192.0.2.12:9000/v1")],
)
def test_they_get_address_and_key_of_the_host_that_serves_others(listen: str, url: str, tmp_path: Path) -> None:
    stacks = told(tmp_path, {"box": BOX, "db-two": SERVES | {"inference_listen": listen}})
    for name in ("chat", "code"):
        assert stacks[name]["environment"]["INFERENCE_URL"] == url
        assert stacks[name]["secrets"]["inference_key"] == PASSWORD
    assert stacks["chat"]["secrets"]["session_key"] == "s"
    assert stacks["code"]["environment"]["INFERENCE_MODEL"] == "tiny"
    # What the site says of one goes before, and who asks no models is told nothing.
    assert stacks["elsewhere"]["environment"]["INFERENCE_URL"] == "http://192.0.2.99:1/v1"
    assert stacks["elsewhere"]["secrets"]["inference_key"] == "another-key"
    assert "INFERENCE_URL" not in stacks["caddy"].get("environment", {})


@pytest.mark.negative
@pytest.mark.processes
def test_a_host_that_serves_only_itself_is_nobodys(tmp_path: Path) -> None:
    stacks = told(tmp_path, {"box": BOX, "db-two": SERVES | {"inference_listen": "127.0.0.1"}})
    assert "INFERENCE_URL" not in stacks["chat"]["environment"]
    assert stacks["chat"]["secrets"]["inference_key"] == ""
