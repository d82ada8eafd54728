"""Sites made of two texts, without asking Ansible."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from homelab_provision.site.document import parse_document
from homelab_provision.site.hosts import HostSources, read_hosts
from homelab_provision.site.inventory import Inventory, parse_export
from homelab_provision.site.loading import assemble
from homelab_provision.site.models import Site
from homelab_provision.site.problems import SiteError
from homelab_provision.site.roles import Pattern

HOSTS = """\
all:
  children:
    provisioned:
      hosts:
        db-wyse:
          ansible_host: 192.168.50.10
        web-wyse:
          ansible_host: 192.168.50.11
    others:
      hosts:
        nas:
          ansible_host: 192.168.50.20
"""
WYSE_A = """\
  wyse-a:
    plays: db-wyse
    passport:
      serial: AAA0001
      macs: ["52:54:00:50:70:0a"]
      memory_mib: 8192
      disks: [{serial: SYS-A, size: 256 GB}]
"""
WYSE_B = """\
  wyse-b:  # the spare
    passport:
      serial: BBB0001
      macs: ["52:54:00:50:70:0b"]
      memory_mib: 8192
      disks:
        - serial: SYS-B
          size: 256 GB
"""
VPN_KEY = "kx1pQWnBvnVBTRW0JCTGu9wJ3pOt2fUyWrZxmg1CxVQ="
VPN = f"""\
provision_vpn:
  endpoint: home.example.org
  networks: [10.77.0.0/24, "fd77:5070::/64"]
  reaches: [192.168.50.0/24]
  dns: [192.168.50.53]
  search: home.arpa
  mtu: 1380
  clients:
    tablet: {{number: 10, tunnel: full}}
    phone: {{number: 11, expires: 2027-01-31}}
    old_laptop: {{number: 12, revoked: true}}
    cloud_a: {{number: 5, host: nas}}
    own: {{number: 13, public_key: "{VPN_KEY}"}}
"""
MACHINES = f"machines:\n{WYSE_A}\n{WYSE_B}"


def hosts_with(vpn: str) -> str:
    """The hosts of an inventory that all know the variables `vpn`."""
    return f"{HOSTS}  vars:\n" + "".join(f"    {line}\n" for line in vpn.splitlines())


def site_of(machines: str = MACHINES, hosts: str = HOSTS, root: Path = Path("/srv/sites/lab")) -> Site:
    """The site that these two files describe; raises SiteError as `load_site` does."""
    document = parse_document("hosts.yml", hosts)
    read, problems = read_hosts(HostSources(root, document, inventory_of(hosts)))
    return assemble(root, read, parse_document("machines.yml", machines), [*document.problems, *problems])


def problems_of(machines: str = MACHINES, hosts: str = HOSTS, root: Path = Path("/srv/sites/lab")) -> str:
    """Everything that is wrong with a site, as the user reads it; empty for a good one."""
    try:
        site_of(machines, hosts, root)
    except SiteError as error:
        return error.message
    return ""


def inventory_of(hosts: str, patterns: Sequence[Pattern] = ()) -> Inventory:
    """What `ansible-inventory --list --export` prints for an inventory without group_vars and host_vars; for a pattern
    it knows no host."""
    export: dict[str, Any] = {"_meta": {"hostvars": {}, "matched": [[] for _ in patterns]}}

    def add(name: str, group: dict[str, Any] | None) -> None:
        entry = export.setdefault(name, {})
        for host, variables in ((group or {}).get("hosts") or {}).items():
            entry.setdefault("hosts", []).append(host)
            export["_meta"]["hostvars"].setdefault(host, {}).update(variables or {})
        if (group or {}).get("vars"):
            entry["vars"] = (group or {})["vars"]
        for child, below in ((group or {}).get("children") or {}).items():
            entry.setdefault("children", []).append(child)
            add(child, below)

    for name, group in yaml.safe_load(hosts).items():
        add(name, group)
    return parse_export(export)
