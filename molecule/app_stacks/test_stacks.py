"""Stacks that are changed, broken, cut off from what they need, killed on their way, backed up, lost and restored."""

from __future__ import annotations

import copy
import json
import re
import shlex
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from homelab_provision.data.backups import BackupProof, Record
from tests.container import Container

HERE = Path(__file__).parent
# As a person would wait: within a minute it is back.
MINUTE = 60


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest) -> Container:
    return Container.of(request.config)


@pytest.fixture(scope="module")
def digests(machine: Container) -> dict[str, str]:
    """Of the images in the registry, by their version."""
    folder = "/srv/registry/docker/registry/v2/repositories/notes/_manifests/tags"
    lines = machine.sh(f"cd {folder} && for tag in *; do echo $tag $(cat $tag/current/link); done").splitlines()
    return dict(line.split() for line in lines)


@pytest.fixture
def document(digests: dict[str, str]) -> dict[str, Any]:
    """What the role hands to the program, as converge.yml does; each test has one of its own."""
    text = (HERE / "files" / "stacks.yml").read_text().replace("DIGEST", digests["1.0"])
    stacks = yaml.safe_load(text)
    project = (HERE / "files" / "compose.yml").read_text().rstrip()  # as Ansible reads a file
    keep = {"daily": 7, "weekly": 5, "monthly": 12}
    return {
        "host": "app-stacks",
        "share": "/mnt/backup",
        "key": "a-key-of-the-scenario",
        "keep": keep,
        "second": {},
        "stacks": stacks,
        "projects": {"notes": project},
    }


def apply(machine: Container, document: dict[str, Any], *words: str) -> dict[str, Any]:
    """Run the program as the role's module does; its result."""
    text = shlex.quote(json.dumps(document))
    last = json.loads(machine.sh(f"homelab-stacks apply {' '.join(words)} <<<{text}").splitlines()[-1])
    assert last["kind"] == "result", last
    return dict(last)


def upgraded(document: dict[str, Any], version: str, digests: dict[str, str]) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    changed["stacks"][0]["version"] = version
    changed["stacks"][0]["images"]["notes"] = f"127.0.0.1:5000/notes:{version}@{digests[version]}"
    return changed


def ask(machine: Container, path: str = "/", port: int = 8081, data: str | None = None) -> str:
    """What the application answers to another machine; empty if it does not."""
    url = f"http://{machine.address}:{port}{path}"
    try:
        with urllib.request.urlopen(url, data=data.encode() if data else None, timeout=3) as answer:
            return str(answer.read().decode()).strip()
    except OSError:
        return ""


def started(machine: Container) -> list[str]:
    """When the stacks were last started: nothing was, as long as it stays the same."""
    found = machine.sh("systemctl show --property=ActiveEnterTimestampMonotonic --value stack-notes stack-plain")
    return found.split()


def within(seconds: float, question: Any) -> bool:
    deadline = time.monotonic() + seconds
    while not (found := question()) and time.monotonic() < deadline:
        time.sleep(1)
    return bool(found)


def test_declared_ports_answer_and_no_others(machine: Container) -> None:
    assert ask(machine) == "notes 1.0 good day"
    assert ask(machine, port=8083) == "notes 1.0 good night"
    assert ask(machine, port=8082) == "", "the project publishes it, and nobody declared it"
    assert "notes" in machine.sh("exec 3<>/dev/tcp/127.0.0.1/8082; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3")


def test_nothing_is_done_twice(machine: Container, document: dict[str, Any]) -> None:
    before = started(machine)
    assert apply(machine, document)["changed"] is False
    assert started(machine) == before


def test_a_change_touches_its_own_stack_only(machine: Container, document: dict[str, Any]) -> None:
    notes, plain = started(machine)
    document["stacks"][0]["environment"]["GREETING"] = "good evening"
    told = apply(machine, document, "--check")
    assert (told["changed"], told["stacks"]["notes"]["actions"]) == (True, ["changed"])
    assert ask(machine) == "notes 1.0 good day", "check mode changed it"
    assert apply(machine, document)["stacks"]["plain"]["actions"] == []
    assert ask(machine) == "notes 1.0 good evening"
    assert started(machine)[0] != notes
    assert started(machine)[1] == plain


