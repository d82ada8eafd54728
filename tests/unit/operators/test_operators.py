"""Operators: a new one is one file, and everything else takes it from there."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from homelab_provision import operators, paths
from homelab_provision.errors import UsageError
from homelab_provision.events import discard
from homelab_provision.operators import Operator, operator_called
from tests.unit.site.sites import MACHINES, problems_of, site_of

METHODS = [name for name in vars(Operator) if not name.startswith("_")]
BUTLER = '''
"""The operator `butler`: rings once."""

def operator(site, console_log, emit, at_host):
    return f"the butler of {site.name}"
'''


def no_host(host: str, argv: Sequence[str], input: str, deadline: float) -> None:
    raise AssertionError(f"{host} is asked")


@pytest.fixture
def butler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An operator made with one file."""
    (tmp_path / "butler.py").write_text(BUTLER)
    monkeypatch.setattr(paths, "OPERATORS", [*paths.OPERATORS, tmp_path])
    monkeypatch.setattr(operators, "__path__", [*operators.__path__, str(tmp_path)])
    yield operator_called("butler")
    sys.modules.pop("homelab_provision.operators.butler")


@pytest.mark.parametrize("name", paths.operators())
def test_each_file_is_an_operator(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homelab_provision.lab.reach.lab_of", lambda site, emit: None)
    made = operator_called(name)(site_of(), tmp_path / "console", discard, no_host)
    assert made.patience > 0
    for method in METHODS:
        if method != "patience":
            mine, asked = getattr(made, method), getattr(Operator, method)
            assert list(signature(mine).parameters) == list(signature(asked).parameters)[1:]


@pytest.mark.negative
@pytest.mark.parametrize("name", ["robot", "__init__", "../lab/lab", ""])
def test_what_is_no_operator(name: str) -> None:
    with pytest.raises(UsageError, match="there is no operator") as refused:
        operator_called(name)
    assert refused.value.hint == "one of: lab, person, wol"


def test_a_site_may_use_a_new_operator(butler: Any, tmp_path: Path) -> None:
    site = site_of(MACHINES.replace("    plays: db-wyse\n", "    plays: db-wyse\n    operator: butler\n"))
    name = site.machine("wyse-a").operator
    assert operator_called(name)(site, tmp_path, discard, no_host) == "the butler of lab"  # type: ignore[comparison-overlap]


@pytest.mark.negative
def test_a_near_miss_is_told_with_its_line(butler: Any) -> None:
    said = problems_of(MACHINES.replace("    plays: db-wyse\n", "    plays: db-wyse\n    operator: buttler\n"))
    assert "machines.yml:4: machines.wyse-a.operator: `buttler` does not fit" in said
    assert "one of: butler, lab, person, wol" in said
    assert "did you mean `butler`?" in said
