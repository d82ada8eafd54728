"""What the role refuses before it touches a host, and what its module makes of the program's words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from homelab_provision import paths
from tests.unit.roles import modules

module = modules.module("inference", "inference")

BUILD = {
    "inference_build": "b1",
    "inference_build_source": "/srv/nas/b1.tar.gz",
    "inference_build_sha256": "0" * 64,
}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({**BUILD, "inference_listen": "192.168.1.12"}, "inference_api_keys is empty, so everybody could use its models"),
    ({**BUILD, "inference_listen": "0.0.0.0"}, "inference_api_keys is empty"),
    ({**BUILD, "inference_listen": "::"}, "inference_api_keys is empty"),
    ({**BUILD, "inference_api_keys": ["short"]}, "one word of 16 characters or more"),
    ({**BUILD, "inference_build_sha256": ""}, "its SHA-256 (64 hexadecimal digits)"),
    ({**BUILD, "inference_networks": ["lan"]}, "inference_networks are networks as numbers"),
    ({**BUILD, "inference_listen": "box.home.arpa"}, "inference_listen is an address"),
    ({**BUILD, "inference_min_kernel": {"debian": "new"}}, "'new' is no version of a kernel"),
    ({**BUILD, "inference_environment": {"A": "1\nExecStart=x"}}, "inference_environment has names in capitals"),
]


@pytest.mark.negative
@pytest.mark.processes
def test_what_would_be_wrong_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    """All cases in one play, which only tells what it would do."""
    tasks = [
        {
            "block": [{"ansible.builtin.include_role": {"name": "inference"}, "vars": given}],
            "rescue": [{"ansible.builtin.debug": {"msg": f"case {number}: {{{{ ansible_failed_result.msg }}}}"}}],
        }
        for number, (given, _) in enumerate(REFUSED)
    ]
    play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    content = {name: str(paths.content("playbooks") / name) for name in ("library", "action_plugins", "module_utils")}
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
        "ANSIBLE_ROLES_PATH": str(paths.content("roles")),
        "ANSIBLE_LIBRARY": content["library"],
        "ANSIBLE_ACTION_PLUGINS": content["action_plugins"],
        "ANSIBLE_MODULE_UTILS": content["module_utils"],
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
        "LC_ALL": "C.UTF-8",
    }
    words = ["ansible-playbook", "--check", "-i", "localhost,", "play.yml"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    told = " ".join(done.stdout.split())
    for number, (given, said) in enumerate(REFUSED):
        words_of_case = told.partition(f"case {number}: ")[2].partition("case ")[0]
        assert said in words_of_case, (given, done.stdout[-3000:], done.stderr)


def played(program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    monkeypatch.setattr(module, "PROGRAM", str(program))
    with patch_module_args({"document": {"port": 8080}, "_ansible_check_mode": True}), pytest.raises(SystemExit):
        module.main()
    return dict(json.loads(capsys.readouterr().out))


@pytest.mark.processes
@pytest.mark.parametrize(
    ("last", "told"),
    [
        (
            {"kind": "result", "changed": True, "actions": ["serve build b2"], "undeclared": ["/srv/models/old"]},
            {"changed": True, "actions": ["serve build b2"], "undeclared": ["/srv/models/old"]},
        ),
        (
            {"kind": "error", "message": "it will not do", "hint": "mend it"},
            {"failed": True, "msg": "it will not do\n→ mend it"},
        ),
        (
            {"kind": "error", "message": "it will not do", "hint": None, "evidence": "its last words"},
            {"failed": True, "msg": "it will not do\nits last words"},
        ),
    ],
)
def test_the_module_says_what_the_program_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    last: dict[str, Any],
    told: dict[str, Any],
) -> None:
    """Which gets the document, and is only asked to check where the play only checks."""
    program = tmp_path / "program"
    (tmp_path / "last").write_text(json.dumps(last))
    program.write_text(
        f'#!/bin/sh\ncat >{tmp_path}/got; echo "$*" >{tmp_path}/words; echo "{{}}"; cat {tmp_path}/last\n'
    )
    program.chmod(0o755)
    answer = played(program, monkeypatch, capsys)
    assert {key: answer[key] for key in told} == told
    assert json.loads((tmp_path / "got").read_text()) == {"port": 8080}
    assert (tmp_path / "words").read_text() == "apply --check\n"


def test_before_the_program_is_there_a_check_says_that_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert played(tmp_path / "none", monkeypatch, capsys)["changed"] is True