def test_an_upgrade_keeps_the_data(machine: Container, document: dict[str, Any], digests: dict[str, str]) -> None:
    assert ask(machine, data="buy bread") == "kept"
    told = apply(machine, upgraded(document, "1.1", digests))
    assert told["stacks"]["notes"]["actions"] == ["from 1.0 to 1.1"]
    assert ask(machine) == "notes 1.1 good day"
    assert ask(machine, "/notes") == "buy bread"
    assert machine.sh("ls -A /srv/stacks") == "notes\nplain", "a copy of the data was left"


@pytest.mark.negative
def test_an_upgrade_that_does_not_work_is_undone(
    machine: Container, document: dict[str, Any], digests: dict[str, str]
) -> None:
    plain = started(machine)[1]
    told = apply(machine, upgraded(document, "broken", digests))["stacks"]["notes"]
    assert "notes broken does not work" in told["failed"]
    assert "1.1 runs again, with its data as they were" in told["failed"]
    assert "cannot read the notes: they are of a version that does not exist" in told["evidence"]
    assert ask(machine) == "notes 1.1 good day"
    assert ask(machine, "/notes") == "buy bread", "the data are what the broken version made of them"
    assert started(machine)[1] == plain


@pytest.mark.negative
@pytest.mark.parametrize("moment", [0.5, 4, 8])
def test_an_upgrade_that_is_killed_is_undone_by_the_next_run(
    machine: Container, document: dict[str, Any], digests: dict[str, str], moment: float
) -> None:
    text = shlex.quote(json.dumps(upgraded(document, "broken", digests)))
    machine.sh(f"homelab-stacks apply <<<{text} >/dev/null & sleep {moment}; kill -9 $!; wait || true")
    # As a power cut, which leaves no container behind that is still being stopped.
    machine.sh("systemctl kill --signal=KILL stack-notes.service")
    machine.sh("docker ps --quiet | xargs --no-run-if-empty docker kill; systemctl stop stack-notes.service")
    assert machine.sh("cat /srv/stacks/notes/data/notes") in ("buy bread", "all notes are lost")
    apply(machine, upgraded(document, "1.1", digests))
    assert ask(machine) == "notes 1.1 good day"
    assert ask(machine, "/notes") == "buy bread"
    assert machine.sh("ls -A /srv/stacks /etc/homelab-provision/stacks") == (
        "/etc/homelab-provision/stacks:\nnotes\nplain\n\n/srv/stacks:\nnotes\nplain"
    )


@pytest.mark.negative
def test_one_that_never_worked_says_so_each_time(
    machine: Container, document: dict[str, Any], digests: dict[str, str]
) -> None:
    wanted = upgraded(document, "1.1", digests)
    notes = wanted["stacks"][0]
    image = {"notes": f"127.0.0.1:5000/notes:broken@{digests['broken']}"}
    health = {"url": "http://127.0.0.1:8099/", "seconds": 3}
    other = {"name": "other", "version": "1", "images": image, "folders": notes["folders"], "health": health}
    project = 'services: {web: {image: "${IMAGE_NOTES}", volumes: ["/usr:/usr:ro", "${STACK_DATA}/data:/data"]}}'
    with_it = {**wanted, "stacks": [*wanted["stacks"], other], "projects": {**wanted["projects"], "other": project}}
    told = apply(machine, with_it)["stacks"]["other"]
    assert "other does not start" in told["failed"]
    assert "cannot read the notes" in told["evidence"]
    assert "other fails again and again" in apply(machine, with_it)["stacks"]["other"]["failed"]
    other["version"] = "2"
    assert (
        "1 is back, with its data as they were, and does not work either"
        in (apply(machine, with_it)["stacks"]["other"]["failed"])
    )
    assert apply(machine, wanted)["stacks"]["other"]["actions"] == ["removed; its data are kept"]
    machine.sh("rm -r /srv/stacks/other")
    assert ask(machine) == "notes 1.1 good day"


