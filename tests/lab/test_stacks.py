"""Applications for real: they wait for what they need, are reached as declared, and outlive their machine."""

from __future__ import annotations

import time
from typing import Any

import pytest

from homelab_provision.errors import ExitCode
from homelab_provision.site.loading import load_site
from homelab_provision.site.vault.store import Vault
from tests.asking import Answer, question, visit
from tests.lab import registry
from tests.lab.applications import (
    ADA,
    CALENDAR,
    CHATS,
    DATABASE,
    DOOR,
    ELSEWHERE,
    FRIEND,
    LABELS,
    LAN,
    MAIL,
    MLFLOW,
    NAS,
    NOTES,
    SITE,
    SLOW,
    describe,
)
from tests.lab.conftest import Homelab

pytestmark = [pytest.mark.lab, pytest.mark.long]

READER = {"address": "192.168.50.1", "access": "ro", "insecure": True}
ENTRY = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//EN
BEGIN:VEVENT
UID:1
SUMMARY:buy bread
DTSTAMP:20261126T120000Z
DTSTART:20261127T080000Z
END:VEVENT
END:VCALENDAR
""".replace("\n", "\r\n")
MOODS = """
<View>
  <Text name="review" value="$text"/>
  <Choices name="mood" toName="review"><Choice value="good"/><Choice value="bad"/></Choices>
</View>
"""
LABEL = {"from_name": "mood", "to_name": "review", "type": "choices", "value": {"choices": ["good"]}}
PACKAGES = f"""set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -qq install --no-install-recommends restic-rest-server apache2-utils >/dev/null
mkdir -p /srv/elsewhere
htpasswd -iBc /srv/elsewhere/.htpasswd {FRIEND[0]}
"""
SERVE = f"""
tls=/etc/homelab-provision/tls
systemd-run --quiet --unit=elsewhere restic-rest-server --path /srv/elsewhere --append-only --private-repos \\
  --listen :{ELSEWHERE} --tls --tls-cert $tls/host.crt --tls-key $tls/host.key
