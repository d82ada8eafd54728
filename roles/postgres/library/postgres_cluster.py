#!/usr/bin/python
"""Ansible module: everything that the role postgres wants of a cluster, in one round trip.

Its parts, most of them pure, are in module_utils/homelab_postgres.
"""

from __future__ import annotations

import pwd
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.homelab import files
from ansible.module_utils.homelab.unlogged import UnloggedModule
from ansible.module_utils.homelab_postgres import client, config, data, databases, grants, hba, indexes, machine, users
from ansible.module_utils.homelab_postgres.client import MissingError, Session, SqlError, UnreachableError

DOCUMENTATION = r"""
module: postgres_cluster
short_description: A PostgreSQL cluster with its configuration, users and databases, in one round trip
description:
  - Compares first and changes only what differs, in the order configuration, data directory, service, users, databases.
  - A configuration that PostgreSQL would refuse is never loaded; the files that were there stay.
  - Users and databases that are no longer listed are told and left alone.
options:
  version: {type: str, required: true, description: Major version.}
  data: {type: path, required: true, description: "Data directory, made if there is none; the one above is postgres's."}
  config: {type: path, required: true, description: Directory of the configuration files.}
  service: {type: str, required: true, description: The systemd unit.}
  socket: {type: path, required: true, description: Directory of the Unix socket.}
  port: {type: int, default: 5432, description: Port that is part of the socket's name.}
  text: {type: str, required: true, description: The text of postgresql.conf.}
  tuning:
    description: What the derived settings are made from.
    type: dict
    required: true
    suboptions:
      profile: {type: str, required: true, description: A profile of postgres_tuning.}
      memory_share: {type: float, required: true, description: Part of the memory that the cluster may count on.}
      settings: {type: dict, default: {}, description: "Parameters of the user's own, which win."}
  tls:
    description: What the server shows to its clients.
    type: dict
    required: true
    suboptions:
      certificate: {type: path, required: true, description: File of the certificate.}
      key: {type: path, required: true, description: File of its key.}
  clients: {type: list, elements: dict, default: [], description: Who may connect from where.}
  users: {type: list, elements: dict, default: [], description: Roles that log in.}
  databases: {type: list, elements: dict, default: [], description: Databases.}
  indexes: {type: list, elements: dict, default: [], description: Indexes; compared here and built by postgres_index.}
  backup: {type: bool, default: false, description: "Whether backups are made, by how many processes the cores say."}
  restart_allowed: {type: bool, default: false, description: Whether a parameter that asks for it restarts the server.}
  await_restore: {type: bool, default: false, description: Write the configuration only; a restore brings the cluster.}
"""

EXAMPLES = r"""
- name: Bring the cluster to its state
  postgres_cluster:
    version: "17"
    data: /srv/postgresql/17/main
    config: /etc/postgresql/17/main
    service: postgresql@17-main.service
    socket: /var/run/postgresql
    text: "{{ lookup('ansible.builtin.template', 'postgresql.conf.j2') }}"
    tuning: {profile: search, memory_share: 1.0}
    tls: {certificate: /etc/homelab-provision/tls/host.crt, key: /etc/homelab-provision/tls/host.key}
  no_log: true
"""

RETURN = r"""
actions: {description: What was (or would be) done., type: list, elements: str, returned: success}
attention: {description: What somebody has to know or to decide., type: list, elements: str, returned: success}
pending_restart: {description: Parameters that wait for a restart., type: list, elements: str, returned: success}
waiting: {description: Grants and indexes whose table does not exist yet., type: list, elements: str, returned: success}
indexes: {description: Indexes that postgres_index has to build., type: list, elements: dict, returned: success}
unlisted: {description: Users and databases that nobody declares., type: dict, returned: success}
"""

ACCOUNT = "postgres"
READ_AGAIN_SECONDS = 10

STATE = f"""
SELECT json_build_object('users', ({users.CURRENT}), 'databases', ({databases.CURRENT}),
    'loaded', extract(epoch FROM pg_conf_load_time()))
"""
PENDING = "SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM pg_settings WHERE pending_restart"
# The slow-query report reads these numbers; they cover all databases.
OWN_DATABASE = {"name": "postgres", "owner": "postgres", "extensions": ["pg_stat_statements"], "grants": []}

Actions = list[str]


