"""The stacks that ship, asked as those would who use them."""

from __future__ import annotations

import hashlib
import os
import shlex
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.asking import Answer, question
from tests.container import Container

ADMIN = ("admin", "the-first-password-of-mlflow")
MLFLOW, OPENCODE, OWN = "http://127.0.0.1:5000", "http://127.0.0.1:4096", "http://127.0.0.1:8000"
CALENDAR = "http://127.0.0.1:5232"
DOOR = "https://applications"
ADA = ("ada", "the-password-of-ada")
STAND_IN = pytest.mark.skipif("ONLINE" in os.environ, reason="here is the program itself")
ONLINE = pytest.mark.skipif("ONLINE" not in os.environ, reason="its image is in registries alone: make test-online")


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest) -> Container:
    return Container.of(request.config)


def ask(machine: Container, url: str, data: object = None, **changed: Any) -> Answer:
    """From within, where ports of stacks are shown that nobody else may reach."""
    return Answer.of(machine.sh(question(url, data, **changed)))


def test_mlflow_keeps_a_run_and_its_artifact(machine: Container) -> None:
    def call(path: str, data: object) -> Any:
        answer = ask(machine, f"{MLFLOW}/api/2.0/mlflow/{path}", data, who=ADMIN)
        assert answer.status == 200, answer
        return answer.json

    run = call("runs/create", {"experiment_id": "0", "start_time": 1})["run"]["info"]
    call("runs/log-metric", {"run_id": run["run_id"], "key": "loss", "value": 0.25, "timestamp": 1})
    artifact = f"/api/2.0/mlflow-artifacts/artifacts/{run['artifact_uri'].partition(':/')[2]}/note.txt"
    assert ask(machine, MLFLOW + artifact, "a note", who=ADMIN, method="PUT").status == 200
    assert ask(machine, MLFLOW + artifact, who=ADMIN).text == "a note"
    found = machine.sh("find /srv/stacks/mlflow/artifacts -name note.txt -exec stat --format '%u %s' {} +")
    assert found == "3101 6"
    told = ask(machine, f"{MLFLOW}/api/2.0/mlflow/runs/get?run_id={run['run_id']}", who=ADMIN).json
    assert told["run"]["data"]["metrics"][0]["value"] == 0.25


@pytest.mark.negative
def test_mlflow_tells_strangers_nothing(machine: Container) -> None:
    search = f"{MLFLOW}/api/2.0/mlflow/experiments/search?max_results=1"
    assert ask(machine, search, who=ADMIN).status == 200
    assert ask(machine, search).status == 401
    assert ask(machine, search, who=("admin", "password1234")).status == 401
    assert ask(machine, search, who=ADMIN, host="elsewhere.invalid").status == 403


def test_mlflow_is_the_version_that_was_asked_for(machine: Container) -> None:
    assert ask(machine, f"{MLFLOW}/version", who=ADMIN).text == "3.17.2"


def test_mlflow_brings_an_older_database_up_to_date(machine: Container) -> None:
    """Before it is started: it would refuse most of them."""

    def schema() -> str:
        return Container("applications-db").sh(
            "runuser -u postgres -- psql -XAt mlflow -c 'SELECT version_num FROM alembic_version'"
        )

    newest = schema()
    older = "from alembic import command; from mlflow.store.db.utils import _get_alembic_config as of"
    older += "; command.downgrade(of('postgresql+psycopg2://'), '-1')"
    mlflow = "docker exec --env PGPASSFILE=/tmp/passfile mlflow-mlflow-1"
    machine.sh(f"{mlflow} python -c {shlex.quote(older)}")
    assert schema() != newest
    told = machine.run(f"{mlflow} /etc/mlflow/entrypoint true")
    assert "brought up to date" in told.stderr
    assert schema() == newest
    assert "brought" not in machine.run(f"{mlflow} /etc/mlflow/entrypoint true").stderr


def test_opencode_knows_the_inference_of_the_site(machine: Container) -> None:
    who = ("opencode", "the-password-of-opencode")
    assert ask(machine, f"{OPENCODE}/global/health", who=who).json == {"healthy": True, "version": "1.18.33"}
    [provider] = ask(machine, f"{OPENCODE}/config/providers", who=who).json["providers"]
    assert (provider["id"], list(provider["models"])) == ("site", ["small"])


