"""ansible-runner's JSON lines become events."""

from __future__ import annotations

import json
from pathlib import Path

from homelab_provision import paths
from homelab_provision.doors.ansible import HOW_FAR, Playbook, _Listener
from homelab_provision.events import Event, Notice, Outcome, Progress, TaskFinished


def line(kind: str, **data: object) -> str:
    return json.dumps({"event": kind, "event_data": {"host": "db", "play": "p", "task": "t", **data}})


SAID = {"slow": "words: building index 45 %", "silent": ""}


def listen(*lines: str) -> tuple[_Listener, list[Event]]:
    seen: list[Event] = []
    listener = _Listener(seen.append, SAID.__getitem__)
    for one in lines:
        listener.line(one)
    return listener, seen


def test_changed_task_is_told_apart_from_one_that_found_all_in_order() -> None:
    listener, seen = listen(
        line("playbook_on_task_start", name="t"),
        line("runner_on_ok", res={"changed": True}, duration=1.5),
        line("runner_on_ok", res={"changed": False}, duration=0.5),
    )
    assert isinstance(seen[0], Progress)
    assert [event.result for event in seen if isinstance(event, TaskFinished)] == [Outcome.CHANGED, Outcome.OK]
    assert listener.counts[Outcome.CHANGED] == 1
    assert not listener.failures


def test_a_task_that_takes_long_says_how_far_it_is() -> None:
    _, seen = listen(
        line("playbook_on_task_start", name="Build the indexes"),
        line("runner_on_async_poll", host="silent", task="async_status"),
        line("runner_on_async_poll", host="slow", task="async_status"),
    )
    assert [event.name for event in seen if isinstance(event, Progress)] == [
        "Build the indexes",
        "Build the indexes",
        "words: building index 45 %",
    ]


def test_modules_write_where_the_controller_reads() -> None:
    assert (
        f'openlog("{HOW_FAR[2]}")'
        in (paths.content("roles") / "postgres" / "library" / "postgres_index.py").read_text()
    )


def test_failure_carries_its_message_unless_it_was_expected() -> None:
    listener, seen = listen(
        line("runner_on_failed", res={"msg": "broken"}),
        line("runner_on_failed", res={"msg": "fine"}, ignore_errors=True),
        line("runner_on_unreachable", res={"msg": "gone"}),
    )
    assert listener.failures == ["db: t: broken", "db: t: gone"]
    assert len(seen) == 3


def test_warnings_reach_the_person_who_watches() -> None:
    usual = "Module remote_tmp /root/.ansible/tmp did not exist and was created with a mode of 0700"
    _, seen = listen(line("runner_on_ok", res={"warnings": [usual, "192.168.50.20 does not answer"]}))
    assert [event.text for event in seen if isinstance(event, Notice)] == ["db: 192.168.50.20 does not answer"]


def test_hidden_output_is_not_shown() -> None:
    listener, _ = listen(line("runner_on_failed", res={"censored": "hidden"}))
    assert listener.failures == ["db: t: failed (the task hides its output)"]


def test_command_line_limits_and_checks() -> None:
    playbook = Playbook(Path("p.yml"), Path("hosts.yml"), Path("cfg"), limit="db-wyse", check=True)
    assert playbook.command_line() == "--limit db-wyse --check --diff"
