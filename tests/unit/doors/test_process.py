"""The door to other programs: deadlinesion, clean environments, no orphans."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from homelab_provision.doors.process import ProcessError, background, environment, interact, interrupt, run
from homelab_provision.errors import Interrupted

pytestmark = pytest.mark.processes


def test_returns_both_streams() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2"], deadline=10)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 0)


def test_standard_input_is_closed_unless_given() -> None:
    assert run(["cat"], deadline=10).stdout == ""
    assert run(["cat"], deadline=10, input="told").stdout == "told"


def test_large_input_and_output_do_not_block_each_other() -> None:
    text = "x" * 3_000_000
    assert run(["cat"], deadline=30, input=text).stdout == text


def test_deadline_kills_the_whole_group(tmp_path: Path) -> None:
    marker = tmp_path / "grandchild"
    with pytest.raises(ProcessError, match="gave up after"):
        run(["sh", "-c", f"(sleep 5; touch {marker}) & sleep 60"], deadline=0.5)
    time.sleep(0.2)
    assert not any(str(marker) in line for line in _command_lines())


def test_a_deadline_of_silence_spares_what_talks() -> None:
    talks = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 0.2; echo $i; done"
    assert run(["sh", "-c", talks], deadline=2, of_silence=True).seconds > 2
    with pytest.raises(ProcessError, match="gave up after 2 s without a word"):
        run(["sh", "-c", "echo once; sleep 60"], deadline=2, of_silence=True)


def test_failure_carries_the_tail() -> None:
    with pytest.raises(ProcessError) as caught:
        run(["sh", "-c", "seq 1000 >&2; exit 3"], deadline=10)
    assert caught.value.returncode == 3
    assert (caught.value.evidence or "").endswith("999\n1000")


def test_missing_program_says_so() -> None:
    with pytest.raises(ProcessError, match="is not installed"):
        run(["no-such-program-anywhere"], deadline=1)


def test_environment_is_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_USER", "x")
    shown = run(["env"], deadline=10, env={"EXTRA": "1"}).stdout
    assert "A_SECRET_OF_THE_USER" not in shown
    assert "EXTRA=1" in shown
    assert "LC_ALL=C.UTF-8" in shown


def test_lines_are_seen_as_they_come() -> None:
    seen: list[str] = []
    run(["printf", "one\\ntwo\\rthree"], deadline=10, on_line=seen.append)
    assert seen == ["one", "two", "three"]


@pytest.mark.negative
@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyError("done"), TypeError("no"), RecursionError("deep")], ids=repr
)
def test_a_line_that_is_not_understood_ends_the_child_at_once(error: Exception) -> None:
    def misunderstand(line: str) -> None:
        raise error

    started = time.monotonic()
    with pytest.raises(ProcessError, match="cannot be understood") as caught:
        run(["sh", "-c", 'echo \'{"done": "x"}\'; yes; sleep 60'], deadline=60, on_line=misunderstand)
    assert time.monotonic() - started < 15
    assert caught.value.evidence == '{"done": "x"}'
    assert caught.value.__cause__ is error


@pytest.mark.negative
def test_a_full_disk_met_while_reading_is_not_blamed_on_the_child() -> None:
    def full(line: str) -> None:
        raise OSError(28, "No space left on device", "journal.jsonl")

    with pytest.raises(OSError, match="No space left"):
        run(["echo", "fine"], deadline=10, on_line=full)


@pytest.mark.negative
def test_output_without_end_is_not_kept() -> None:
    seen = 0

    def count(line: str) -> None:
        nonlocal seen
        seen += len(line)

    flood = "import sys\nfor _ in range(200): sys.stdout.write('x' * 2**20)\nprint('\\nlast')"
    done = run([sys.executable, "-c", flood], deadline=60, on_line=count)
    assert done.stdout.endswith("last\n")
    assert "bytes left out" in done.stdout
    assert len(done.stdout) < 20 * 2**20
    assert seen < 20 * 2**20  # a line without end is passed on as far as a line may be
    with pytest.raises(ProcessError, match="printed more than"):
        run([sys.executable, "-c", flood], deadline=60)


@pytest.mark.negative
def test_bytes_that_are_no_text_are_lines_all_the_same() -> None:
    seen: list[str] = []
    run(["printf", r"\377\376\000x\nnext\n"], deadline=10, on_line=seen.append)
    assert seen == ["\ufffd\ufffd\0x", "next"]


@pytest.mark.negative
def test_what_cannot_be_started_says_why(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="cannot be started"):
        run(["true"], deadline=10, cwd=tmp_path / "gone")
    with pytest.raises(ProcessError, match="null byte"):
        run(["echo", "a\0b"], deadline=10)
    with pytest.raises(ProcessError, match="too long"):
        run(["echo", "x" * 200_000], deadline=10)
    with (
        pytest.raises(ProcessError, match="is not installed"),
        background(["no-such-program-anywhere"], ready=lambda: True),
    ):
        pytest.fail("it started")
    with pytest.raises(ProcessError, match="is not installed"):
        interact(["no-such-program-anywhere"])


def test_child_dies_with_a_killed_parent(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = (
        "from homelab_provision.doors.process import run\n"
        f"run(['sh', '-c', 'echo $$ > {pid_file}; exec sleep 60'], deadline=60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    for _ in range(200):
        if pid_file.exists() and pid_file.read_text().strip():
            break
        time.sleep(0.05)
    child = int(pid_file.read_text())
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not _lives(child):
            return
        time.sleep(0.05)
    pytest.fail("the child outlived its killed parent")


def test_ctrl_c_is_heard_in_a_thread_that_waits_for_a_program(tmp_path: Path) -> None:
    heard: list[BaseException] = []

    def work() -> None:
        for words in (["sleep", "60"], ["true"]):  # what cleans up afterwards is not disturbed
            try:
                run(words, deadline=60)
            except Interrupted as error:
                heard.append(error)

    thread = threading.Thread(target=work)
    started = time.monotonic()
    thread.start()
    interrupt(thread)
    thread.join(timeout=30)
    assert time.monotonic() - started < 30
    (error,) = heard
    assert "sleep 60" in str(error)


def test_background_program_ends_with_the_block() -> None:
    with background(["sleep", "60"], ready=lambda: True) as pid:
        assert _lives(pid)
    assert not _lives(pid)


def test_environment_has_a_path_even_without_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATH")
    assert environment()["PATH"] == f"{os.defpath}:/usr/sbin:/sbin"


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


def _command_lines() -> list[str]:
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return [line for line in lines if line.startswith("sh -c")]
