"""Several machines at once: what is needed first comes first, what fails stops only what needs it."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from homelab_provision.errors import ExitCode
from tests.lab.conftest import Homelab
from tests.lab.test_data import PROJECT, answers, archive, load, sql

pytestmark = [pytest.mark.lab, pytest.mark.long]

ROWS = 1000
HOSTS = ("nas", "db-wyse", "site-wyse")
SPARE = "  wyse-b:  # the spare\n    model: wyse5070\n"


@pytest.fixture
def homelab(homelab: Homelab) -> Homelab:
    """Three hosts, each with a machine of its own."""
    homelab.edit(SPARE, f"{SPARE}    plays: site-wyse\n")
    return homelab


class Story:
    """What the journal of the newest run of a host says."""

    def __init__(self, homelab: Homelab, host: str) -> None:
        self.run = sorted(homelab.runs_folder.glob(f"[0-9]*-{host}"))[-1]

    def events(self) -> list[dict[str, Any]]:
        file = self.run / "journal.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def moment(self, kind: str, name: str = "") -> datetime:
        """The first event of this kind, with this name among what it says."""
        at = next(event["at"] for event in self.events() if event["kind"] == kind and name in ("", *event.values()))
        return datetime.fromisoformat(str(at))

    def came(self, kind: str, name: str) -> bool:
        return any(event["kind"] == kind and name in event.values() for event in self.events())


def results(said: str) -> dict[str, str]:
    return {one["host"]: one["result"] for one in json.loads(said)}


def test_a_home_that_lost_all_its_machines_comes_back_in_one_command(homelab: Homelab) -> None:
    for machine in ("nas-a", "wyse-a"):
        homelab.done("lab", "install", machine)
    homelab.done("apply", "nas", "db-wyse")
    sql(homelab, (PROJECT / "tools" / "spans.sql").read_text())
    load(homelab, ROWS, 1)
    homelab.done("apply", "db-wyse")
    homelab.done("backup", "db-wyse", "--type", "full", "--prove")
    archive(homelab)
    before = answers(homelab)
    homelab.on("nas", "touch /root/gone; sync")
    for machine in ("nas-a", "wyse-a"):
        homelab.machine(machine).power_off()
    homelab.machine("wyse-a").wipe()  # another disk in the same box

    planned = json.loads(homelab.run("rebuild", "--all", "--plan", "--json").stdout)
    assert {one["host"]: (one["machine"], one["keep_data"], one["after"]) for one in planned} == {
        "nas": ("nas-a", True, {}),
        "site-wyse": ("wyse-b", False, {}),
        "db-wyse": ("wyse-a", False, {"nas": "its backups"}),
    }
    done = homelab.run("rebuild", "--all", "--yes", "--json")
    assert done.returncode == ExitCode.DONE, done.stderr
    assert results(done.stdout) == dict.fromkeys(HOSTS, "proven")
    stories = {host: Story(homelab, host) for host in HOSTS}
    nas_ended = stories["nas"].moment("run_finished")
    assert nas_ended <= stories["db-wyse"].moment("run_started")
    assert stories["site-wyse"].moment("phase_started", "flash") < nas_ended, "they follow one another"
    assert answers(homelab) == before
    assert homelab.run("lab", "ssh", "nas", "--", "test", "-e", "/root/gone").returncode == ExitCode.FAILED
    homelab.done("verify", *HOSTS)
    listed = {row["name"]: row["plays"] for row in json.loads(homelab.run("machines", "list", "--json").stdout)}
    assert listed == {"wyse-a": "db-wyse", "wyse-b": "site-wyse", "nas-a": "nas"}


def test_what_fails_stops_only_what_needs_it_and_goes_on_by_itself(homelab: Homelab) -> None:
    """Blank machines over the network, where one start at a time is served; the NAS loses its power in mid-write."""
    words = ["rebuild", *HOSTS, "--way", "netboot", "--accept-unproven-backup", "--yes"]
    child = homelab.start(*words)
    wait_for(homelab, "nas", "step_started", "write the image")
    homelab.machine("nas-a").power_cut_after("system", 50_000_000, deadline=900)
    _, said = child.communicate(timeout=3600)
    assert child.returncode == ExitCode.FAILED, said
    assert "not begun: it needs nas for its backups" in said
    assert "provision rebuild nas --resume" in said
    assert "provision rebuild db-wyse --onto wyse-a --way netboot --accept-unproven-backup" in said
    assert "one at a time" in said, "both were started at once"
    assert Story(homelab, "site-wyse").came("run_finished", "proven")
    assert not list(homelab.runs_folder.glob("[0-9]*-db-wyse"))

    homelab.done("rebuild", "nas", "--resume", "--yes")
    assert homelab.latest()["result"] == "proven"
    homelab.done("verify", "nas", "site-wyse")


def wait_for(homelab: Homelab, host: str, kind: str, name: str) -> None:
    """Wait for an event of one of several runs."""
    give_up = time.monotonic() + 3600
    while not (run_of(homelab, host) and Story(homelab, host).came(kind, name)):
        assert time.monotonic() < give_up, "the moment never came"
        time.sleep(0.2)


def run_of(homelab: Homelab, host: str) -> list[Path]:
    return list(homelab.runs_folder.glob(f"[0-9]*-{host}"))
