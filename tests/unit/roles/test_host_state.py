"""The module `host_state` as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.roles import modules


def test_documentation_names_every_argument_with_its_default() -> None:
    module = modules.module()
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    assert documented.keys() == module.arguments().keys()
    for name, argument in module.arguments().items():
        options = argument.get("options", {})
        told = documented[name].get("suboptions", {})
        assert told.keys() == options.keys()
        for option, meaning in options.items():
            assert told[option].keys() <= {"description", "type", "default", "choices", "required", "elements"}
            for word in ("type", "default", "choices", "required", "elements"):
                assert told[option].get(word) == meaning.get(word), (name, option, word)


def test_what_is_not_given_is_left_alone(tmp_path: Path, capsys: Any) -> None:
    answer = modules.play({}, tmp_path, capsys)
    assert answer["changed"] is False
    assert not answer.keys() & {"packages", "accounts", "files", "units"}


@pytest.mark.negative
def test_the_text_of_a_file_does_not_go_into_the_journal(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    logged: list[str] = []
    module = modules.module()
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.log", lambda self, text, **_: logged.append(text))
    monkeypatch.setattr(modules, "module", lambda: module)
    files = [{"path": str(tmp_path / "absent"), "state": "absent"}]
    modules.play({"files": files}, tmp_path, capsys)
    assert logged == []
