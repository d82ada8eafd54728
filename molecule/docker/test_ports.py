"""Which ports of containers another machine reaches, whatever is restarted, and in which order."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator

import pytest

from tests.container import Container

# As converge.yml declares them: to everybody, to others than this machine, and not at all.
DECLARED, FOR_OTHERS, UNDECLARED = 47820, 47821, 47822
SECONDS = 3

GREETER = """
import socket
server = socket.create_server(("", 22))
while True:
    peer = server.accept()[0]
    peer.sendall(b"hello")
    peer.close()
"""
RUN = f"""
cd $(mktemp -d) && mkdir usr && for name in bin lib lib64 sbin; do ln -s usr/$name $name; done
tar --create . | docker import - greeter:none >/dev/null
docker run --detach --name greeter --volume /usr:/usr:ro --publish 0.0.0.0:{DECLARED}:22 \\
    --publish 0.0.0.0:{FOR_OTHERS}:22 --publish 0.0.0.0:{UNDECLARED}:22 greeter:none python3 -c {shlex.quote(GREETER)}
docker network create made && docker network connect made greeter
"""


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest) -> Iterator[Container]:
    made = Container.of(request.config)
    made.sh(RUN)
    yield made
    made.sh("docker rm --force greeter && docker network rm made && docker image rm greeter:none")


def heard(machine: Container) -> dict[int, bool]:
    """Which ports greet somebody who is on another machine."""
    return {port: greets(machine.address, port) for port in (DECLARED, FOR_OTHERS, UNDECLARED)}


def greets(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=SECONDS) as connection:
            connection.settimeout(SECONDS)
            return connection.recv(5) == b"hello"
    except OSError:
        return False


def inside(machine: Container, port: int) -> str:
    return machine.sh(f"exec 3<>/dev/tcp/{machine.address}/{port}; timeout 5 cat <&3")


AS_DECLARED = {DECLARED: True, FOR_OTHERS: False, UNDECLARED: False}


@pytest.mark.negative
@pytest.mark.parametrize(
    "restarted",
    [
        "true",
        "systemctl restart nftables.service && systemctl restart docker.service",
        "systemctl restart docker.service && systemctl restart nftables.service",
        "systemctl reload nftables.service",
        "systemctl restart docker.service",
    ],
)
def test_declared_ports_answer_and_no_others(machine: Container, restarted: str) -> None:
    machine.sh(f"systemctl reset-failed docker.service nftables.service; {restarted}")  # often, in a short time
    assert [inside(machine, port) for port in AS_DECLARED] == ["hello"] * 3
    assert heard(machine) == AS_DECLARED


# Another machine of the same network that sends packets for a container this way, to its own address.
LAN = """
ip netns add lan && ip link add lan0 type veth peer name eth0 netns lan
ip address add 198.51.100.1/24 dev lan0 && ip link set lan0 up
ip -n lan address add 198.51.100.2/24 dev eth0 && ip -n lan link set eth0 up
ip -n lan route add default via 198.51.100.1
target=$(docker inspect --format '{{.NetworkSettings.Networks.made.IPAddress}}' greeter)
knock() {
    ip netns exec lan timeout 3 bash -c "exec 3<>/dev/tcp/$target/22 && head -c5 <&3" 2>/dev/null || echo silence
}
knock
nft add rule inet homelab published ip saddr 198.51.100.2 accept
# Since 28 the engine, too, drops such packets.
for chain in 'raw PREROUTING' 'filter DOCKER-USER'; do
    iptables --table ${chain% *} --insert ${chain#* } --source 198.51.100.2 --jump ACCEPT
done
echo " $(knock)"
for chain in 'raw PREROUTING' 'filter DOCKER-USER'; do
    iptables --table ${chain% *} --delete ${chain#* } --source 198.51.100.2 --jump ACCEPT
done
ip netns del lan && systemctl reload nftables.service
"""


@pytest.mark.negative
def test_a_container_is_not_reached_by_its_own_address(machine: Container) -> None:
    assert machine.sh(LAN).split() == ["silence", "hello"]


def test_a_container_outlives_the_engine(machine: Container) -> None:
    started = "docker inspect --format '{{.State.StartedAt}}' greeter"
    before = machine.sh(started)
    machine.sh("systemctl reset-failed docker.service; systemctl restart docker.service")
    assert machine.sh(started) == before


@pytest.mark.negative
def test_a_port_that_is_declared_no_more_is_closed(machine: Container) -> None:
    machine.sh(f"sed -i /proto-dst.{DECLARED}/d /etc/nftables.d/40-docker.nft")
    machine.sh("systemctl reload nftables.service")
    assert heard(machine) == dict.fromkeys(AS_DECLARED, False)


@pytest.mark.negative
def test_networks_that_meet_the_lan_are_refused(machine: Container) -> None:
    own = machine.sh("ip -4 route show dev eth0 scope link | cut -d' ' -f1")
    written = f'{{"default-address-pools": [{{"base": "{own}", "size": 24}}]}}'
    check = "python3 -IB /usr/local/lib/homelab-provision/homelab_docker_check.py"
    refused = machine.run(f"echo '{written}' >/tmp/daemon.json; {check} /tmp/daemon.json")
    assert refused.returncode == 1
    assert f"meets {own}, which this host reaches through eth0" in refused.stderr
    refused = machine.run(f"echo '{{\"no-such-word\": 1}}' >/tmp/daemon.json; {check} /tmp/daemon.json")
    assert "no-such-word" in refused.stderr
    machine.sh(f"{check} /etc/docker/daemon.json")


# What another machine that has the share does: a registry that takes images, on the same folder.
FILL = """
cat >/root/filling.yml <<END
version: 0.1
http: {addr: 127.0.0.1:5003}
storage: {filesystem: {rootdirectory: /srv/images}}
END
systemd-run --quiet --unit=filling docker-registry serve /root/filling.yml
until exec 3<>/dev/tcp/127.0.0.1/5003; do sleep 0.2; done 2>/dev/null
docker tag greeter:none 127.0.0.1:5003/greeter:1
docker push --quiet 127.0.0.1:5003/greeter:1 >/dev/null
systemctl stop filling.service
docker image rm 127.0.0.1:5003/greeter:1 >/dev/null
cat /srv/images/docker/registry/v2/repositories/greeter/_manifests/tags/1/current/link
"""


def test_images_of_a_folder_are_there_without_internet(machine: Container) -> None:
    """By their digest, as stacks name them; and nobody on this host puts others into the folder."""
    digest = machine.sh(FILL)
    machine.sh(f"docker pull --quiet 127.0.0.1:5001/greeter:1@{digest}")
    assert "greeter" in machine.sh("docker image ls --digests 127.0.0.1:5001/greeter")
    machine.sh("docker tag greeter:none 127.0.0.1:5001/greeter:2")
    refused = machine.run("docker push 127.0.0.1:5001/greeter:2")
    machine.sh("docker image rm 127.0.0.1:5001/greeter:2")
    assert refused.returncode == 1
    assert "not allowed" in refused.stderr.lower() or "unsupported" in refused.stderr.lower(), refused.stderr
    assert (
        machine.sh("ss --no-header --listening --tcp --numeric 'sport = :5001' | awk '{print $4}'") == "127.0.0.1:5001"
    )
