"""Playbooks and tests against hosts that are up: recorded as runs, like a rebuild."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homelab_provision import paths
from homelab_provision.data.program import bring_key
from homelab_provision.doors.ansible import Playbook, Recap, play
from homelab_provision.doors.ssh import Answer
from homelab_provision.doors.verify import VerifyReport, verify
from homelab_provision.errors import ProvisionError
from homelab_provision.events import Emit, Event, Said
from homelab_provision.identity.seed import mac_of
from homelab_provision.image.mirror import find_mirror
from homelab_provision.phases.session import Session, session
from homelab_provision.runs.phase import Phase
from homelab_provision.runs.recorder import recorded
from homelab_provision.runs.store import Request, Run
from homelab_provision.site.roles import programs_of


@dataclass(frozen=True)
class Order:
    """How a playbook is to be run: the hosts (none: all that are provisioned), and Ansible's options of the same names.

    `variables` come from the command line, and win over those of the site.
    """

    hosts: tuple[str, ...] = ()
    check: bool = False
    diff: bool = False
    tags: tuple[str, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Played:
    """A finished run of a playbook: its record, how many tasks there were by outcome, and what it had to say."""

    run: Run
    recap: Recap
    said: tuple[Said, ...]


def run_playbook(command: str, site_dir: Path, playbook: Path, order: Order, *, emit: Emit) -> Played:
    """Run a playbook; raises `PlaybookFailed`.

    The run's result is `done` at best: that Ansible is content proves nothing, `verify` does.
    """
    said: list[Said] = []
    with session(site_dir, order.hosts) as opened:
        names = [host.name for host in opened.hosts]
        request = Request(command=command, site=site_dir, host="+".join(order.hosts) or "all")
        with recorded(request, names, f"{command} {playbook.name}", Phase.CONVERGE, emit) as recording:

            def tell(event: Event) -> None:
                if isinstance(event, Said):
                    said.append(event)
                recording.tell(event)

            recap = _play(opened, playbook, names, recording.run.folder("ansible"), tell, order)
            if command == "apply" and not order.check:
                _bring_keys(opened)
            recording.leave(recap.proof())
    return Played(recording.run, recap, tuple(said))


@dataclass(frozen=True)
class Verified:
    """What the tests of the hosts said, and why some hosts could not be asked."""

    reports: tuple[VerifyReport, ...]
    absent: tuple[ProvisionError, ...]


def verify_hosts(site_dir: Path, hosts: Sequence[str], *, emit: Emit) -> Verified:
    """Run the tests of the hosts' roles; one host that is off keeps nobody from hearing about the others."""
    mirror = find_mirror()
    reports, absent = [], []
    with session(site_dir, hosts) as opened:
        for host in opened.hosts:
            try:
                _require_ours(opened, host.name)
            except ProvisionError as error:
                absent.append(error)
                continue
            report = verify(
                host.name,
                host.roles,
                ssh_config=opened.ssh.config_file,
                expected={"host": host.name, "address": host.address, "mirror": mirror.base if mirror else None},
                artifacts=paths.private(paths.state() / "verify" / host.name),
                emit=emit,
            )
            reports.append(report)
    return Verified(tuple(reports), tuple(absent))


def _require_ours(opened: Session, host: str) -> None:
    """Tests of a host that does not answer would only say so one by one."""
    answer = opened.ssh.answer(host)
    if answer is Answer.OURS:
        return
    address = opened.ssh.addresses[host]
    reasons = {
        Answer.SILENT: (f"`{host}` does not answer at {address}", "is it on? If it is, its console says more"),
        Answer.STRANGER: (
            f"what answers at {address} is not `{host}`: it shows another host key",
            "nothing was sent to it; is that address given to another machine?",
        ),
        Answer.LOCKED_OUT: (f"`{host}` does not let us in", "its root has another key than this site's; rebuild it"),
    }
    message, hint = reasons[answer]
    raise ProvisionError(message, hint=hint)


def _bring_keys(opened: Session) -> None:
    """Give the key that signs records to hosts whose data is backed up: one installed before there was any has none."""
    for host in opened.hosts:
        if any(programs_of(host.roles).values()):
            bring_key(opened.ssh, host.name, opened.identities.hosts[host.name].signing.private)


def _play(opened: Session, playbook: Path, names: Sequence[str], artifacts: Path, tell: Emit, order: Order) -> Recap:
    told = {
        "provision_macs": {name: mac_of(opened.site, name) for name in names},
        "provision_authority": opened.identities.site.authority.certificate,
    }
    return play(
        Playbook(
            path=playbook,
            inventory=opened.site.root / "hosts.yml",
            ssh_config=opened.ssh.config_file,
            limit=",".join(names),
            check=order.check,
            diff=order.diff,
            tags=order.tags,
            roles=(opened.site.root / "roles",),
            variables={**told, **order.variables},
            vault_password_file=opened.vault.password_file,
            variables_file=opened.vault.variables_file(),
        ),
        artifacts=artifacts,
        emit=tell,
    )
