"""What a host shows when the role `base` has done its work."""

from __future__ import annotations

import json
import re
from concurrent.futures import Future
from typing import Any, NamedTuple

import pytest

# A port that the firewall has no rule for, and how long something listens there (seconds).
CLOSED_PORT = 47808
GREETING = 30

# Where services keep state if nobody moves it to /srv.
STATE = "/var/lib/postgresql /var/lib/docker /var/lib/containerd /var/lib/mysql /var/lib/redis /var/lib/pgbackrest"

# The index of every archive, fetched and its signature checked, beside the lists that the host uses.
FETCH = """
mkdir lists && apt-get -q update -o Dir::State::lists=$PWD/lists/ \
    -o Acquire::IndexTargets::deb::Packages::DefaultEnabled=false \
    -o Acquire::IndexTargets::deb::Translations::DefaultEnabled=false -o APT::Update::Error-Mode=any \
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Update::Post-Invoke-Success= && ls lists
"""

LIBRARY = "/usr/local/lib/homelab-provision"
# As a program of a role starts: isolated, and without leaving anything compiled behind.
IMPORT = f"""
python3 -IBc 'import sys; sys.path.insert(0, "{LIBRARY}")
from homelab_host import command, document, lock, process, records, share, signing, synced
print(signing.statement("role", "host", "file", "body").splitlines()[0])'
find {LIBRARY}/homelab_host -name __pycache__
"""
# Programs of root's import from there.
TRY = f"""
runuser -u nobody -- sh -c 'echo "import os" >>{LIBRARY}/homelab_host/share.py' 2>&1 || echo refused
runuser -u nobody -- touch {LIBRARY}/own.py 2>&1 || echo refused
find {LIBRARY} ! -user root -o -perm /022
"""

QUESTIONS = {
    "hostname": "hostname; getent hosts $(hostname)",
    "failed": "systemctl --failed --plain --no-legend",
    "units": "systemctl show --property=Id,ActiveState,UnitFileState,Persistent,RandomizedDelayUSec,ExecStop"
    " ssh.service chrony.service nftables.service apt-daily.timer apt-daily-upgrade.timer",
    "sshd": "sshd -T",
    "firewall": "nft --json list ruleset",
    "unloaded": "cat /run/homelab-firewall.failed",
    "root": "sshd -T -C user=root,host=x,addr=1.2.3.4 | grep -i ^authorizedkeysfile",
    "time": "chronyc -n tracking",
    "locale": ". /etc/locale.conf && LC_ALL= LANG=$LANG locale charmap",
    "apt": "apt-config dump",
    "fetch": FETCH,
    # What journald says of its own limits when it starts (SD_MESSAGE_JOURNAL_USAGE).
    "journal": "systemd-analyze cat-config systemd/journald.conf | grep ^SystemMaxUse= | tail -n1;"
    " journalctl -q -o cat MESSAGE_ID=ec387f577b844b8fa948f33cad9a75e6 | grep '^System' | tail -n1",
    "srv": "findmnt --noheadings --output=LABEL,FSTYPE --mountpoint /srv"
    " && file=$(mktemp /srv/.verify.XXXXXX) && echo written >$file && cat $file && rm $file",
    # Packages make the directories; a file in one is state.
    "state": f'for path in {STATE}; do [ -n "$(find $path/ -type f -print -quit 2>/dev/null)" ] &&'
    " echo $path $(findmnt -no TARGET --target $(realpath $path)); done; true",
    "keys": "stat --format='%a %U %n' /etc/ssh/ssh_host_*_key /root/.ssh/authorized_keys /etc/sudoers.d/* 2>/dev/null",
    "release": "cat /etc/homelab-provision/release.json",
    "addresses": "hostname -I",
    "library": IMPORT,
    "try": TRY,
    "pending": "cat /run/homelab-provision/pending.json 2>/dev/null || echo []",
}


class Probes(NamedTuple):
    """What is tried from outside while the host answers the questions."""

    heard_inside: bool
    open_port: Future[Any]
    closed_port: Future[Any]