@pytest.mark.negative
def test_opencode_lets_nobody_in_without_a_password(machine: Container) -> None:
    assert ask(machine, f"{OPENCODE}/global/health").status == 401
    assert ask(machine, f"{OPENCODE}/config/providers", who=("opencode", "a-guess-of-somebody")).status == 401
    image = machine.sh("docker ps --filter name=opencode --format '{{.Image}}'")
    refused = machine.run(
        f"echo short >/root/password; docker run --rm -v /root/password:/run/secrets/password {image}"
    )
    assert refused.returncode == 1
    assert "12 characters or more" in refused.stderr


def test_a_tool_of_ones_own_has_its_database_and_its_folder(machine: Container) -> None:
    before = ask(machine, f"{OWN}/notes").json["notes"]
    number = ask(machine, f"{OWN}/notes", "buy bread").json["note"]
    assert ask(machine, f"{OWN}/notes").json["notes"] == before + 1
    assert machine.sh("tail -1 /srv/stacks/own-app/data/notes.log") == f'{number} "buy bread"'
    assert ask(machine, f"{OWN}/version").json == {"version": "1.0"}


@pytest.mark.negative
def test_a_version_that_spoils_its_database_is_undone(machine: Container) -> None:
    """The play goes on to the end, says what was wrong, and both the folder and the database are as they were."""
    before = ask(machine, f"{OWN}/notes").json["notes"], machine.sh("cat /srv/stacks/own-app/data/notes.log")
    inventory = os.environ["MOLECULE_INVENTORY_FILE"]
    words = ["ansible-playbook", f"--inventory={inventory}", "--extra-vars=own_app_is_spoilt=1", "converge.yml"]
    done = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=600, check=False)
    told = " ".join(f"{done.stdout} {done.stderr}".split())
    assert done.returncode != 0, told
    assert "own-app 2.0 does not work" in told
    assert "1.0 runs again, with its data as they were" in told
    assert "half of the notes could not be migrated" in told
    assert (ask(machine, f"{OWN}/notes").json["notes"], machine.sh("cat /srv/stacks/own-app/data/notes.log")) == before
    tables = "SELECT string_agg(tablename, ',') FROM pg_tables WHERE tableowner = 'notes'"
    assert Container("applications-db").sh(f'runuser -u postgres -- psql -XAt notes -c "{tables}"') == "notes"
    assert "upgrade" not in machine.sh("ls -A /srv/stacks")


def test_a_program_from_the_index_runs_without_containers(machine: Container) -> None:
    entry = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:buy bread\r\n"
    entry += "DTSTAMP:20261126T120000Z\r\nDTSTART:20261127T080000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    kept = ask(machine, f"{CALENDAR}/ada/home/", entry, who=ADA, method="PUT")
    assert kept.status == 201, kept
    assert "SUMMARY:buy bread" in ask(machine, f"{CALENDAR}/ada/home/", who=ADA).text
    assert ask(machine, f"{CALENDAR}/ada/home/").status == 401
    user, program = machine.sh("ps --no-headers -o user:20,args -C radicale || ps -C python3 -o user:20,args").split()[
        :2
    ]
    assert user == "stack-calendar", program


@pytest.mark.negative
def test_a_database_is_open_to_its_own_stack_alone(machine: Container) -> None:
    """Its password alone opens it neither without TLS, nor as another's, nor from another machine."""
    secrets = "/etc/homelab-provision/stacks/mlflow/secrets"
    host = machine.sh("sed -n \"s/^DATABASE_HOST='\\(.*\\)'$/\\1/p\" /etc/homelab-provision/stacks/mlflow/environment")
    password = machine.sh(f"cat {secrets}/database_password")
    authority = machine.sh(f"cat {secrets}/database_ca.crt")

    def login(where: Container, database: str = "mlflow", mode: str = "verify-full") -> str:
        words = f"host={host} user=mlflow dbname={database} sslmode={mode} sslrootcert=/root/authority.crt"
        made = f"cat >/root/authority.crt <<'END'\n{authority}\nEND\nexport PGPASSWORD={shlex.quote(password)}\n"
        done = where.run(f"{made}psql -XAt '{words}' -c 'SELECT 1'")
        return done.stdout.strip() or done.stderr

    assert login(machine) == "1"
    assert "no encryption" in login(machine, mode="disable")
    assert "pg_hba.conf rejects connection" in login(machine, database="notes")
    assert "pg_hba.conf rejects connection" in login(Container("applications-db"))


