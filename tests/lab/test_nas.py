"""Shares for real: a NAS that exports, a host that mounts, and what happens when the NAS goes and comes back."""

from __future__ import annotations

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
MEDIA = {
    "source": f"//{NAS}/media",
    "path": "/mnt/media",
    "profile": "media",
    "protocol": "smb",
    "username": "films",
    "password": 'of course, "quoted" #1',
    "owner": "nobody",
}

# No role makes an SMB server, which a bought NAS has of its own: Debian's Samba, as its manual has it.
SAMBA = f"""set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --no-install-recommends samba >/dev/null
mkdir -p /srv/media
useradd --system --no-create-home {MEDIA["username"]}
chown {MEDIA["username"]} /srv/media
cat >/etc/samba/smb.conf <<END
[global]
server role = standalone server
server min protocol = SMB3
[media]
path = /srv/media
read only = no
valid users = {MEDIA["username"]}
END
cat >/tmp/password
cat /tmp/password /tmp/password | smbpasswd -s -a {MEDIA["username"]}
rm /tmp/password
systemctl restart smbd
"""

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
# From `reboot` to the start of the next kernel, firmware and all.
DOWN = 90
# An emulated NAS serves two to three minutes after it was switched on, and later beside other work.
SERVING = 900
RETURN = 400
READ = "cat /mnt/backup/file /mnt/data/file /mnt/media/film"


class House:
    """A homelab in which `nas` exports two directories to db-wyse."""

    def __init__(self, homelab: Homelab, folder: Path) -> None:
        self.homelab = homelab
        self.on, self.done = homelab.on, homelab.done
        self.playbook = folder / "shares.yml"
        self.playbook.write_text(yaml.safe_dump(PLAYBOOK))
        exports: list[dict[str, object]] = [
            {"path": str(one["source"]).partition(":")[2], "clients": [{"address": HOST}]} for one in (DATA, BACKUP)
        ]
        exports[1] |= {"size": "200 MB", "snapshots": 2}
        # The shortest times that still work: after a start nobody opens files for as long.
        smb = f"ip saddr {HOST} tcp dport 445 accept"
        homelab.tell(
            "nas",
            nfs_server_exports=exports,
            nfs_server_lease_time=10,
            nfs_server_grace_time=10,
            base_firewall_rules=[smb],
        )
        for machine, host in (("nas-a", "nas"), ("wyse-a", "db-wyse")):
            homelab.install(machine, host)
        self.done("apply", "nas")
        self.on("nas", SAMBA, feed=f"{MEDIA['password']}\n")

    def mount(self, *shares: Mapping[str, object]) -> str:
        """Play the roles with these shares; what Ansible printed."""
        self.homelab.tell("db-wyse", nas_mounts=[dict(share) for share in shares])
        self.done("run", str(self.playbook), "--limit", "db-wyse")
        return "".join(file.read_text() for file in (self.homelab.runs_folder / "latest").glob("**/stdout"))

    def fails_within(self, script: str) -> float:
        """The seconds after which a script on db-wyse ends with an error; it must, and in time."""
        timed = (
            f"start=$(date +%s); timeout --signal=KILL 300 sh -c '{script}' && exit 9; echo $(($(date +%s) - start))"
        )
        seconds = float(self.on("db-wyse", timed).split()[-1])
        assert seconds < ERROR, script
        return seconds

    def reboot(self) -> float:
        """Reboot db-wyse, which takes few seconds."""
        down = self.homelab.reboot("db-wyse")
        story = "journalctl --no-pager --boot=-1 --lines=100 --output=short-monotonic"
        assert down < DOWN, self.on("db-wyse", story)
        return down

    def mounted(self, path: str, kind: str = "nfs4") -> set[str]:
        """The options with which a share is mounted; none if it is not."""
        told = self.on("db-wyse", f'awk \'$2 == "{path}" && $3 == "{kind}" {{print $4}}\' /proc/mounts').strip()
        return set(told.split(",")) if told else set()


@pytest.fixture
def house(homelab: Homelab, tmp_path: Path) -> House:
    """With three shares, of which each has a file."""
    made = House(homelab, tmp_path)
    made.mount(DATA, BACKUP, MEDIA)
    shares_are_mounted_by_their_first_use(made)
    smb_share_is_its_owners(made)
    return made


