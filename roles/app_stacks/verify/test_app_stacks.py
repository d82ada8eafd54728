"""What a host shows when the role `app_stacks` has done its work: every stack runs, and keeps its secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest

HOME = "/etc/homelab-provision/stacks"

# The questions of each stack, asked by the program that asks for its health at the start.
ASK = """
python3 -IBc 'import json, sys
sys.path.insert(0, "/usr/local/lib/homelab-provision")
from homelab_stacks import health
for stack in json.load(open("/etc/homelab-provision/stacks.json"))["stacks"]:
    for question in (stack["health"], *stack["checks"]):
        answer = health.objection(health.parse(question, stack["name"])) or "as it should be"
        print(stack["name"], question["url"], answer, sep=" ")'
"""
READ = f"""
find {HOME} -type f '(' -path '*/secrets/*' -o -name environment ')' | while read -r file; do
    runuser -u nobody -- cat "$file" >/dev/null 2>&1 && echo "nobody reads $file"
done
find {HOME} -type f -path '*/secrets/*' | wc -l
"""

QUESTIONS = {
    "stacks": "cat /etc/homelab-provision/stacks.json",
    "units": "systemctl show --property=Id,ActiveState,UnitFileState 'stack-*.service'",
    "ask": ASK,
    "read": READ,
    "halfway": f"ls -d {HOME}/*.previous {HOME}/*.next /srv/stacks/.upgrade-* 2>/dev/null; true",
    "timers": "systemctl is-active homelab-backup@app_stacks.timer homelab-prove@app_stacks.timer; true",
    "key": "stat --format='%a %U' /etc/homelab-provision/stacks-backup-key 2>/dev/null; true",
    "restart": "docker ps -q | xargs -r docker inspect --format '{{.Name}} {{.HostConfig.RestartPolicy.Name}}'; true",
}


@pytest.fixture(scope="module")
def stacks(answers: Any) -> list[dict[str, Any]]:
    """What the role says of each stack."""
    return list(json.loads(answers["stacks"].text)["stacks"])


def test_every_stack_runs_and_comes_with_the_boot(answers: Any, stacks: Any) -> None:
    blocks = [dict(line.split("=", 1) for line in text.splitlines()) for text in answers["units"].text.split("\n\n")]
    states = {block["Id"]: (block["ActiveState"], block["UnitFileState"]) for block in blocks if block}
    assert {stack["unit"]: states.get(stack["unit"]) for stack in stacks} == {
        stack["unit"]: ("active", "enabled") for stack in stacks
    }


def test_every_stack_does_what_it_is_for(answers: Any, stacks: Any) -> None:
    assert answers["ask"].text.splitlines() == [
        f"{stack['name']} {question['url']} as it should be"
        for stack in stacks
        for question in (stack["health"], *stack["checks"])
    ]


def test_no_change_was_left_halfway(answers: Any) -> None:
    assert answers["halfway"].text == ""


def test_what_is_kept_is_backed_up_and_proven(answers: Any) -> None:
    desired = "active" if json.loads(answers["stacks"].text)["share"] else "inactive"
    assert answers["timers"].text.split() == [desired, desired]


@pytest.mark.negative
def test_nobody_but_root_reads_secrets(answers: Any) -> None:
    assert answers["key"].text in ("600 root", "")
    *readable, count = answers["read"].text.splitlines()
    assert readable == []
    if count == "0":
        pytest.skip("no stack has a secret")


@pytest.mark.negative
def test_no_container_is_started_past_its_unit(answers: Any) -> None:
    """The engine would start it at boot without waiting for its shares."""
    lines = [line.split() for line in answers["restart"].text.splitlines()]
    assert [line for line in lines if line[-1] in ("always", "unless-stopped")] == []
