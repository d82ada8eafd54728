"""converge: `site.yml`, limited to the host."""

from __future__ import annotations

from homelab_provision import paths
from homelab_provision.data.program import restored
from homelab_provision.doors.ansible import Playbook, Recap, play
from homelab_provision.events import Proof
from homelab_provision.phases.context import Rebuild


def run(rebuild: Rebuild) -> Proof:
    """Run the site's playbook against the new system; services whose data is still to come wait for it."""
    recap = play_site(rebuild)
    # What is proven from here on must also survive a power cut.
    rebuild.ssh.run(rebuild.plan.host, "sync", deadline=120)
    return recap.proof()


def play_site(rebuild: Rebuild) -> Recap:
    """Play `site.yml` for the host of this rebuild."""
    back = restored(rebuild.run)
    awaiting_data = any(backup.role not in back for backup in rebuild.plan.backups)
    return play(
        Playbook(
            path=paths.content("playbooks") / "site.yml",
            inventory=rebuild.site.root / "hosts.yml",
            ssh_config=rebuild.ssh.config_file,
            limit=rebuild.plan.host,
            variables={
                "provision_macs": {rebuild.plan.host: rebuild.machine.passport.macs[0]},
                "provision_authority": rebuild.session.identities.site.authority.certificate,
                "provision_run": rebuild.run.id,
                "provision_restore": awaiting_data,
            },
            vault_password_file=rebuild.session.vault.password_file,
            variables_file=rebuild.session.vault.variables_file(),
        ),
        artifacts=rebuild.run.folder("ansible"),
        emit=rebuild.emit,
    )