def test_the_front_door_shows_what_runs_to_those_who_are_known(machine: Container) -> None:
    machine.sh("echo everybody >/srv/stacks/caddy/www/page.txt")
    assert ask(machine, f"{DOOR}/").status == 401
    assert ask(machine, f"{DOOR}/", who=("ada", "a-guess")).status == 401
    assert "What runs here" in ask(machine, f"{DOOR}/", who=ADA).text
    assert ask(machine, f"{DOOR}/sites.caddy", who=ADA).status == 404
    assert ask(machine, f"{DOOR}/files/page.txt").text == "everybody\n"


def test_the_front_door_leads_to_a_stack(machine: Container) -> None:
    assert ask(machine, f"{DOOR}:8443/version", who=ADMIN).text == "3.17.2"
    assert ask(machine, f"{DOOR}:8443/api/2.0/mlflow/experiments/search?max_results=1").status == 401
    foreign = ask(
        machine, f"{DOOR}:8443/api/2.0/mlflow/experiments/search?max_results=1", who=ADMIN, host="else.invalid"
    )
    assert foreign.status == 403


@STAND_IN
def test_the_stand_in_for_wger_finds_database_cache_and_secrets(machine: Container) -> None:
    """What the stack gives, through both doors: of the program itself this says nothing."""
    told = ask(machine, f"{DOOR}:8444/found").json
    assert (told["user"], told["tls"], told["proto"]) == ("wger", True, "https")
    assert ask(machine, f"{DOOR}:8444/found").json["asked"] == told["asked"] + 1
    secrets = [b"the-first-key-of-wger", b"the-other-key-of-wger"]
    assert told["keys"] == [hashlib.sha256(secret).hexdigest() for secret in secrets]
    machine.sh("echo 'of a person' >/srv/stacks/wger/media/picture.txt")
    assert ask(machine, f"{DOOR}:8444/static/style.css").text == "of the stand-in\n"
    assert ask(machine, f"{DOOR}:8444/media/picture.txt").text == "of a person\n"


@ONLINE
def test_wger_keeps_a_weight(machine: Container) -> None:
    def call(path: str, data: object = None, token: str = "") -> Answer:
        return ask(machine, f"{DOOR}:8444/api/v2/{path}/", data, authorization=f"Token {token}" if token else "")

    person = {"username": "admin", "password": "adminadmin"}
    token = call("login", person).json["token"]
    assert call("weightentry", {"date": "2026-11-26", "weight": "81.5"}, token).status == 201
    assert call("weightentry", token=token).json["results"][0]["weight"] == "81.50"
    assert call("weightentry").status == 403
    assert call("login", {**person, "password": "a-guess"}).status == 403


@pytest.mark.negative
def test_the_front_door_alone_is_open_to_other_machines(machine: Container) -> None:
    """Also where its containers have the host's own network, and nothing is forwarded to them."""

    def opens(port: int) -> bool:
        try:
            socket.create_connection((machine.address, port), timeout=3).close()
        except OSError:
            return False
        return True

    assert {port: opens(port) for port in (80, 443, 8443, 8444, 4096, 5000, 8000, 8002)} == {
        80: True,
        443: True,
        8443: True,
        8444: True,
        4096: False,
        5000: False,
        8000: False,
        8002: False,
    }


@pytest.mark.negative
def test_no_secret_is_shown_by_the_engine(machine: Container) -> None:
    shown = machine.sh("docker inspect $(docker ps --quiet)")
    for secret in ("the-first-password", "a-key-of-the-scenario", "pass:word", "the-password-of", "key-of-wger"):
        assert secret not in shown


def test_a_command_can_be_run_in_them(machine: Container) -> None:
    """As the facts of backups are asked."""
    for name, number in (
        ("mlflow-mlflow-1", "3101"),
        ("opencode-opencode-1", "3102"),
        ("own-app-app-1", "3103"),
        ("wger-web-1", "1000"),
    ):
        assert machine.sh(f"docker exec {name} id -u") == number


def test_none_of_them_is_root_without_need(machine: Container) -> None:
    told = machine.sh(
        "docker ps --quiet | xargs docker inspect --format '{{.Name}} {{.Config.User}} {{.HostConfig.ReadonlyRootfs}}'"
    )
    assert sorted(told.split("\n")) == [
        "/caddy-caddy-1  true",
        "/mlflow-mlflow-1 3101:3101 true",
        "/opencode-opencode-1 3102:3102 true",
        "/own-app-app-1 3103:3103 true",
        "/wger-beat-1 1000 false",
        "/wger-front-1 1000:1000 true",
        "/wger-redis-1 999:999 true",
        "/wger-web-1 1000 false",
        "/wger-worker-1 1000 false",
    ]