class Cluster:
    """One run of the module: what it was given, and what has been done about it."""

    def __init__(self, module: Any) -> None:
        self.module, self.params = module, module.params
        self.check: bool = module.check_mode
        account = pwd.getpwnam(ACCOUNT)
        self.uid, self.gid = account.pw_uid, account.pw_gid
        self.programs = Path("/usr/lib/postgresql") / self.params["version"] / "bin"
        self.actions: Actions = []
        self.result: dict[str, Any] = {"waiting": [], "indexes": [], "pending_restart": [], "unlisted": {}, "diff": []}

    def settle(self) -> None:
        fresh = not data.present(self.params["data"], self.params["version"])
        plan = config.desired(
            self.params, machine.examine(self.params["data"], self.params["version"]), self.uid, self.gid
        )
        self.configure(plan)
        if self.params["await_restore"]:
            return
        if fresh:
            self.initialise()
        if not self.running():
            self.systemctl("start")
        if self.check and not self.running():
            return
        self.load(plan)
        self.populate()

    def running(self) -> bool:
        try:
            with self.session():
                return True
        except UnreachableError:
            return False

    def session(self, database: str = "postgres") -> Session:
        return Session(self.params["socket"], self.params["port"], self.uid, database)

    def configure(self, plan: list[files.Desired]) -> None:
        """Write the files that differ, if PostgreSQL accepts them."""
        todo = config.changes(plan)
        if not todo:
            return
        self.actions += [f"write {file.path}" for file in todo]
        self.result["diff"] += [
            files.diff(file, files.look(file.path)) for file in todo if not file.path.endswith(".key")
        ]
        config.judge(self.module, plan, self.params["config"], str(self.programs / "postgres"), ACCOUNT)
        if self.check:
            return
        with config.placed(todo):
            if self.running():
                self.hear_complaints()

    def hear_complaints(self) -> None:
        with self.session() as server:
            if complaints := config.complaints(server):
                raise config.RefusedError("PostgreSQL refuses the new files:\n" + "\n".join(complaints))

    def initialise(self) -> None:
        self.actions.append(f"initialise {self.params['data']}")
        if not self.check:
            initdb = str(self.programs / "initdb")
            data.initialise(self.module, self.params["data"], initdb, ACCOUNT)

    def systemctl(self, verb: str) -> None:
        self.actions.append(f"{verb} {self.params['service']}")
        if self.check:
            return
        code, _, err = self.module.run_command(["systemctl", verb, self.params["service"]])
        if code or not self.running():
            story = self.module.run_command(
                ["journalctl", "--no-pager", "--output=cat", "--lines=15", "--unit", self.params["service"]]
            )[1]
            raise UnreachableError(f"{self.params['service']} does not {verb}: {err.strip()}\n{story.strip()}")

    def load(self, plan: list[files.Desired]) -> None:
        """Let the server read files that are newer than what it has read; restart it if it needs that and may."""
        with self.session() as server:
            if config.newest(plan) > server.document("SELECT extract(epoch FROM pg_conf_load_time())"):
                self.hear_complaints()
                self.actions.append("reload the configuration")
                if not self.check:
                    reload(server)
            pending = server.document(PENDING)
        if pending and self.params["restart_allowed"]:
            self.systemctl("restart")
            pending = []
        self.result["pending_restart"] = pending

    def populate(self) -> None:
        """Users, databases, and what is in them."""
        declared = self.params["users"]
        there = [database for database in self.params["databases"] if database["state"] == "present"]
        with self.session() as server:
            current = server.document(STATE)
            self.apply(server, users.statements(present(declared), current["users"]))
            self.apply(server, databases.statements(self.params["databases"], current["databases"]))
            self.furnish(server, OWN_DATABASE)
        for database in there:
            if self.check and database["name"] not in current["databases"]:
                continue
            with self.session(database["name"]) as server:
                self.furnish(server, database)
        with self.session() as server:
            # Only now: a user who owned a database that was to go can go, too.
            self.apply(server, users.statements(absent(declared), current["users"]))
        self.result["unlisted"] = {
            "users": users.unlisted(declared, current["users"]),
            "databases": databases.unlisted(self.params["databases"], current["databases"]),
        }

    def furnish(self, server: Session, database: dict[str, Any]) -> None:
        """Extensions and grants of one database, and how its indexes are."""
        name, granted = database["name"], database["grants"]
        extensions = server.document(databases.EXTENSIONS)
        self.apply(server, databases.extension_statements(name, database["extensions"], extensions))
        if granted:
            answer = server.document(grants.question(granted))
            self.apply(server, grants.statements(name, database["owner"], granted, answer))
            self.result["waiting"] += grants.waiting(name, granted, answer)
        for index in self.params["indexes"]:
            if index["database"] != name:
                continue
            current = indexes.look(server, index)
            if isinstance(current, str):
                self.result["waiting"].append(f"{name}: index {index['name']}: {current}")
            elif indexes.steps(index, current):
                why = indexes.summary(index, current)
                self.result["indexes"].append({"index": index, "summary": f"{name}: {why}: {index['name']}"})

    def apply(self, server: Session, statements: list[users.Statement]) -> None:
        """Send the statements one by one. An error names what it was about and never the statement."""
        for statement in statements:
            self.actions.append(statement.summary)
            if self.check:
                continue
            try:
                server.query(statement.sql)
            except SqlError as error:
                raise ValueError(f"could not {statement.summary}: {error}") from None

    def attention(self) -> list[str]:
        pending, unlisted = self.result["pending_restart"], self.result["unlisted"]
        lines = [f"waits: {text}" for text in self.result["waiting"]]
        if pending:
            lines.append(
                f"a restart of {self.params['service']} would change {', '.join(pending)}; "
                "postgres_restart_allowed lets the role do it"
            )
        for kind, names in unlisted.items():
            lines += [f"nobody declares the {kind} {', '.join(names)}; nothing was done about them"] if names else []
        return lines


