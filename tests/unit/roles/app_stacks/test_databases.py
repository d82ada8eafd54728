"""A stack's own database: what `site.yml` makes of it for its server, and what the stack is told: both agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from homelab_provision import paths
from tests.unit.roles import programs

apply = programs.stacks("apply")
database = programs.stacks("database")
desired = programs.stacks("desired")

ROLES = paths.content("roles")
ADDRESSES = {"db-wyse": "192.0.2.10", "db-two": "192.0.2.12", "site-wyse": "192.0.2.11", "box": "192.0.2.13"}
AUTHORITY = "the certificate of the site\n"
PASSWORD, OTHERS = "a 'pass\"word' {{ of }} notes", "another-pass"
# What a role would bring to its host, as it has it.
SEEN = {
    "postgres": "{'databases': __postgres_databases, 'users': __postgres_users, 'clients': __postgres_clients}",
    "app_stacks": "__app_stacks_document",
}


def stack(name: str, password: str = "{{ secret_notes }}", **more: Any) -> dict[str, Any]:
    wanted = {"host": "db-wyse", "password": password, **more.pop("database", {})}
    health = {"url": "http://127.0.0.1/"}
    return {
        "name": name,
        "kind": "service",
        "version": "1",
        "account": 3001,
        "command": ["/bin/x"],
        "health": health,
        "database": wanted,
        **more,
    }


@dataclass
class Played:
    """What the roles of each host got, and all that Ansible said."""

    folder: Path
    status: int
    said: str

    def of(self, host: str) -> Any:
        return json.loads((self.folder / f"{host}.json").read_text())


def played(folder: Path, hosts: dict[str, dict[str, Any]], *words: str) -> Played:
    """`site.yml` with the real variables and refusals of the two roles; what they would do to a host is not done."""
    roles, inventory, secrets = folder / "roles", folder / "hosts.yml", folder / "secrets.json"
    for role in ROLES.glob("*/"):
        (roles / role.name / "tasks").mkdir(parents=True)
        (roles / role.name / "tasks/main.yml").write_text(_tasks(role, folder) if role.name in SEEN else "[]\n")
        for part in ("defaults", "meta", "stacks", "vars") if role.name in (*SEEN, "backup") else ():
            (roles / role.name / part).symlink_to(role / part)
    groups = {
        "databases": ("db-wyse", "db-two"),
        "applications": ("site-wyse", "box"),
        "inference": ("box", "db-two"),
        "provisioned": tuple(ADDRESSES),
    }
    here = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    known = {
        host: {**here, "ansible_host": address, "postgres_listen": [address], **hosts.get(host, {})}
        for host, address in ADDRESSES.items()
    }
    inventory.write_text(
        json.dumps({name: {"hosts": {host: known[host] for host in group}} for name, group in groups.items()})
    )
    secrets.write_text(f"secret_notes: !unsafe {json.dumps(PASSWORD)}\nsecret_wiki: {OTHERS}\n")
    # As the toolkit tells it.
    said = json.dumps({"provision_authority": AUTHORITY})
    playbook = paths.content("playbooks") / "site.yml"
    given = (
        "--inventory",
        str(inventory),
        "--extra-vars",
        f"@{secrets}",
        "--extra-vars",
        said,
        "-vvv",
        *words,
        str(playbook),
    )
    environment = {"HOME": str(folder), "ANSIBLE_ROLES_PATH": str(roles), "LANG": "C.UTF-8"}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), *given],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return Played(folder, done.returncode, done.stdout + done.stderr)


def _tasks(role: Path, folder: Path) -> str:
    """What the role refuses about tenants, and one task that writes down what the others would be told."""
    refusals = [task for task in yaml.safe_load((role / "tasks/main.yml").read_text()) if "tenants" in task["name"]]
    file = {"dest": f"{folder}/{{{{ inventory_hostname }}}}.json", "content": f"{{{{ {SEEN[role.name]} | to_json }}}}"}
    look = {"ansible.builtin.copy": {**file, "mode": "0600"}, "no_log": True, "diff": False}
    return yaml.safe_dump([*refusals, look])


def told(document: dict[str, Any]) -> dict[str, Any]:
    """The files of each stack that the program would make of its document."""
    return {
        entry["name"]: desired.parse(database.furnished(entry, document["servers"], document["authority"]), {})
        for entry in document["stacks"]
    }


@pytest.mark.processes
def test_each_stack_gets_its_own_on_the_server_that_it_names(tmp_path: Path) -> None:
    names = {"name": "pages", "user": "writer", "extensions": ["vector"]}
    done = played(
        tmp_path,
        {
            "db-wyse": {
                "postgres_users": [{"name": "spans", "password": "spans"}],
                "postgres_databases": [{"name": "spans", "owner": "spans"}],
                "postgres_clients": [{"address": "192.0.2.0/24", "database": "spans", "user": "spans"}],
            },
            "site-wyse": {"app_stacks": [stack("my-notes"), stack("plain", database={"host": "db-two"})]},
            "box": {
                "app_stacks": [stack("wiki", "{{ secret_wiki }}", database=names), stack("old", "gone", state="absent")]
            },
        },
    )
    assert done.status == 0, done.said
    assert done.of("db-wyse") == {
        "databases": [
            {"name": "spans", "owner": "spans"},
            {"name": "pages", "owner": "writer", "extensions": ["vector"]},
            {"name": "my_notes", "owner": "my_notes", "extensions": []},
        ],
        "users": [
            {"name": "spans", "password": "spans"},
            {"name": "writer", "password": OTHERS},
            {"name": "my_notes", "password": PASSWORD},
        ],
        "clients": [
            {"address": "192.0.2.0/24", "database": "spans", "user": "spans"},
            {"address": "192.0.2.13", "database": "pages", "user": "writer"},
            {"address": "192.0.2.11", "database": "my_notes", "user": "my_notes"},
        ],
    }
    assert [user["name"] for user in done.of("db-two")["users"]] == ["plain"]
    # What each is told fits what was made for it, and nobody is told of the others.
    for server, host, name in (
        ("db-wyse", "site-wyse", "my-notes"),
        ("db-two", "site-wyse", "plain"),
        ("db-wyse", "box", "wiki"),
    ):
        files = told(done.of(host))[name].files
        assert files["secrets/database_ca.crt"] == AUTHORITY
        variables = dict(line.split("=", 1) for line in files["environment"].splitlines())
        assert variables["DATABASE_HOST"] == f"'{ADDRESSES[server]}'"
        own = {key: variables[f"DATABASE_{key}"].strip("'") for key in ("NAME", "USER")}
        made = done.of(server)
        assert own["USER"] in [each["owner"] for each in made["databases"] if each["name"] == own["NAME"]]
        assert {"name": own["USER"], "password": files["secrets/database_password"]} in made["users"]
        assert {"address": ADDRESSES[host], "database": own["NAME"], "user": own["USER"]} in made["clients"]
    assert OTHERS not in json.dumps(done.of("site-wyse"))
    assert json.dumps(PASSWORD) not in json.dumps(done.of("box"))
    for word in (PASSWORD, json.dumps(PASSWORD)[1:-1], OTHERS):
        assert word not in done.said


@pytest.mark.processes
def test_a_server_that_is_played_alone_knows_the_stacks_of_the_others(tmp_path: Path) -> None:
    # What else an entry says may be known of its own host alone.
    entry = stack("notes", environment={"MEMORY": "{{ ansible_facts['memtotal_mb'] }}"})
    done = played(tmp_path, {"site-wyse": {"app_stacks": [entry]}}, "--limit", "db-wyse")
    assert done.status == 0, done.said
    assert done.of("db-wyse")["users"] == [{"name": "notes", "password": PASSWORD}]
    assert not (tmp_path / "site-wyse.json").exists()


@pytest.mark.processes
def test_without_such_stacks_a_server_has_what_it_declares(tmp_path: Path) -> None:
    done = played(tmp_path, {"db-wyse": {"postgres_listen": []}, "box": {"app_stacks": [stack("old", state="absent")]}})
    assert done.status == 0, done.said
    assert done.of("db-wyse") == {"databases": [], "users": [], "clients": []}


@pytest.mark.processes
@pytest.mark.negative
def test_what_is_another_s_is_refused_and_both_are_named(tmp_path: Path) -> None:
    done = played(
        tmp_path,
        {
            "db-wyse": {
                "postgres_listen": ["127.0.0.1"],
                "postgres_databases": [{"name": "wiki"}],
                "postgres_users": [{"name": "wiki", "state": "absent"}],
            },
            "site-wyse": {"app_stacks": [stack("notes"), stack("wiki"), stack("all"), stack("void", "")]},
            "box": {"app_stacks": [stack("notes", "{{ secret_wiki }}", database={"user": "other"})]},
        },
        "--limit",
        "db-wyse",
    )
    assert done.status != 0
    assert not (tmp_path / "db-wyse.json").exists()
    for message in (
        "the database `notes` is that of stack notes of box and of stack notes of site-wyse: one needs another name",
        "the database `wiki` of stack wiki of site-wyse stands in postgres_databases, too",
        "the user `wiki` of stack wiki of site-wyse stands in postgres_users, too",
        "stack all of site-wyse cannot have the user `all`, a word of PostgreSQL",
        "stack void of site-wyse has no password for its database",
        "stack notes of box wants a database here, and the server listens at no address of the network: set"
        ' postgres_listen, as in ["{{ ansible_host }}"]',
    ):
        assert message in done.said, message
    assert "the user `notes`" not in done.said
    assert OTHERS not in done.said
    assert json.dumps(PASSWORD)[1:-1] not in done.said


SERVERS = {"db-wyse": ADDRESSES["db-wyse"]}
NOTES = stack("my-notes", PASSWORD, environment={"DATABASE_PORT": 6432}, secrets={"token": "s3cret"})


def test_a_stack_is_told_where_its_database_is_and_how_to_know_it() -> None:
    made = desired.parse(database.furnished(NOTES, SERVERS, AUTHORITY), {})
    assert made.files["environment"].splitlines() == [
        "DATABASE_HOST='192.0.2.10'",
        "DATABASE_NAME='my_notes'",
        "DATABASE_PORT='6432'",  # the stack's own word wins, as with every variable
        "DATABASE_USER='my_notes'",
        "STACK_DATA='/srv/stacks/my-notes'",
        "STACK_FILES='/etc/homelab-provision/stacks/my-notes/files'",
        "STACK_SECRETS='/etc/homelab-provision/stacks/my-notes/secrets'",
    ]
    assert made.files["secrets/database_ca.crt"] == AUTHORITY
    assert made.told["needs"]["databases"] == [
        {"host": "192.0.2.10", "port": 5432, "database": "my_notes", "user": "my_notes", "authority": AUTHORITY}
    ]
    assert [path for path, text in made.files.items() if PASSWORD in text] == ["secrets/database_password"]
    lines = made.files["stack-my-notes.service"].splitlines()
    for name in ("database_ca.crt", "database_password", "token"):
        assert f"LoadCredential={name}:/etc/homelab-provision/stacks/my-notes/secrets/{name}" in lines


def test_one_that_is_absent_needs_no_server() -> None:
    gone = {**NOTES, "state": "absent"}
    assert database.furnished(gone, {}, "") == gone


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"database": {"host": "db-wise"}}, "db-wise is no provisioned host of the group `databases`; there is db-wyse"),
    ({"database": {"name": "no name"}}, "'no name' is no name of letters"),
    ({"database": {"user": "-h"}}, "'-h' is no user of letters"),
    ({"password": ""}, "the secret database_password has no value"),
    ({"secrets": {"database_password": "s3cret"}}, "the secret database_password comes with its `database`"),
]


@pytest.mark.negative
@pytest.mark.parametrize(("change", "message"), WRONG)
def test_what_makes_no_sense_of_it_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(programs.stacks("values").Wrong) as caught:
        desired.parse(database.furnished(stack("my-notes", **{"password": PASSWORD, **change}), SERVERS, AUTHORITY), {})
    assert message in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_host_that_is_told_no_certificate_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database.health, "AUTHORITY", tmp_path / "ca.crt")
    with pytest.raises(programs.stacks("values").Wrong, match=r"ca\.crt, which proves its server, cannot be read"):
        database.furnished(NOTES, SERVERS, "")
    (tmp_path / "ca.crt").write_text(AUTHORITY)
    assert database.furnished(NOTES, SERVERS, "") == database.furnished(NOTES, SERVERS, AUTHORITY)


def test_the_program_is_told_the_servers_and_tells_no_password() -> None:
    entry = {**NOTES, "name": "notes-of-a-test"}
    document: dict[str, Any] = {"servers": SERVERS, "authority": AUTHORITY, "projects": {}, "stacks": [entry]}
    answer = apply.apply(document, check=True)
    assert answer["stacks"]["notes-of-a-test"]["actions"] == ["installed 1"]
    assert PASSWORD not in str(answer)
    with pytest.raises(programs.library("errors").Trouble, match="there is nobody"):
        apply.apply({**document, "servers": {}}, check=True)