@pytest.fixture(scope="module", autouse=True)
def probes(host: Any, outside: Any, aside: Any, greeter: Any) -> Probes:
    heard = greeter(host, CLOSED_PORT, GREETING)
    password = ("-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password,keyboard-interactive")
    return Probes(heard, aside.submit(outside.knock, *password), aside.submit(outside.greeting, CLOSED_PORT))


def megabytes(text: str) -> float:
    """A size as journald writes it: `49.9M`, `4G`."""
    return float(text[:-1]) * {"K": 1 / 1024, "M": 1, "G": 1024}[text[-1]]


@pytest.fixture(scope="module")
def units(answers: Any) -> dict[str, dict[str, str]]:
    """What `systemctl show` prints, by unit."""
    blocks = [dict(line.split("=", 1) for line in text.splitlines()) for text in answers["units"].text.split("\n\n")]
    return {block["Id"]: block for block in blocks}


def test_host_knows_its_name(answers: Any, expected: Any) -> None:
    name, resolved = answers["hostname"].text.splitlines()
    assert name == expected["host"]
    assert name in resolved.split()


def test_host_has_its_address(answers: Any, expected: Any) -> None:
    assert expected["address"] in answers["addresses"].text.split()


def test_nothing_failed_to_start(answers: Any) -> None:
    assert answers["failed"] == (0, "")


def test_no_change_waits_to_take_effect(answers: Any) -> None:
    assert json.loads(answers["pending"].text) == []


@pytest.mark.parametrize(
    "unit",
    [
        "ssh.service",
        pytest.param("chrony.service", marks=pytest.mark.machine("its clock is the host's")),
        "nftables.service",
        "apt-daily.timer",
        "apt-daily-upgrade.timer",
    ],
)
def test_unit_runs_and_comes_with_the_boot(units: Any, unit: str) -> None:
    assert (units[unit]["ActiveState"], units[unit]["UnitFileState"]) == ("active", "enabled")


@pytest.mark.negative
def test_sshd_lets_nobody_in_by_password(answers: Any) -> None:
    settings = dict(line.split(" ", 1) for line in answers["sshd"].text.lower().splitlines() if " " in line)
    assert settings["passwordauthentication"] == "no"
    assert settings["kbdinteractiveauthentication"] == "no"
    assert settings["permitrootlogin"] == "without-password"
    assert settings["permitemptypasswords"] == "no"
    assert settings["x11forwarding"] == "no"


@pytest.mark.negative
def test_only_root_says_which_keys_open_an_account(answers: Any) -> None:
    settings = dict(line.split(" ", 1) for line in answers["sshd"].text.lower().splitlines() if " " in line)
    assert settings["authorizedkeysfile"] == "/etc/ssh/authorized_keys.d/%u"
    assert {settings[name] for name in ("authorizedkeyscommand", "trustedusercakeys")} == {"none"}
    assert (settings["hostbasedauthentication"], settings["permituserenvironment"]) == ("no", "no")
    assert answers["root"].text.split()[1:] == [".ssh/authorized_keys"]


def test_firewall_drops_what_nobody_asked_for(answers: Any) -> None:
    chains = [entry["chain"] for entry in json.loads(answers["firewall"].text)["nftables"] if "chain" in entry]
    own = {chain["name"]: chain for chain in chains if chain["table"] == "homelab"}
    assert own["input"]["hook"] == "input"
    assert own["input"]["policy"] == "drop"
    assert "services" in own


def test_every_file_of_the_firewall_is_loaded(answers: Any) -> None:
    assert answers["unloaded"] == (0, "")


@pytest.mark.negative
def test_stopping_the_firewall_leaves_other_tables_alone(units: Any) -> None:
    stops = re.findall(r"argv\[\]=([^;]+?) ;", units["nftables.service"]["ExecStop"])
    assert stops == ["/usr/sbin/nft delete table inet homelab"]


@pytest.mark.machine("its clock is the host's")
def test_time_is_kept(answers: Any) -> None:
    assert answers["time"].status == 0
    assert "Leap status" in answers["time"].text


def test_locale_exists_and_is_utf8(answers: Any) -> None:
    assert answers["locale"] == (0, "UTF-8")


