#!/usr/bin/python
"""Ansible module: what is slow in this host's PostgreSQL, and the memory that HNSW indexes would need."""

from __future__ import annotations

import json
import pwd
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.homelab_postgres import report
from ansible.module_utils.homelab_postgres.client import MissingError, Session, SqlError, UnreachableError

DOCUMENTATION = r"""
module: postgres_report
short_description: Slow queries, missing and unused indexes, bloat, and the memory for HNSW indexes
description:
  - Only reads. Where the cluster is, the role postgres has written down on the host.
options:
  limit: {type: int, default: 10, description: How many of each are told at most.}
"""

EXAMPLES = r"""
- name: Ask
  postgres_report:
"""

RETURN = r"""
lines: {description: The report for people., type: list, elements: str, returned: success}
ansible_facts: {description: "C(postgres_report): the same as data.", type: dict, returned: success}
"""

FACTS = Path("/etc/homelab-provision/postgres.json")
ACCOUNT = "postgres"


def main() -> None:
    module = AnsibleModule(argument_spec={"limit": {"type": "int", "default": 10}}, supports_check_mode=True)
    try:
        facts = json.loads(FACTS.read_text())
    except OSError as error:
        module.fail_json(msg=f"{FACTS}: {error.strerror}; the role postgres has not been played on this host")
    try:
        found = gather(facts["socket"], facts["port"], module.params["limit"])
    except (SqlError, UnreachableError, MissingError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, lines=report.readable(found), ansible_facts={"postgres_report": found})


def gather(socket: str, port: int, limit: int) -> dict[str, Any]:
    uid = pwd.getpwnam(ACCOUNT).pw_uid
    with Session(socket, port, uid) as server:
        statistics = server.document(report.STATISTICS)
        queries = server.document(report.QUERIES.format(limit=limit, statistics=statistics))
        memory = server.document(report.MEMORY)
        names = server.document(report.databases_question())
    databases = {}
    for name in names:
        with Session(socket, port, uid, name) as server:
            databases[name] = look(server, memory, limit)
    return {"queries": queries, "maintenance_work_mem": memory, "databases": databases}


def look(server: Session, memory: int, limit: int) -> dict[str, Any]:
    found = {part: server.document(question.format(limit=limit)) for part, question in report.OF_DATABASE.items()}
    for vector in found["vectors"]:
        if vector["dimensions"] < 0 or vector["type"] == "sparsevec":
            rows = server.query(report.dimensions_question(vector))
            vector["dimensions"] = rows[0][0] or 0 if rows else 0
    found["vectors"] = [report.costed(vector, memory) for vector in found["vectors"]]
    return found


if __name__ == "__main__":
    main()
