"""A STAND-IN for pihole-FTL: dnsmasq, which FTL embeds, with what the configuration and gravity come to."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .settings import Refused

LISTEN = {"LOCAL": "local-service", "ALL": "except-interface=nonexisting", "NONE": ""}


class Resolver:
    """One process of dnsmasq. `folder` holds its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("hosts", "blocked", "below"):
            (folder / name).touch()

    def configuration(self, values: dict[str, Any]) -> str:
        mode, interface = values["dns.listeningMode"], values["dns.interface"]
        lines = [
            "no-resolv",
            "no-hosts",
            "keep-in-foreground",
            "user=root",
            "log-facility=-",
            "local-ttl=2",
            f"addn-hosts={self.folder}/hosts",
            f"addn-hosts={self.folder}/blocked",
            f"conf-file={self.folder}/below",
            f"port={values['dns.port']}",
            f"cache-size={values['dns.cache.size']}",
            "localise-queries",
            LISTEN.get(mode, f"interface={interface}"),
            "bind-interfaces" if mode == "BIND" else "",
            *(f"server={server}" for server in values["dns.upstreams"]),
            *(f"cname={record}" for record in values["dns.cnameRecords"]),
            "bogus-priv" if values["dns.bogusPriv"] else "",
            "domain-needed" if values["dns.domainNeeded"] else "",
            "expand-hosts" if values["dns.expandHosts"] else "",
            "local=/home.arpa/",
            "local=/internal/",
            "local=/pi.hole/",
            "host-record=pi.hole,0.0.0.0,::",
            *values["misc.dnsmasq_lines"],
        ]
        name = values.get("dns.domain.name", values.get("dns.domain", ""))
        if name:
            lines += [f"domain={name}", f"local=/{name}/" if values.get("dns.domain.local", True) else ""]
        for record in values["dns.revServers"]:
            active, network, server, *domain = record.split(",")
            if active in ("true", "1"):
                lines += [f"rev-server={network},{server}", *(f"server=/{each}/{server}" for each in domain if each)]
        if values["dhcp.active"]:
            reach = [values["dhcp.start"], values["dhcp.end"], values["dhcp.netmask"], values["dhcp.leaseTime"]]
            lines += ["dhcp-authoritative", f"dhcp-leasefile={self.folder}/leases"]
            lines += [f"dhcp-range={','.join(word for word in reach if word)}"]
            lines += [f"dhcp-option=option:router,{values['dhcp.router']}"]
            lines += [f"dhcp-host={host}" for host in values["dhcp.hosts"]]
        return "\n".join(line for line in lines if line) + "\n"

    def accept(self, values: dict[str, Any]) -> None:
        """Raise what FTL answers to a configuration that dnsmasq does not take."""
        new = self.folder / "dnsmasq.new"
        new.write_text(self.configuration(values))
        tried = subprocess.run(["dnsmasq", "--test", f"--conf-file={new}"], capture_output=True, text=True, check=False)
        if tried.returncode:
            raise Refused(400, "bad_request", "Invalid configuration", tried.stderr.strip().replace(str(new), "line"))

    def write(self, hosts: Sequence[str], exact: Sequence[str], below: Sequence[str]) -> None:
        (self.folder / "hosts").write_text("".join(f"{line}\n" for line in hosts))
        (self.folder / "blocked").write_text("".join(f"0.0.0.0 {name}\n:: {name}\n" for name in exact))
        (self.folder / "below").write_text("".join(f"address=/{name}/0.0.0.0\naddress=/{name}/::\n" for name in below))

    def start(self, values: dict[str, Any]) -> None:
        self.stop()
        file = self.folder / "dnsmasq.conf"
        file.write_text(self.configuration(values))
        self.process = subprocess.Popen(["dnsmasq", f"--conf-file={file}"])
        time.sleep(0.3)
        if self.process.poll() is not None:
            raise SystemExit(f"dnsmasq ended with status {self.process.returncode}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=10)
            self.process = None