def test_shares_are_limited_and_put_back(house: House) -> None:
    wrong_password_opens_no_smb_share(house)
    host_fills_no_more_than_its_share(house)
    what_a_host_destroys_is_put_back(house)
    assert house.homelab.run("verify", "nas").returncode == ExitCode.DONE, "a foreign address is refused, and more"


def test_shares_outlive_their_nas(house: House) -> None:
    nothing_is_lost_at_a_reboot(house)
    programs_write_on_and_on(house)
    house.homelab.machine("nas-a").power_off()
    host_lives_without_its_nas(house)
    host_boots_without_its_nas(house)
    house.done("lab", "on", "nas-a")
    nas_serves_again(house)
    shares_are_back_without_hands(house)
    removed_share_is_gone(house)


def shares_are_mounted_by_their_first_use(house: House) -> None:
    assert house.mounted("/mnt/backup") == set()
    # An account that the NAS has never heard of; whose it is there, the NAS decides.
    house.on("db-wyse", "echo kept >/mnt/backup/file && chmod 777 /mnt/backup /mnt/data")
    house.on("db-wyse", "setpriv --reuid=nobody --clear-groups sh -c 'echo mine >/mnt/data/file'")
    assert house.on("nas", "cat /srv/backup/db-wyse/file; stat --format=%u /srv/data/file") == "kept\n2049\n"
    assert {"softerr", "timeo=50", "retrans=3", "nosuid", "vers=4.2"} <= house.mounted("/mnt/backup")
    assert "hard" in house.mounted("/mnt/data")


def smb_share_is_its_owners(house: House) -> None:
    assert house.mounted("/mnt/media", "cifs") == set()
    house.on("db-wyse", "setpriv --reuid=nobody --clear-groups sh -c 'echo seen >/mnt/media/film'")
    assert house.on("nas", "cat /srv/media/film; stat --format=%U /srv/media/film") == "seen\nfilms\n"
    assert {"soft", "nosuid", "nodev", "vers=3.1.1", "username=films"} <= house.mounted("/mnt/media", "cifs")
    house.on("db-wyse", "! setpriv --reuid=daemon --clear-groups ls /mnt/media")


def wrong_password_opens_no_smb_share(house: House) -> None:
    """A password that changes takes effect, and where it is wrong nothing is mounted and nothing hangs."""
    house.mount(DATA, BACKUP, {**MEDIA, "password": "wrong"})
    house.fails_within("ls /mnt/media")
    assert house.mounted("/mnt/media", "cifs") == set()
    house.mount(DATA, BACKUP, MEDIA)
    assert house.on("db-wyse", "cat /mnt/media/film") == "seen\n"


def host_fills_no_more_than_its_share(house: House) -> None:
    fill = "dd if=/dev/zero of=/mnt/backup/fill bs=1M count=300 conv=fsync"
    assert "quota" in house.on("db-wyse", f"{fill} 2>&1 && exit 9; du --block-size=1M /mnt/backup >&2; true").lower()
    used = int(house.on("nas", "du --summarize --block-size=1M /srv/backup/db-wyse | cut -f1"))
    assert 180 <= used <= 200
    # Nobody else is held up by it.
    house.on("db-wyse", "dd if=/dev/zero of=/mnt/data/large bs=1M count=250 conv=fsync && rm /mnt/data/large")
    house.on("db-wyse", "rm /mnt/backup/fill")


def what_a_host_destroys_is_put_back(house: House) -> None:
    house.on("nas", "systemctl start homelab-share-snapshot.service")
    house.on("db-wyse", "rm /mnt/backup/file; echo ransom >/mnt/backup/note; ! ls /mnt/backup/../snapshots")
    house.on("nas", "homelab-shares put-back /srv/backup/db-wyse latest")
    assert house.on("db-wyse", "ls /mnt/backup; cat /mnt/backup/file") == "file\nkept\n"
    house.on("db-wyse", "echo kept >/mnt/backup/file")  # it is its own again
    house.on("nas", "homelab-shares limit")  # a second time changes nothing
    # A copy counts for nobody's limit.
    assert house.on("nas", "repquota --project --no-names --raw-grace /srv | grep -c '^#'").strip() == "2"


