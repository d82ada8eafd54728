"""A copy keeps in step with its source: lists, domains, groups, clients, local records, and nothing else.

Not by an archive of all settings: that would bring the source's password and its DHCP along, and start the copy anew
every time. What is the same is not touched.
"""

from __future__ import annotations

from homelab_host import report
from homelab_host.errors import Trouble

from . import config, entries
from .client import GRAVITY_TIMEOUT, Session
from .setup import AUTHORITY, SOURCE_PASSWORD, Setup, own, session

RECORDS = ("dns.hosts", "dns.cnameRecords")


def copy(setup: Setup) -> dict[str, object]:
    if not setup.source:
        raise Trouble("this Pi-hole is no copy", "name the host that it is a copy of: pihole_source")
    report.step("ask the source")
    with session(setup.source, SOURCE_PASSWORD, AUTHORITY) as source:
        wanted, _ = entries.current(source)
        records = _records(source)
    with own(setup) as session_:
        found, ids = entries.current(session_)
        todo = entries.plan(found, list(wanted.values()), exclusive=True)
        entries.carry_out(session_, todo, ids)
        if todo.touches_lists:
            report.step("fetch the lists")
            session_.send("POST", "action/gravity", timeout=GRAVITY_TIMEOUT)
        changed = {name: lines for name, lines in records.items() if _records(session_)[name] != lines}
        if changed:
            session_.send("PATCH", "config", {"config": config.nested(changed)})
    return {"actions": [*todo.words, *changed], "changed": bool(todo.words or changed)}


def _records(opened: Session) -> dict[str, list[str]]:
    known = config.leaves(opened.get("config?detailed=true")["config"])
    return {name: list(known[name]["value"]) for name in RECORDS}