def present(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item in items if item["state"] == "present"]


def absent(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item in items if item["state"] == "absent"]


def reload(server: Session) -> None:
    """Ask for it, and wait until our own process has read the files, too."""
    before = server.document("SELECT pg_conf_load_time()")
    server.query("SELECT pg_reload_conf()")
    deadline = time.monotonic() + READ_AGAIN_SECONDS
    while server.document("SELECT pg_conf_load_time()") == before:
        if time.monotonic() > deadline:
            raise UnreachableError(f"the server has not read its configuration again within {READ_AGAIN_SECONDS} s")
        time.sleep(0.05)


def arguments() -> dict[str, Any]:
    tuning = {
        "profile": {"type": "str", "required": True},
        "memory_share": {"type": "float", "required": True},
        "settings": {"type": "dict", "default": {}},
    }
    tls = {name: {"type": "path", "required": True, "no_log": False} for name in ("certificate", "key")}
    lists = {"clients": hba.CLIENT, "users": users.USER, "databases": databases.DATABASE, "indexes": indexes.INDEX}
    return {
        **{name: {"type": "str", "required": True} for name in ("version", "service", "text")},
        **{name: {"type": "path", "required": True} for name in ("data", "config", "socket")},
        "port": {"type": "int", "default": 5432},
        "tuning": {"type": "dict", "required": True, "options": tuning},
        "tls": {"type": "dict", "required": True, "options": tls, "no_log": False},
        **{name: {"type": "list", "elements": "dict", "options": spec, "default": []} for name, spec in lists.items()},
        **{name: {"type": "bool", "default": False} for name in ("backup", "restart_allowed", "await_restore")},
    }


REFUSALS = (SqlError, UnreachableError, MissingError, config.RefusedError, data.UnusableError, ValueError, OSError)


def main() -> None:
    module = UnloggedModule(argument_spec=arguments(), supports_check_mode=True)
    programs = Path("/usr/lib/postgresql") / module.params["version"]
    if module.check_mode and not (programs.exists() and client.psycopg2):
        module.exit_json(
            changed=True,
            actions=["install PostgreSQL and psycopg2 first"],
            attention=[],
            waiting=[],
            indexes=[],
            pending_restart=[],
            unlisted={},
        )
    cluster = Cluster(module)
    try:
        cluster.settle()
    except REFUSALS as error:
        module.fail_json(msg=str(error), actions=cluster.actions)
    changed = bool(cluster.actions or cluster.result["indexes"])
    module.exit_json(changed=changed, actions=cluster.actions, attention=cluster.attention(), **cluster.result)


if __name__ == "__main__":
    main()
