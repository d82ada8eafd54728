"""What a playbook says reaches the person, the record and the data: real runs of Ansible, on this computer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homelab_provision.doors.ansible import Playbook, PlaybookFailed, as_text, diff_text, play
from homelab_provision.events import Event, Notice, Said

HEAD = "- hosts: all\n  connection: local\n  gather_facts: false\n  tasks:\n"


def run(tmp_path: Path, tasks: str, **options: Any) -> list[Event]:
    """Play these tasks; the events, also of a playbook that failed."""
    (tmp_path / "plays").mkdir(exist_ok=True)
    book = tmp_path / "plays" / "p.yml"
    book.write_text(HEAD + tasks)
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("all: {hosts: {db-wyse: {ansible_python_interpreter: /usr/bin/python3}}}\n")
    config = tmp_path / "ssh_config"
    config.touch()
    seen: list[Event] = []
    try:
        play(Playbook(book, inventory, config, **options), artifacts=tmp_path / "run", emit=seen.append)
    except PlaybookFailed as failed:
        seen.append(Notice(text=failed.evidence or ""))
    return seen


def said(events: list[Event]) -> list[tuple[str, str, str]]:
    return [(one.what, one.task, one.text) for one in events if isinstance(one, Said)]


@pytest.mark.processes
def test_messages_variables_and_loops_are_heard(tmp_path: Path) -> None:
    events = run(
        tmp_path,
        """
    - {name: plain, ansible.builtin.debug: {msg: hello}}
    - name: lines
      vars: {report: [one, two]}
      ansible.builtin.debug: {var: report}
    - name: mapping
      ansible.builtin.debug: {msg: {before: 1G, after: 2G}}
    - name: looped
      ansible.builtin.debug: {msg: "item {{ item }}"}
      loop: [a, b]
    - name: hidden
      ansible.builtin.debug: {msg: secret}
      no_log: true
    - {name: silent, ansible.builtin.set_fact: {x: 1}}
""",
    )
    assert said(events) == [
        ("message", "plain", "hello"),
        ("message", "lines", "one\ntwo"),
        ("message", "mapping", "before: 1G\nafter: 2G"),
        ("message", "looped", "item a"),
        ("message", "looped", "item b"),
    ]
    (mapping,) = [one for one in events if isinstance(one, Said) and one.task == "mapping"]
    assert mapping.data == {"before": "1G", "after": "2G"}


@pytest.mark.processes
@pytest.mark.negative
def test_what_a_failed_task_printed_is_heard(tmp_path: Path) -> None:
    events = run(
        tmp_path,
        """
    - name: break
      ansible.builtin.command: sh -c 'echo to the one; echo to the other >&2; exit 3'
""",
    )
    assert said(events) == [("failure", "break", "to the one\nto the other")]


@pytest.mark.processes
def test_changes_are_shown_when_they_are_asked_for(tmp_path: Path) -> None:
    tasks = f"    - {{name: write, ansible.builtin.copy: {{dest: {tmp_path}/file, content: new, mode: '0600'}}}}\n"
    (tmp_path / "file").write_text("old")
    assert said(run(tmp_path, tasks, check=True))[0][0] == "diff"
    assert (tmp_path / "file").read_text() == "old"
    ((what, task, text),) = said(run(tmp_path, tasks, diff=True))
    assert (what, task) == ("diff", "write")
    assert "-old" in text
    assert "+new" in text
    (tmp_path / "file").write_text("old")
    assert said(run(tmp_path, tasks)) == []


@pytest.mark.processes
def test_variables_tags_and_roles_pass_through(tmp_path: Path) -> None:
    role = tmp_path / "site" / "roles" / "mine" / "tasks"
    role.mkdir(parents=True)
    (role / "main.yml").write_text(
        "- {name: of the role, ansible.builtin.debug: {msg: '{{ word }}'}, tags: [wanted]}\n"
    )
    tasks = """
    - {name: other, ansible.builtin.debug: {msg: no}, tags: [unwanted]}
    - {name: own, ansible.builtin.include_role: {name: mine}, tags: [wanted]}
"""
    events = run(tmp_path, tasks, tags=("wanted",), roles=(tmp_path / "site" / "roles",), variables={"word": "given"})
    assert [text for _, _, text in said(events)] == ["given"]


@pytest.mark.processes
@pytest.mark.negative
@pytest.mark.parametrize(
    ("tasks", "reason"),
    [
        ("    - ansible.builtin.debug: {msg: a\n", "p.yml"),
        ("    - no.such.module: {}\n", "no.such.module"),
        ("    - ansible.builtin.include_role: {name: nobody}\n", "nobody"),
    ],
)
def test_a_playbook_that_fails_gives_its_reason(tmp_path: Path, tasks: str, reason: str) -> None:
    last = run(tmp_path, tasks)[-1]
    assert isinstance(last, Notice)
    assert reason in last.text


@pytest.mark.processes
def test_what_a_playbook_has_mended_itself_is_no_failure(tmp_path: Path) -> None:
    tasks = """
    - block:
        - {name: break, ansible.builtin.command: "false"}
      rescue:
        - {name: mend, ansible.builtin.debug: {msg: mended}}
"""
    assert said(run(tmp_path, tasks))[-1] == ("message", "mend", "mended")


@pytest.mark.processes
def test_variables_are_kept_in_no_artifact(tmp_path: Path) -> None:
    run(tmp_path, "    - {name: quiet, ansible.builtin.set_fact: {x: 1}}\n", variables={"word": "hunter2"})
    kept = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert kept
    assert [path for path in kept if b"hunter2" in path.read_bytes()] == []


@pytest.mark.processes
def test_a_play_for_nobody_says_so(tmp_path: Path) -> None:
    events = run(tmp_path, "    - ansible.builtin.debug: {msg: x}\n", limit="db-wyse,!db-wyse")
    assert any(isinstance(one, Notice) and "no host" in one.text.lower() for one in events)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", "a\nb"),
        (["a", 1], "a\n1"),
        ({"b": 1, "a": [1, 2]}, "b: 1\na:\n- 1\n- 2"),
        (True, "true\n..."),
        ([], ""),
    ],
)
def test_values_are_written_for_a_person(value: object, text: str) -> None:
    assert as_text(value) == text


def test_diffs_of_any_shape_are_text() -> None:
    assert diff_text(None) == diff_text([]) == diff_text("x") == ""
    assert diff_text({"prepared": "+ made\n"}) == "+ made"
    shown = diff_text([{"before": "a\n", "after": "b\n", "before_header": "/etc/x", "after_header": "/etc/x"}])
    assert shown.splitlines() == ["--- /etc/x", "+++ /etc/x", "@@ -1 +1 @@", "-a", "+b"]