"""
SHIPPED = ("caddy", "label-studio", "mlflow", "open-webui", "own-app")
# A stack is back a minute after what it waited for: emulated 14 and 49 seconds, but for the large ones.
BACK, BACK_LARGE = 120, SLOW


def export(path: str, writer: str, *others: dict[str, object]) -> dict[str, object]:
    return {"path": path, "clients": [{"address": writer, "access": "rw"}, *others]}


class House:
    """A homelab whose site-wyse runs applications."""

    def __init__(self, homelab: Homelab) -> None:
        self.homelab = homelab
        self.on, self.done = homelab.on, homelab.done
        homelab.edit("plays: db-wyse", "plays: site-wyse")
        homelab.edit("wyse-b:  # the spare\n", "wyse-b:\n    plays: db-wyse\n")
        for memory in (6144, 3072):
            for _ in ("passport", "lab"):
                homelab.edit("memory_mib: 2048", f"memory_mib: {memory}")
        groups = "containers: {hosts: {site-wyse: }}\n    applications: {hosts: {site-wyse: }}\n"
        homelab.edit("    web:\n      hosts:", f"    {groups}\n    web:\n      hosts:", "hosts.yml")
        # The shortest times that still work: after a start nobody opens files for as long.
        homelab.tell(
            "nas",
            nfs_server_exports=[
                export("/srv/backup/db-wyse", DATABASE, READER),
                export("/srv/backup/site-wyse", SITE, READER),
                export("/srv/data", SITE),
            ],
            nfs_server_lease_time=10,
            nfs_server_grace_time=10,
        )
        opened = f"ip saddr {LAN} tcp dport {{ {registry.PORT}, {ELSEWHERE} }} accept"
        homelab.tell("db-wyse", base_firewall_rules=[opened])
        for machine, host in (("nas-a", "nas"), ("wyse-b", "db-wyse"), ("wyse-a", "site-wyse")):
            homelab.install(machine, host)

    def ask(self, url: str, data: object = None, *, by: str = "db-wyse", **changed: Any) -> Answer:
        """What a machine of the LAN is answered."""
        return Answer.of(self.on(by, question(url, data, **changed)))

    def opens(self, port: int, by: str = "db-wyse") -> bool:
        script = f"import socket; socket.create_connection(('{SITE}', {port}), 5)"
        done = self.homelab.run("lab", "ssh", by, "--", "python3", "-c", script)
        return done.returncode == ExitCode.DONE

    def stacks(self) -> dict[str, str]:
        """What systemd says of each stack."""
        names = ("mlflow", "labels", "chats", "notes", "calendar", "door")
        told = self.on("site-wyse", f"systemctl is-active {' '.join(f'stack-{name}' for name in names)} || true")
        return dict(zip(names, told.split(), strict=True))

    def wait_for(self, seconds: float, **states: str) -> None:
        """Wait until the stacks are in these states."""
        started = time.monotonic()
        while not states.items() <= (now := self.stacks()).items():
            waited = time.monotonic() - started
            assert waited < seconds, (now, self.on("site-wyse", "journalctl --no-pager --lines=60 --unit='stack-*'"))
            time.sleep(2)


def test_applications_outlive_their_machine(homelab: Homelab) -> None:
    house = House(homelab)
    images = the_world_has_images_and_room(house)
    describe(homelab, images)
    house.done("apply", "nas", "db-wyse", "site-wyse")
    kept = something_is_kept(house)
    declared_ports_answer_and_no_others(house)
    a_program_gets_no_more_than_its_memory(house)
    what_is_missing_is_waited_for(house)
    assert all_of_it(house, kept) == kept
    house.done("backup", "site-wyse", "--prove")
    the_machine_comes_back_from_the_nas(house, kept)
    the_machine_comes_back_from_elsewhere(house, kept)


def the_world_has_images_and_room(house: House) -> dict[str, str]:
    """The images of the stacks that ship, by their tags, in a registry of the LAN; and a place for copies."""
    house.done("apply", "db-wyse")
    registry.bring(house.homelab, "db-wyse", *SHIPPED)
    house.on("db-wyse", PACKAGES, feed=FRIEND[1])
    return the_world_serves(house)


def the_world_serves(house: House) -> dict[str, str]:
    house.on("db-wyse", SERVE)
    return registry.serve(house.homelab, "db-wyse", DATABASE)


def secret(homelab: Homelab, name: str) -> str:
    site = load_site(homelab.site)
    found: str = Vault.of(site.root, name=site.name).read(["secrets"])["secrets"][f"secret_{name}"]
    return found


def something_is_kept(house: House) -> dict[str, Any]:
    """Each application gets something that nobody may lose."""
    admin = ("admin", secret(house.homelab, "mlflow_admin"))

    def call(path: str, data: object) -> Any:
        answer = house.ask(f"{MLFLOW}/api/2.0/mlflow/{path}", data, who=admin)
        assert answer.status == 200, answer
        return answer.json

    run = call("runs/create", {"experiment_id": "0", "run_name": "kept", "start_time": 1})["run"]["info"]
    call("runs/log-metric", {"run_id": run["run_id"], "key": "loss", "value": 0.25, "timestamp": 1})
    artifact = f"/api/2.0/mlflow-artifacts/artifacts/{run['artifact_uri'].partition(':/')[2]}/note.txt"
    assert house.ask(MLFLOW + artifact, "a note", who=admin, method="PUT").status == 200
    assert house.ask(f"{MLFLOW}/api/2.0/mlflow/runs/get?run_id={run['run_id']}").status == 401
    search = f"{MLFLOW}/api/2.0/mlflow/experiments/search?max_results=1"
    assert house.ask(search, who=admin).status == 200
    assert house.ask(search, who=admin, host="elsewhere.invalid").status == 403
    labels, chats = something_is_labelled(house), something_is_said(house)
    house.ask(NOTES, "buy bread", by="site-wyse")
    house.on("site-wyse", "echo everybody >/srv/stacks/door/www/page.txt")
    kept = house.ask(CALENDAR, ENTRY, by="site-wyse", who=ADA, method="PUT")
    assert kept.status == 201, kept
    everything = all_of_it(house, {"run": run["run_id"], "artifact": artifact, "labels": labels, "chat": chats})
    assert (everything["loss"], everything["note"], everything["notes"]) == (0.25, "a note", 1)
    assert (everything["label"], everything["said"]) == ([["good"]], ["buy bread?"])
    assert "buy bread" in everything["calendar"]
    assert everything["log"] == '1 "buy bread"\n'
    assert everything["page"] == "everybody\n"
    return everything


def something_is_labelled(house: House) -> dict[str, Any]:
    """By the first user, who makes a token for programs."""
    account = {"email": MAIL, "password": secret(house.homelab, "labels_first")}
    token = visit(LABELS, "/user/login/", account, ("/api/token/", "{}", "application/json"))
    made = Answer.all_of(house.on("site-wyse", token))[1]
    assert made.status == 201, made
    kept: dict[str, Any] = {"token": made.json["token"]}
    project = labels(house, kept, "/api/projects/", {"title": "Moods", "label_config": MOODS})["id"]
    labels(house, kept, f"/api/projects/{project}/import", [{"text": "a fine book"}])
    [task] = labels(house, kept, f"/api/tasks?project={project}")["tasks"]
    labels(house, kept, f"/api/tasks/{task['id']}/annotations/", {"result": [LABEL]})
    return kept | {"project": project}


def labels(house: House, kept: dict[str, Any], path: str, data: object = None) -> Any:
    """What Label Studio answers to a program that has a token, for which it gets one that is good for minutes."""
    access = house.ask(f"{LABELS}/api/token/refresh/", {"refresh": kept["token"]}, by="site-wyse").json["access"]
    answer = house.ask(LABELS + path, data, by="site-wyse", authorization=f"Bearer {access}")
    assert answer.status in (200, 201), answer
    return answer.json


def something_is_said(house: House) -> str:
    said: dict[str, Any] = {"id": "1", "parentId": None, "childrenIds": [], "role": "user", "content": "buy bread?"}
    chat = {"title": "bread", "models": [], "messages": [said], "history": {"messages": {}}}
    return str(chats(house, "/api/v1/chats/new", {"chat": chat})["id"])


def chats(house: House, path: str, data: object = None) -> Any:
    """What Open WebUI answers to its first account."""
    account = {"email": MAIL, "password": secret(house.homelab, "chats_admin")}
    token = house.ask(f"{CHATS}/api/v1/auths/signin", account, by="site-wyse").json["token"]
    answer = house.ask(CHATS + path, data, by="site-wyse", authorization=f"Bearer {token}")
    assert answer.status == 200, answer
    return answer.json


def all_of_it(house: House, kept: dict[str, Any], without: str = "") -> dict[str, Any]:
    """What each application says of what it was given, but for one."""
    admin = ("admin", secret(house.homelab, "mlflow_admin"))
    run = house.ask(f"{MLFLOW}/api/2.0/mlflow/runs/get?run_id={kept['run']}", who=admin).json["run"]
    exported = labels(house, kept["labels"], f"/api/projects/{kept['labels']['project']}/export?exportType=JSON")
    marks = [each["value"]["choices"] for task in exported for each in task["annotations"][0]["result"]]
    said = [each["content"] for each in chats(house, f"/api/v1/chats/{kept['chat']}")["chat"]["messages"]]
    calendar = house.ask(CALENDAR, by="site-wyse", who=ADA).text if without != "calendar" else ""
    return {
        "run": run["info"]["run_id"],
        "artifact": kept["artifact"],
        "labels": kept["labels"],
        "chat": kept["chat"],
        "label": marks,
        "said": said,
        "loss": run["data"]["metrics"][0]["value"],
        "note": house.ask(MLFLOW + kept["artifact"], who=admin).text,
        "notes": house.ask(NOTES, by="site-wyse").json["notes"],
        "log": house.on("site-wyse", "cat /srv/stacks/notes/data/notes.log"),
        "page": house.ask(f"{DOOR}/page.txt").text,
        "calendar": calendar,
    }


def declared_ports_answer_and_no_others(house: House) -> None:
    """From another machine, whatever is restarted, and in whatever order."""
    declared_ports_answer(house)
    for restart in ("nftables docker", "docker nftables"):
        house.on("site-wyse", f"for unit in {restart}; do systemctl restart $unit; done")
        house.wait_for(SLOW, **dict.fromkeys(("mlflow", "labels", "chats", "notes", "door"), "active"))
        declared_ports_answer(house)


def declared_ports_answer(house: House) -> None:
    assert {port: house.opens(port) for port in (443, 5000, 8000)} == {443: True, 5000: True, 8000: False}
    assert house.opens(8000, by="site-wyse"), "it is published"


def a_program_gets_no_more_than_its_memory(house: House) -> None:
    """With much left on the machine, what wants 400 MB within 256 MB ends, and nothing else does."""
    greedy = "x = bytearray(400 << 20)"
    house.on("site-wyse", f"! docker exec notes-app-1 /opt/app/bin/python -c '{greedy}'")
    run = "systemd-run --quiet --wait --collect"
    house.on("site-wyse", f"! {run} --slice=stack_calendar.slice python3 -c '{greedy}'")
    house.on("site-wyse", f"{run} python3 -c '{greedy}'")
    assert set(house.stacks().values()) == {"active"}


def what_is_missing_is_waited_for(house: House) -> None:
    """NAS and database away at boot: who needs them waits, says so, and needs no hands when they are back."""
    for machine in ("nas-a", "wyse-b"):
        house.homelab.machine(machine).power_off()
    house.homelab.reboot("site-wyse")
    house.wait_for(SLOW, door="active", chats="active")
    assert house.opens(443, by="site-wyse")
    waiting = house.stacks()
    assert {name for name, state in waiting.items() if state != "active"} == {
        "mlflow",
        "labels",
        "notes",
        "calendar",
    }, waiting
    time.sleep(30)  # each has been asked more than once
    for name, what in (("mlflow", f"the database server {DATABASE}:5432"), ("calendar", "the share at /mnt/data")):
        assert f"waits for {what}" in house.on("site-wyse", f"journalctl --boot --unit=stack-{name} --output=cat")
    assert not house.on("site-wyse", "docker ps --quiet --filter name=mlflow --filter name=labels --filter name=notes")
    house.on("site-wyse", "mountpoint --quiet /mnt/data; test ! -e /mnt/data/calendar")

    house.done("lab", "on", "nas-a")
    until_served(house, "nas", "nfs-server.service")
    house.wait_for(BACK, calendar="active")
    house.done("lab", "on", "wyse-b")
    until_served(house, "db-wyse", "postgresql@17-main.service")
    house.wait_for(BACK, notes="active")
    house.wait_for(BACK_LARGE, mlflow="active", labels="active")
    declared_ports_answer(house)  # after a reboot, too
    the_world_serves(house)


def until_served(house: House, host: str, unit: str) -> None:
    """Its own time is not what is measured after it."""
    give_up = time.monotonic() + SLOW
    while (asked := house.homelab.run("lab", "ssh", host, "--", "systemctl", "is-active", unit)).stdout != "active\n":
        assert time.monotonic() < give_up, asked.stdout + asked.stderr
        time.sleep(3)


def lose(house: House) -> None:
    machine = house.homelab.machine("wyse-a")
    machine.power_off()
    machine.wipe()


def the_machine_comes_back_from_the_nas(house: House, kept: dict[str, Any]) -> None:
    lose(house)
    house.done("rebuild", "site-wyse", "--onto", "wyse-a", "--yes")
    shown = house.homelab.latest()
    assert shown["result"] == "proven", shown
    restored = next(phase["proof"] for phase in shown["phases"] if phase["name"] == "restore")
    assert restored["data"] == "restored", restored
    assert all_of_it(house, kept) == kept


def the_machine_comes_back_from_elsewhere(house: House, kept: dict[str, Any]) -> None:
    """With the NAS dead the machine is not proven, as a share is missing; its applications work all the same."""
    house.homelab.machine("nas-a").power_off()
    lose(house)
    words = ("rebuild", "site-wyse", "--onto", "wyse-a", "--yes")
    refused = house.homelab.run(*words)
    assert refused.returncode == ExitCode.REFUSED, refused.stderr
    assert f"{NAS} does not answer" in refused.stderr
    rebuilt = house.homelab.run(*words, "--accept-unproven-backup")
    assert rebuilt.returncode == ExitCode.UNPROVEN, rebuilt.stderr
    house.done("restore", "site-wyse", "--from", "second", "--yes")
    house.wait_for(SLOW, **dict.fromkeys(("mlflow", "labels", "chats", "notes", "door"), "active"))
    assert all_of_it(house, kept, without="calendar") == {**kept, "calendar": ""}