def test_new_ones_start_side_by_side(machine: Container, document: dict[str, Any], digests: dict[str, str]) -> None:
    """Each of the two is healthy when the other answers."""
    before = upgraded(document, "1.1", digests)
    text = '{image: "${IMAGE_NOTES}", volumes: ["/usr:/usr:ro", "${STACK_DATA}/data:/data"], ports: ["PORT:8000"]}'
    pair: list[dict[str, Any]] = []
    projects = dict(before["projects"])
    for name, port, other in (("here", 8091, 8092), ("there", 8092, 8091)):
        projects[name] = f"services: {{web: {text.replace('PORT', str(port))}}}"
        health = {"url": f"http://127.0.0.1:{other}/", "contains": "notes", "seconds": 20}
        image = {"notes": f"127.0.0.1:5000/notes:1.1@{digests['1.1']}"}
        pair.append({"name": name, "version": "1", "images": image, "folders": [{"path": "data"}], "health": health})
    told = apply(machine, {**before, "stacks": [*before["stacks"], *pair], "projects": projects})["stacks"]
    assert {name: (told[name]["actions"], told[name]["failed"]) for name in ("here", "there")} == {
        "here": (["installed 1"], None),
        "there": (["installed 1"], None),
    }
    apply(machine, before)
    machine.sh("rm -r /srv/stacks/here /srv/stacks/there")


WRONG = {
    "version": ("notes stays at 1.1: 1.0 is older", "say `downgrade: true`"),
    "digest": ("the image 127.0.0.1:5000/notes:1.1@sha256:00", "compare its tag and digest"),
    "compose": ("notes: compose.yml cannot be used", "mend it in the site"),
    "secret": ("the secret token has no value", "mend it in the site"),
}


@pytest.mark.negative
@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_work_is_named_and_touches_nothing(
    machine: Container, document: dict[str, Any], digests: dict[str, str], wrong: str
) -> None:
    before = started(machine)
    if wrong != "version":
        document = upgraded(document, "1.1", digests)
    match wrong:
        case "digest":
            document["stacks"][0]["images"]["notes"] = f"127.0.0.1:5000/notes:1.1@sha256:{'0' * 64}"
        case "compose":
            document["projects"]["notes"] = "services: [this is none"
        case "secret":
            document["stacks"][0]["secrets"]["token"] = ""
    message, hint = WRONG[wrong]
    text = shlex.quote(json.dumps(document))
    last = json.loads(machine.run(f"homelab-stacks apply <<<{text} | tail -n1").stdout)
    told = last if last["kind"] == "error" else last["stacks"]["notes"]
    assert message in (told.get("failed") or told.get("message"))
    assert hint in told["hint"]
    assert "a-secret-of" not in json.dumps(last)
    assert started(machine) == before
    assert ask(machine) == "notes 1.1 good day"


@pytest.mark.negative
def test_a_disk_that_is_full_in_mid_pull_costs_nobody_anything(
    machine: Container, document: dict[str, Any], digests: dict[str, str]
) -> None:
    """There is room for half of what has to be fetched."""
    before = started(machine)
    machine.sh("fallocate --length $(($(stat --file-system --format='%a * %S' /srv) - 50000000)) /srv/full")
    try:
        told = apply(machine, upgraded(document, "large", digests))["stacks"]["notes"]
    finally:
        machine.sh("rm /srv/full")
    assert "the image 127.0.0.1:5000/notes:large@sha256:" in told["failed"]
    assert "no space left" in told["evidence"]
    assert told["hint"].startswith("make room in /srv")
    assert started(machine) == before
    assert ask(machine) == "notes 1.1 good day"
    assert apply(machine, upgraded(document, "1.1", digests))["changed"] is False


def test_without_its_share_a_stack_waits_and_says_so(machine: Container) -> None:
    """As after a boot without the NAS: the others run, and this one starts by itself."""
    machine.sh(
        "umount /mnt/media && (systemctl restart stack-notes.service || true) && systemctl restart stack-plain.service"
    )
    assert ask(machine) == ""
    assert within(MINUTE, lambda: ask(machine, port=8083) == "notes 1.0 good night")
    said = machine.sh("journalctl --unit=stack-notes.service --output=cat --lines=20")
    assert "notes waits for the share at /mnt/media (nothing is mounted there)" in said
    assert machine.sh("systemctl show --property=ActiveState --value stack-notes.service") == "activating"
    machine.sh("mount --bind /nas/media /mnt/media")
    assert within(MINUTE, lambda: ask(machine) == "notes 1.1 good day")


