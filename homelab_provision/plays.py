"""Playbooks and tests against hosts that are up: recorded as runs, like a rebuild."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from homelab_provision import paths
from homelab_provision.ansible import Playbook, Recap, play
from homelab_provision.events import Emit
from homelab_provision.image.mirror import find_mirror
from homelab_provision.injection import mac_of
from homelab_provision.phases import Phase
from homelab_provision.recording import recorded
from homelab_provision.roles import roles_of
from homelab_provision.runs import Request
from homelab_provision.session import Session, session
from homelab_provision.verify import VerifyReport, verify


def run_playbook(
    command: str, site_dir: Path, playbook: Path, hosts: Sequence[str], *, emit: Emit, check: bool = False
) -> Recap:
    """Run a playbook against `hosts` (none: all that are provisioned); raises `PlaybookFailed`.

    The run's result is `unproven` at best: that Ansible is content proves nothing, `verify` does.
    """
    with session(site_dir, hosts) as opened:
        names = [host.name for host in opened.hosts]
        request = Request(command=command, site=site_dir, host="+".join(hosts) or "all")
        with recorded(request, names, f"{command} {playbook.name}", Phase.CONVERGE, emit) as recording:
            recap = _play(opened, playbook, names, recording.run.folder("ansible"), recording.tell, check)
            recording.leave(recap.proof())
            return recap


def verify_hosts(site_dir: Path, hosts: Sequence[str], *, emit: Emit) -> list[VerifyReport]:
    """Run the tests of the hosts' roles."""
    mirror = find_mirror()
    with session(site_dir, hosts) as opened:
        return [
            verify(
                host.name,
                roles_of(host),
                ssh_config=opened.ssh.config_file,
                expected={"host": host.name, "address": host.address, "mirror": mirror.base if mirror else None},
                artifacts=paths.private(paths.state() / "verify" / host.name),
                emit=emit,
            )
            for host in opened.hosts
        ]


def _play(opened: Session, playbook: Path, names: Sequence[str], artifacts: Path, tell: Emit, check: bool) -> Recap:
    macs = {name: mac_of(opened.site, name) for name in names}
    return play(
        Playbook(
            path=playbook,
            inventory=opened.site.root / "hosts.yml",
            ssh_config=opened.ssh.config_file,
            limit=",".join(names),
            check=check,
            variables={"provision_macs": macs},
            vault_password_file=opened.vault.password_file,
            variables_file=opened.vault.variables_file(),
        ),
        artifacts=artifacts,
        emit=tell,
    )
