"""The playbook that measures: what it asks of systemd, and what it brings to this computer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from homelab_provision import paths

PLAYBOOK = paths.content("playbooks") / "benchmark-inference.yml"
FILES = ("results.json", "comparison.json", "table.txt", "plot.svg")
SYSTEMCTL = "#!/bin/sh\n[ $* = 'status --lines=0 homelab-inference.service' ] && exit {served}\nexit 4\n".replace(
    "$*", '"$*"'
)
SYSTEMD_RUN = """#!{python}
import json, pathlib, sys
folder = pathlib.Path({folder!r})
(folder / "asked.json").write_text(json.dumps(sys.argv[1:]))
(folder / "results").mkdir()
for name in {files!r}:
    (folder / "results" / name).write_text("of " + name + "\\n")
print("words of llama-bench", file=sys.stderr)
sys.exit({ends})
"""


def play(folder: Path, served: int, ends: int) -> subprocess.CompletedProcess[str]:
    """Play it against this computer, whose systemd is a script."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "systemctl").write_text(SYSTEMCTL.format(served=served))
    (programs / "systemd-run").write_text(
        SYSTEMD_RUN.format(python=sys.executable, folder=str(folder), files=FILES, ends=ends)
    )
    for each in programs.iterdir():
        each.chmod(0o755)
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (folder / "hosts.json").write_text(json.dumps({"inference": {"hosts": {"box": host}}}))
    told = {"benchmark_inference_results": str(folder / "results"), "benchmark_inference_bandwidth": 215}
    return subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            f"--inventory={folder}/hosts.json",
            f"--extra-vars={json.dumps(told)}",
            PLAYBOOK,
        ],
        capture_output=True,
        text=True,
        env={
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "ANSIBLE_HOME": str(folder / "ansible"),
            "ANSIBLE_CONFIG": str(paths.content("ansible.cfg")),
            "LC_ALL": "C.UTF-8",
        },
    )


@pytest.mark.processes
def test_it_measures_while_nobody_is_served_and_brings_what_there_is(tmp_path: Path) -> None:
    done = play(tmp_path, served=0, ends=0)
    assert done.returncode == 0, done.stdout + done.stderr
    asked = json.loads((tmp_path / "asked.json").read_text())
    for word in ("Conflicts", "After", "OnSuccess", "OnFailure"):
        assert f"--property={word}=homelab-inference.service" in asked
    assert asked[-7:] == [
        "python3",
        "-B",
        "-m",
        "homelab_inference.benchmark",
        "--models=/run/credentials/homelab-inference-benchmark.service/models",
        f"--out={tmp_path}/results",
        "--bandwidth=215",
    ]
    brought = tmp_path / "benchmarks/box"
    assert {path.name: path.read_text() for path in brought.iterdir()} == {name: f"of {name}\n" for name in FILES}
    assert "of table.txt" in done.stdout


@pytest.mark.processes
def test_what_did_not_run_is_not_started_and_a_model_that_failed_is_said_to_have(tmp_path: Path) -> None:
    done = play(tmp_path, served=3, ends=1)
    assert done.returncode == 2
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert not any(word.startswith("--property=On") for word in asked)
    # What was measured is brought all the same.
    assert (tmp_path / "benchmarks/box/plot.svg").exists()
    assert "of table.txt" in done.stdout


@pytest.mark.negative
@pytest.mark.processes
def test_when_nothing_could_be_measured_nothing_is_brought(tmp_path: Path) -> None:
    done = play(tmp_path, served=0, ends=2)
    assert done.returncode == 2
    assert not (tmp_path / "benchmarks").exists()
    assert "words of llama-bench" in done.stdout