def test_without_its_database_a_stack_waits_for_it(
    machine: Container, document: dict[str, Any], digests: dict[str, str]
) -> None:
    document = upgraded(document, "1.1", digests)
    document["stacks"][1]["databases"] = [{"host": "127.0.0.1", "port": 5439}]
    document["stacks"][1]["version"] = "1.0"
    told = apply(machine, document)["stacks"]["plain"]
    assert "plain waits for the database server 127.0.0.1:5439" in told["waits"]
    assert ask(machine, port=8083) == "notes 1.0 good night", (
        "what ran was stopped, though nothing could be told of the change"
    )


@pytest.fixture
def whole(machine: Container, document: dict[str, Any], digests: dict[str, str]) -> Iterator[dict[str, Any]]:
    wanted = upgraded(document, "1.1", digests)
    apply(machine, wanted)
    yield wanted
    apply(machine, wanted)


def test_the_data_come_back_from_a_backup(machine: Container, whole: dict[str, Any]) -> None:
    assert ask(machine, data="call home", port=8083) == "kept"
    machine.sh("systemctl start homelab-backup@app_stacks.service homelab-prove@app_stacks.service")
    name = machine.sh("cd /nas/backup/app_stacks && ls *F.json").split()[-1]
    record = Record.model_validate_json(machine.run(f"cat /nas/backup/app_stacks/{name}").stdout)
    proof = BackupProof.model_validate_json(machine.sh("cat /nas/backup/app_stacks/proof.json"))
    assert (proof.label, proof.host) == (record.label, "app-stacks")
    fingerprint = json.dumps(json.loads(machine.sh("homelab-stacks fingerprint | tail -n1"))["fingerprint"])
    machine.sh("systemctl stop stack-notes.service stack-plain.service && rm -r /srv/stacks/*/data")
    machine.sh("homelab-stacks restore && systemctl start stack-notes.service stack-plain.service")
    assert within(MINUTE, lambda: ask(machine, "/notes") == "buy bread")
    assert within(MINUTE, lambda: ask(machine, "/notes", 8083) == "call home")
    compared = json.loads(
        machine.sh(f"homelab-stacks fingerprint --against - <<<{shlex.quote(fingerprint)}").splitlines()[-1]
    )
    assert compared["differences"] == []
    assert machine.sh("docker ps --all --format '{{.Names}}'") == "notes-web-1", "a throw-away copy was left"


def test_a_stack_that_is_taken_away_keeps_its_data(machine: Container, whole: dict[str, Any]) -> None:
    less = {**whole, "stacks": whole["stacks"][:1]}
    assert apply(machine, less)["stacks"]["plain"]["actions"] == ["removed; its data are kept"]
    assert ask(machine, port=8083) == ""
    assert machine.sh("systemctl list-units --all --no-legend 'stack-plain*'") == ""
    assert machine.sh("cat /srv/stacks/plain/data/notes") == "call home"
    assert ask(machine) == "notes 1.1 good day"
    apply(machine, whole)
    assert ask(machine, "/notes", 8083) == "call home"


def test_one_whose_data_are_on_their_way_waits_for_them(machine: Container, whole: dict[str, Any]) -> None:
    """As on a host that is rebuilt, and loses its power before a restore has brought them."""
    apply(machine, {**whole, "stacks": whole["stacks"][:1]})
    awaiting = {**whole, "await_restore": True}
    assert apply(machine, awaiting)["stacks"]["plain"]["actions"] == ["installed 1.0"]
    assert apply(machine, awaiting)["changed"] is False
    assert ask(machine, port=8083) == ""
    assert machine.sh("systemctl is-enabled stack-plain || true") != "enabled"
    assert apply(machine, whole)["stacks"]["plain"]["actions"] == ["started"]
    assert ask(machine, "/notes", 8083) == "call home"
    assert machine.sh("systemctl is-enabled stack-plain") == "enabled"


@pytest.mark.negative
def test_no_secret_is_in_a_journal_or_an_environment(machine: Container) -> None:
    assert machine.run("journalctl --output=cat | grep -c a-secret-of").stdout.strip() == "0"
    told = machine.sh("docker inspect notes-web-1; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'")
    assert not re.search("a-secret-of", told)
    assert machine.sh("docker exec notes-web-1 /usr/bin/cat /run/secrets/token") == "a-secret-of-notes"
