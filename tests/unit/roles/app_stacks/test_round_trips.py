"""What a host with stacks costs: every task that reaches it is a round trip, however many stacks there are."""

from __future__ import annotations

import yaml

from homelab_provision import paths


def test_eight_stacks_cost_no_more_tasks_than_one() -> None:
    text = (paths.content("roles") / "app_stacks" / "tasks" / "main.yml").read_text()
    tasks = yaml.safe_load(text)
    # ansible.builtin.assert is done on the controller.
    assert [key for task in tasks for key in ("host_state", "app_stacks") if key in task] == [
        "host_state",
        "app_stacks",
    ]
    assert sum("ansible.builtin.assert" not in task for task in tasks) == 2
    assert not [task for task in tasks if "loop" in task], "a task for each stack"