def test_security_upgrades_come_by_themselves(answers: Any) -> None:
    settings = re.findall(r'^(\S+) "(.*)";$', answers["apt"].text, re.MULTILINE)
    assert ("APT::Periodic::Unattended-Upgrade", "1") in settings
    origins = [value for name, value in settings if name == "Unattended-Upgrade::Origins-Pattern::"]
    assert origins == ["origin=Debian,codename=${distro_codename}-security,label=Debian-Security"]


@pytest.mark.parametrize("timer", ["apt-daily.timer", "apt-daily-upgrade.timer"])
def test_upgrades_do_not_run_at_boot(units: Any, timer: str) -> None:
    assert units[timer]["Persistent"] == "no"
    assert units[timer]["RandomizedDelayUSec"] != "0"


def test_apt_fetches_and_trusts_every_archive(answers: Any) -> None:
    assert answers["fetch"].status == 0, answers["fetch"].text
    assert "_InRelease" in answers["fetch"].text


def test_apt_asks_the_mirror_that_the_image_came_from(answers: Any, expected: Any) -> None:
    asked = re.findall(r"^(?:Get|Hit):\d+ (\S+) ", answers["fetch"].text, re.MULTILINE)
    assert expected["mirror"].rstrip("/") in {site.rstrip("/") for site in asked}


def test_journal_is_on_disk_and_limited(answers: Any) -> None:
    configured, in_effect = answers["journal"].text.splitlines()
    assert in_effect.startswith("System Journal (/var/log/journal/")
    # On a small disk journald stays below what it may take.
    assert megabytes(re.findall(r"max (\S+),", in_effect)[0]) <= megabytes(configured.split("=")[1])


@pytest.mark.machine("it has no disk of its own")
def test_srv_is_the_data_partition_and_can_be_written(answers: Any) -> None:
    assert answers["srv"].status == 0, answers["srv"].text
    mounted, written = answers["srv"].text.splitlines()
    assert mounted.split() == ["hlp-srv", "ext4"]
    assert written == "written"


@pytest.mark.negative
def test_no_service_keeps_state_outside_of_srv(answers: Any) -> None:
    astray = [line for line in answers["state"].text.splitlines() if not line.split()[1].startswith("/srv")]
    assert not astray


@pytest.mark.negative
def test_keys_are_nobody_elses_business(answers: Any) -> None:
    seen = [line.split() for line in answers["keys"].text.splitlines()]
    assert any(path == "/etc/ssh/ssh_host_ed25519_key" for _, _, path in seen)
    assert not [path for mode, owner, path in seen if owner != "root" or int(mode, 8) & 0o027]


def test_release_file_names_this_rebuild(answers: Any, expected: Any) -> None:
    release = json.loads(answers["release"].text)
    assert release["nonce"] == expected["nonce"]
    assert release["converged"]["run"] == expected["run"]


@pytest.mark.negative
def test_password_is_not_even_asked_for(probes: Probes) -> None:
    tried = probes.open_port.result()
    assert "remote software version OpenSSH" in tried.text, tried.text
    assert tried.status == 255
    assert "Permission denied (publickey)." in tried.text


def test_key_opens_its_account_and_sudo_asks_nothing(outside: Any, expected: Any) -> None:
    own_key = ("-i", expected["identity"], "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none")
    came_in = outside.knock("-l", expected["login"], *own_key, command="sudo -n id -un")
    assert came_in.status == 0, came_in.text
    assert "root" in came_in.text.splitlines()


@pytest.mark.negative
def test_port_without_a_rule_is_silent(probes: Probes) -> None:
    assert probes.heard_inside, "nothing listened on the host, so silence proves nothing"
    assert probes.closed_port.result() is None


def test_programs_find_the_library(answers: Any) -> None:
    assert answers["library"].text == "homelab-backup 1"


@pytest.mark.negative
def test_nobody_but_root_changes_what_root_runs(answers: Any) -> None:
    lines = answers["try"].text.splitlines()
    assert lines.count("refused") == 2
    assert not [line for line in lines if line.startswith("/")]
