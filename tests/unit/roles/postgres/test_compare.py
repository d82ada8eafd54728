"""The restored data once more: what differs, and what its users have changed since."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.roles.programs import part

fingerprint = part("fingerprint")
BEFORE = {
    "server_version": "17.6",
    "databases": {
        "spans": {
            "extensions": {"vector": "0.8.0"},
            "tables": {"public.spans": {"rows": 3, "checksum": "7"}, "public.notes": {"rows": 1, "checksum": "2"}},
        }
    },
}


def compare(monkeypatch: pytest.MonkeyPatch, written: list[str], **changed: Any) -> dict[str, Any]:
    """The comparison with a cluster whose table `public.spans` has `changed`."""
    now = copy.deepcopy(BEFORE)
    now["databases"]["spans"]["tables"]["public.spans"] |= changed  # type: ignore[index]
    monkeypatch.setattr(fingerprint, "take", lambda door: now)
    door = SimpleNamespace(ask=lambda sql, database: written)
    found: dict[str, Any] = fingerprint.compare(door, copy.deepcopy(BEFORE))
    return found


def test_equal_data(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compare(monkeypatch, []) == {"differences": [], "written": [], "tables": 2, "rows": 4}


@pytest.mark.negative
def test_rows_that_nobody_wrote_are_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    found = compare(monkeypatch, ["public.notes"], rows=2)
    assert found["differences"] == ["database spans, table public.spans: 2 rows instead of 3"]


def test_rows_that_somebody_wrote_are_named_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    found = compare(monkeypatch, ["public.spans", "public.new"], rows=4)
    assert found["differences"] == []
    assert found["written"] == ["database spans, table public.spans", "database spans, table public.new"]
    assert found["tables"] == 1
