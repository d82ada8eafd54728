"""An Unbound that judges, dies and goes again; it comes after the rest, and leaves the host without."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.container import Container

FORGED = "forged.example.net"
# One that writes down that it was called.
RESOLVCONF = """
printf '#!/bin/sh\\necho "$@" >>/run/resolvconf.called\\n' >/usr/sbin/resolvconf
chmod +x /usr/sbin/resolvconf
"""


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest) -> Container:
    return Container.of(request.config)


def ask(machine: Container, name: str, port: int = 53) -> list[str] | str:
    """The addresses that are answered, or the code of what is none."""
    last = json.loads(machine.sh(f"homelab-pihole ask {name} --port {port}").splitlines()[-1])
    return list(last["addresses"]) if last["code"] == "NOERROR" else str(last["code"])


@pytest.mark.negative
def test_a_forged_answer_is_refused_by_its_signature(machine: Container) -> None:
    assert ask(machine, "upstream.example.net", 5335) == ["192.0.2.53"]
    assert (ask(machine, FORGED, 5335), ask(machine, FORGED)) == ("SERVFAIL", "SERVFAIL")
    # And by nothing else: who does not judge answers.
    machine.sh(f"unbound-control set_option val-permissive-mode: yes && unbound-control flush {FORGED}")
    assert ask(machine, FORGED, 5335) == ["192.0.2.66"]
    machine.sh("systemctl restart unbound")
    assert ask(machine, FORGED, 5335) == "SERVFAIL"


@pytest.mark.negative
def test_no_name_of_the_internet_leads_into_the_home(machine: Container) -> None:
    assert ask(machine, "rebinding.example.net", 5300) == ["192.168.50.66"]
    assert ask(machine, "rebinding.example.net") == "SERVFAIL"
    assert ask(machine, "nas.home.arpa") == ["192.168.50.20"]


@pytest.mark.negative
def test_it_never_becomes_whom_the_host_asks(machine: Container) -> None:
    before = machine.sh("cat /etc/resolv.conf")
    machine.sh(f"{RESOLVCONF} systemctl restart unbound unbound-resolvconf")
    # It was there to be called: Debian's own helper would have.
    assert machine.sh("systemctl show --property=ConditionResult --value unbound-resolvconf") == "yes"
    assert machine.sh("rm /usr/sbin/resolvconf; cat /run/resolvconf.called 2>/dev/null || true") == ""
    assert machine.sh("cat /etc/resolv.conf") == before


# Not until it answers: so it is killed faster than systemd would start a unit that does not say so.
KILLED = """
for _ in 1 2 3 4 5 6; do
    old=$(systemctl show --property=MainPID --value unbound)
    systemctl kill --signal=KILL unbound
    until [ "$(systemctl show --property=MainPID --value unbound)" != "$old" ] && systemctl is-active --quiet unbound
    do
        systemctl is-failed --quiet unbound && exit 1
        sleep 0.1
    done
done
homelab-pihole ask upstream.example.net --port 5335
"""


def test_it_comes_back_however_often_it_is_killed(machine: Container) -> None:
    assert '"192.0.2.53"' in machine.sh(KILLED)


def test_it_is_there_before_the_pihole(machine: Container) -> None:
    machine.sh("systemctl stop pihole unbound && systemctl start pihole && systemctl is-active unbound")
    when = "systemctl show --property=ActiveEnterTimestampMonotonic --value"
    unbound, pihole = (int(machine.sh(f"{when} {unit}")) for unit in ("unbound", "pihole"))
    assert 0 < unbound < pihole
    machine.sh("until homelab-pihole ask pi.hole; do sleep 0.5; done")


@pytest.mark.negative
def test_it_goes_again(machine: Container) -> None:
    """The names of the Internet are answered by whom the site names then."""
    given = json.dumps({"pihole_unbound": False, "pihole_upstreams": ["127.0.0.1#5300"]})
    words = ["ansible-playbook", f"--inventory={os.environ['MOLECULE_INVENTORY_FILE']}", f"--extra-vars={given}"]
    words += [str(Path(__file__).with_name("converge.yml"))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout} {done.stderr}"
    assert machine.sh("systemctl is-active unbound || true; systemctl is-enabled unbound || true").split() == [
        "inactive",
        "disabled",
    ]
    assert machine.run("homelab-pihole ask localhost --port 5335").returncode
    assert machine.sh("ls /etc/unbound/unbound.conf.d").split() == [
        "remote-control.conf",
        "root-auto-trust-anchor-file.conf",
        "stand-in.conf",
    ]
    assert ask(machine, "upstream.example.net") == ["192.0.2.53"]
    assert ask(machine, FORGED) == ["192.0.2.66"]
    # And the package alone starts none.
    machine.sh("systemctl start unbound")
    assert machine.run("systemctl is-active --quiet unbound").returncode