def nothing_is_lost_at_a_reboot(house: House) -> None:
    """The NAS is there: what a program had written and nobody had sent yet arrives."""
    write = "exec 3>/mnt/data/late; head -c 20M /dev/urandom | tee /srv/late >&3; touch /run/written; sleep infinity"
    house.on("db-wyse", f"systemd-run --unit=late sh -c '{write}'; until test -e /run/written; do sleep 0.2; done")
    house.reboot()
    digests = [house.on("db-wyse", "sha256sum </srv/late"), house.on("nas", "sha256sum </srv/data/late")]
    assert digests[0] == digests[1]
    house.on("db-wyse", "rm /srv/late /mnt/data/late; ls /mnt/backup /mnt/media")


def programs_write_on_and_on(house: House) -> None:
    """Through all that follows: one is held up by each line, the other leaves them to the kernel, and to its `sync`."""
    house.on("db-wyse", "systemd-run --unit=writer sh -c 'while date >>/mnt/data/log; do sleep 1; done'")
    house.on("db-wyse", "systemd-run --unit=holder sh -c 'exec 3>/mnt/data/held; while date >&3; do sleep 1; done'")


def host_lives_without_its_nas(house: House) -> None:
    house.fails_within("ls /mnt/backup")
    house.fails_within("ls /mnt/media")
    house.fails_within("echo lost >/mnt/backup/lost")
    # The writer waits, and so would everything that walks to /mnt/data: systemd does not, when it reloads.
    took = house.on("db-wyse", "start=$(date +%s); systemctl daemon-reload; echo $(($(date +%s) - start))")
    assert float(took) < RELOAD
    assert house.on("db-wyse", "systemctl show --property=LoadState --value srv.mount mnt-data.automount").split() == [
        "loaded",
        "loaded",
    ]
    # Other options for a share that is in use and dead: the play succeeds, and warns.
    told = house.mount({**DATA, "options": ["timeo=70"]}, BACKUP, MEDIA)
    assert f"{NAS} does not answer at port 2049" in told
    assert house.on("db-wyse", "systemctl is-active writer holder").split() == ["active"] * 2, "nobody is cut off"


def host_boots_without_its_nas(house: House) -> None:
    house.reboot()
    house.on("db-wyse", "systemctl is-system-running --wait")
    house.fails_within("ls /mnt/data")
    # Nor does anybody write beneath the share, with its automount stopped and all.
    house.on(
        "db-wyse", "systemctl stop mnt-data.automount; ! touch /mnt/data/beneath; systemctl start mnt-data.automount"
    )


def nas_serves_again(house: House) -> None:
    """Its own time is not what is measured after it."""
    give_up = time.monotonic() + SERVING
    serving = ("lab", "ssh", "nas", "--", "systemctl", "is-active", "nfs-server.service", "smbd.service")
    while (asked := house.homelab.run(*serving)).stdout.split() != ["active", "active"]:
        assert time.monotonic() < give_up, asked.stdout + asked.stderr
        time.sleep(5)


def shares_are_back_without_hands(house: House) -> None:
    give_up = time.monotonic() + RETURN
    while (read := house.on("db-wyse", f"{READ} 2>&1 || true")) != "kept\nmine\nseen\n":
        story = "journalctl --no-pager --lines=60 --identifier=kernel --identifier=systemd; cat /proc/mounts"
        assert time.monotonic() < give_up, read + house.on("db-wyse", story)
        time.sleep(2)
    assert "timeo=70" in house.mounted("/mnt/data")
    assert house.on("db-wyse", "ls /mnt/backup") == "file\n"


def removed_share_is_gone(house: House) -> None:
    told = house.mount({**DATA, "options": ["timeo=70"]})
    assert f"{NAS} does not answer" not in told
    for name in ("backup", "media"):
        gone = f"test ! -e /mnt/{name} && ! systemctl cat mnt-{name}.mount && ! grep /mnt/{name} /proc/mounts"
        house.on("db-wyse", gone)
    house.on("db-wyse", "test ! -e /etc/homelab-provision/nas/mnt-media")
    assert house.on("nas", "cat /srv/backup/db-wyse/file") == "kept\n", "what was on it stays on the NAS"
