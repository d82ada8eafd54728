"""Rules of the test beds."""

from __future__ import annotations

from pathlib import Path

import pytest


class TouchedTheMachine(BaseException):
    """A unit test started a program. A BaseException, so that no `except Exception` can swallow it."""


@pytest.fixture(autouse=True)
def no_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit tests touch no machine: a test that has to start programs says so with a marker."""
    allowed = ("processes", "lab")
    if not any(request.node.get_closest_marker(name) for name in allowed):

        def refuse(*words: object, **options: object) -> None:
            raise TouchedTheMachine(f"this test starts a program: {words[0] if words else options}")

        monkeypatch.setattr("homelab_provision.doors.process.subprocess.Popen", refuse)


@pytest.fixture(autouse=True)
def own_state(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs, locks and labs of a test are its own; only the cache of images is shared, by the tests that boot."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    if not request.node.get_closest_marker("lab"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
