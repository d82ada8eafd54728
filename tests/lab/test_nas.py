"""Shares for real: a NAS that exports, a host that mounts, and what happens when the NAS goes and comes back."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from homelab_provision.errors import ExitCode
from tests.lab.conftest import Homelab

pytestmark = [pytest.mark.lab, pytest.mark.long]

NAS, HOST = "192.168.50.20", "192.168.50.10"
DATA = {"source": f"{NAS}:/srv/data", "path": "/mnt/data"}
BACKUP = {"source": f"{NAS}:/srv/backup/db-wyse", "path": "/mnt/backup", "profile": "backup"}

# The databases of db-wyse are not what this is about: its foundation and its shares alone, and the facts that Ansible
# gathers, which a dead mount used to stop.
PLAYBOOK = [
    {
        "hosts": "db-wyse",
        "gather_facts": True,
        "roles": [
            {"role": "base", "vars": {"base_network": "{{ provision_network }}"}},
            "nas_mounts",
        ],
    }
]

# Seconds. A request over NFS fails after about 40, and `ls` makes two; under emulation everything else takes longer.
ERROR = 120
RELOAD = 60
REBOOT = 420
RETURN = 120


class House:
    """A homelab in which `nas` exports two directories to db-wyse."""

    def __init__(self, homelab: Homelab, folder: Path) -> None:
        self.homelab = homelab
        self.playbook = folder / "shares.yml"
        self.playbook.write_text(yaml.safe_dump(PLAYBOOK))
        exports = [
            {"path": str(one["source"]).partition(":")[2], "clients": [{"address": HOST}]} for one in (DATA, BACKUP)
        ]
        # The shortest times that still work: after a start nobody opens files for as long.
        self.tell("nas", nfs_server_exports=exports, nfs_server_lease_time=10, nfs_server_grace_time=10)
        for machine in ("nas-a", "wyse-a"):
            self.done("lab", "install", machine)
        self.done("apply", "nas")

    def tell(self, host: str, **variables: object) -> None:
        file = self.homelab.site / "host_vars" / f"{host}.yml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump(variables))

    def done(self, *words: str) -> subprocess.CompletedProcess[str]:
        run = self.homelab.run(*words)
        assert run.returncode == ExitCode.DONE, run.stderr
        return run

    def mount(self, *shares: Mapping[str, object]) -> str:
        """Play the roles with these shares; what Ansible printed."""
        self.tell("db-wyse", nas_mounts=[dict(share) for share in shares])
        self.done("run", str(self.playbook), "--limit", "db-wyse")
        return "".join(file.read_text() for file in (self.homelab.runs_folder / "latest").glob("**/stdout"))

    def on(self, host: str, script: str) -> str:
        """What a shell script on a host prints; it must succeed."""
        return self.done("lab", "ssh", host, "--", "sh", "-c", script).stdout

    def fails_within(self, script: str) -> float:
        """The seconds after which a script on db-wyse ends with an error; it must, and in time."""
        timed = (
            f"start=$(date +%s); timeout --signal=KILL 300 sh -c '{script}' && exit 9; echo $(($(date +%s) - start))"
        )
        seconds = float(self.on("db-wyse", timed).split()[-1])
        assert seconds < ERROR, script
        return seconds

    def mounted(self, path: str) -> str:
        """The options with which a share is mounted; empty if it is not."""
        return self.on("db-wyse", f'awk \'$2 == "{path}" && $3 == "nfs4" {{print $4}}\' /proc/mounts').strip()


def test_shares_outlive_their_nas(homelab: Homelab, tmp_path: Path) -> None:
    house = House(homelab, tmp_path)
    house.mount(DATA, BACKUP)
    shares_are_mounted_by_their_first_use(house)
    homelab.machine("nas-a").power_off()
    host_lives_without_its_nas(house)
    host_boots_without_its_nas(house)
    house.done("lab", "on", "nas-a")
    shares_are_back_without_hands(house)
    removed_share_is_gone(house)
    assert homelab.run("verify", "nas").returncode == ExitCode.DONE, "a foreign address is refused, and more"


def shares_are_mounted_by_their_first_use(house: House) -> None:
    assert house.mounted("/mnt/backup") == ""
    # An account that the NAS has never heard of; whose it is there, the NAS decides.
    house.on("db-wyse", "echo kept >/mnt/backup/file && chmod 777 /mnt/backup /mnt/data")
    house.on("db-wyse", "setpriv --reuid=nobody --clear-groups sh -c 'echo mine >/mnt/data/file'")
    assert house.on("nas", "cat /srv/backup/db-wyse/file; stat --format=%u /srv/data/file") == "kept\n2049\n"
    assert {"softerr", "timeo=50", "retrans=3", "nosuid", "vers=4.2"} <= set(house.mounted("/mnt/backup").split(","))
    assert "hard" in house.mounted("/mnt/data").split(",")
    # A program that writes once a second to the share for data, through all that follows.
    house.on("db-wyse", "systemd-run --unit=writer sh -c 'while date >>/mnt/data/log; do sleep 1; done'")


def host_lives_without_its_nas(house: House) -> None:
    house.fails_within("ls /mnt/backup")
    house.fails_within("echo lost >/mnt/backup/lost")
    # The writer waits, and so would everything that walks to /mnt/data: systemd does not, when it reloads.
    took = house.on("db-wyse", "start=$(date +%s); systemctl daemon-reload; echo $(($(date +%s) - start))")
    assert float(took) < RELOAD
    assert house.on("db-wyse", "systemctl show --property=LoadState --value srv.mount mnt-data.automount").split() == [
        "loaded",
        "loaded",
    ]
    # Other options for a share that is in use and dead: the play succeeds, and warns.
    told = house.mount({**DATA, "options": ["timeo=70"]}, BACKUP)
    assert f"{NAS} does not answer at port 2049" in told
    assert house.on("db-wyse", "systemctl is-active writer.service") == "active\n", "nobody is cut off"


def host_boots_without_its_nas(house: House) -> None:
    before = house.on("db-wyse", "cat /proc/sys/kernel/random/boot_id")
    house.homelab.run("lab", "ssh", "db-wyse", "--", "systemctl", "reboot")
    give_up = time.monotonic() + REBOOT
    while True:
        asked = house.homelab.run("lab", "ssh", "db-wyse", "--", "cat", "/proc/sys/kernel/random/boot_id")
        if asked.returncode == ExitCode.DONE and asked.stdout != before:
            break
        assert time.monotonic() < give_up, asked.stderr
        time.sleep(2)
    house.on("db-wyse", "systemctl is-system-running --wait")
    house.fails_within("ls /mnt/data")
    # Nor does anybody write beneath the share, with its automount stopped and all.
    house.on(
        "db-wyse", "systemctl stop mnt-data.automount; ! touch /mnt/data/beneath; systemctl start mnt-data.automount"
    )


def shares_are_back_without_hands(house: House) -> None:
    give_up = time.monotonic() + RETURN
    while house.on("db-wyse", "cat /mnt/backup/file /mnt/data/file || true") != "kept\nmine\n":
        assert time.monotonic() < give_up
        time.sleep(2)
    assert "timeo=70" in house.mounted("/mnt/data").split(",")
    assert house.on("db-wyse", "ls /mnt/backup") == "file\n"


def removed_share_is_gone(house: House) -> None:
    told = house.mount({**DATA, "options": ["timeo=70"]})
    assert "does not answer" not in told
    house.on("db-wyse", "test ! -e /mnt/backup && ! systemctl cat mnt-backup.mount && ! grep /mnt/backup /proc/mounts")
    assert house.on("nas", "cat /srv/backup/db-wyse/file") == "kept\n", "what was on it stays on the NAS"
