"""Private directories, and what killed processes have left in theirs."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from homelab_provision.files import scratch

HOLD = """
import time
from homelab_provision.files import scratch
with scratch() as folder:
    (folder / "variables.json").write_text("hunter2")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_it_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with scratch() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_what_a_killed_process_left_is_swept_up_and_what_one_still_has_is_not(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        folder = Path(child.stdout.readline().strip())
        with scratch():
            assert (folder / "variables.json").exists()
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        assert (folder / "variables.json").exists()
        with scratch():
            assert not folder.exists()


@pytest.mark.negative
def test_what_is_nobodys_of_ours_stays(tmp_path: Path) -> None:
    (tmp_path / "hlp-notes").mkdir()
    (tmp_path / "hlp-link").symlink_to(tmp_path / "hlp-notes")
    with scratch():
        pass
    assert {each.name for each in tmp_path.iterdir()} == {"hlp-notes", "hlp-link"}
