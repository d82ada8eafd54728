"""A place that is not home: a network whose router translates and lets nobody in, and the wide world in between.

    road ── away0 ── cafe: 172.20.0.1, translates ── 192.0.2.0/24 ── the lab's router, translates ── lan0 ── home
                                                            │
                                                          world: 198.51.100.80, 2001:db8:80::80

The world answers who asks from where, changes a name like a provider (dyndns2), and tells the time (SNTP). The café
tells the home's name. All of it is made of namespaces and two programs that end with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.lab.conftest import Homelab

BRIDGE = "away0"
ROAD, CAFE = "172.20.0.10", "172.20.0.1"
# The home as the world knows it, and as it does after its provider has changed that.
HOME, MOVED = "192.0.2.1", "192.0.2.77"
WORLD, WORLD_6 = "198.51.100.80", "2001:db8:80::80"
NAME = "home.example.org"
ACCOUNT, PASSWORD = "ada", "the-password-at-the-provider"
# The home's network in IPv6, with its router.
LAN_6, ROUTER_6 = "2001:db8:50::/64", "2001:db8:50::1"

SERVER = """
import base64, http.server, os, signal, socket, struct, sys, threading, time, urllib.parse
names, pid = sys.argv[1], int(sys.argv[2])
class Provider(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/address":
            said = self.client_address[0].removeprefix("::ffff:")
        elif self.headers.get("Authorization", "") != "Basic " + base64.b64encode(sys.argv[3].encode()).decode():
            said = "badauth"
        else:
            asked = dict(urllib.parse.parse_qsl(query))
            open(names, "w").write(f"{asked['myip']} {asked['hostname']}\\n")
            os.kill(pid, signal.SIGHUP)
            said = f"good {asked['myip']}"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(said.encode())
    def log_message(self, *_):
        pass
class Both(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
def clock():
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.bind(("", 123))
    while True:
        packet, sender = asked.recvfrom(512)
        now = time.time() + 2208988800
        stamp = struct.pack("!II", int(now), int(now % 1 * 2**32))
        begin = struct.pack("!BBbbII4s", 0x24, 2, 6, -20, 0, 0, b"LOCL")
        asked.sendto(begin + stamp + packet[40:48] + stamp + stamp, sender)
threading.Thread(target=clock, daemon=True).start()
Both(("::", 80), Provider).serve_forever()
"""


class Away:
    """The café and the world, beside the lab of a homelab, which is up."""

    def __init__(self, homelab: Homelab, folder: Path) -> None:
        self.home = homelab.lab.network.namespace
        self.cafe, self.world = f"{self.home}-cafe", f"{self.home}-world"
        self.names = folder / "names"
        self._pids = folder / "dnsmasq.pid"
        self._programs: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for name in (self.cafe, self.world):
            self.root("ip", "netns", "add", name)
            self.ip(name, "link set lo up")
        self._lay_cables()
        self._translate()
        self.lead(HOME)
        words = ["--keep-in-foreground", "--no-resolv", "--no-hosts", "--local-ttl=1", f"--addn-hosts={self.names}"]
        where = [f"--listen-address={CAFE}", "--bind-interfaces", f"--pid-file={self._pids}", "--user=root"]
        self._dns = self._start(self.cafe, "dnsmasq", "--conf-file=/dev/null", *words, *where)
        account = f"{ACCOUNT}:{PASSWORD}"
        self._start(self.world, sys.executable, "-c", SERVER, str(self.names), str(self._dns.pid), account)
        return self

    def __exit__(self, *_: object) -> None:
        for program in self._programs:
            program.kill()
            program.wait()
        for name in (self.cafe, self.world):
            subprocess.run(["ip", "netns", "delete", name], check=False)

    def root(self, *words: str, feed: str = "") -> str:
        done = subprocess.run(words, input=feed, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def ip(self, namespace: str, command: str) -> str:
        return self.root("ip", "-n", namespace, *command.split())

    def rules(self, namespace: str, text: str) -> None:
        self.root("ip", "netns", "exec", namespace, "nft", "-f", "-", feed=text)

    def _start(self, namespace: str, *words: str) -> subprocess.Popen[bytes]:
        started = subprocess.Popen(["ip", "netns", "exec", namespace, *words], stdin=subprocess.DEVNULL)
        self._programs.append(started)
        return started

    def _lay_cables(self) -> None:
        for namespace, number in ((self.home, 1), (self.cafe, 2)):
            self.root(
                "ip",
                "link",
                "add",
                "wan",
                "netns",
                namespace,
                "type",
                "veth",
                "peer",
                "name",
                f"to{number}",
                "netns",
                self.world,
            )
            self.ip(namespace, f"address add 192.0.2.{number}/24 dev wan")
            self.ip(namespace, "link set wan up")
        self.ip(self.world, "link add wan0 type bridge")
        for port in ("to1", "to2"):
            self.ip(self.world, f"link set {port} master wan0 up")
        self.ip(self.world, "link set wan0 up")
        for address, device in (("192.0.2.254/24", "wan0"), (f"{WORLD}/32", "lo")):
            self.ip(self.world, f"address add {address} dev {device}")
        for address, device in (("2001:db8:113::fe/64", "wan0"), (f"{WORLD_6}/128", "lo")):
            self.ip(self.world, f"-6 address add {address} dev {device} nodad")
        self.ip(self.world, f"-6 route add {LAN_6} via 2001:db8:113::1")
        self.ip(self.home, "-6 address add 2001:db8:113::1/64 dev wan nodad")
        self.ip(self.home, f"-6 address add {ROUTER_6}/64 dev lan0 nodad")
        self.ip(self.home, "-6 route add 2001:db8:80::/64 via 2001:db8:113::fe")
        self.ip(self.home, "route add 198.51.100.0/24 via 192.0.2.254")
        # The controller, which is at the router, gets to the road; nobody else does.
        self.ip(self.home, "route add 172.20.0.0/24 via 192.0.2.2")
        self.root(
            "ip", "link", "add", "cafe", "netns", self.home, "type", "veth", "peer", "name", "inn", "netns", self.cafe
        )
        self.ip(self.home, f"link set cafe master {BRIDGE} up")
        self.ip(self.cafe, f"address add {CAFE}/24 dev inn")
        self.ip(self.cafe, "link set inn up")
        self.ip(self.cafe, "route add default via 192.0.2.254")
        self.ip(self.cafe, "route add 198.51.100.0/24 via 192.0.2.254")
        # Docker has bridged packets pass the rules of whom they only pass by.
        bridged = "net.bridge.bridge-nf-call-iptables"
        subprocess.run(["ip", "netns", "exec", self.home, "sysctl", "-qw", f"{bridged}=0"], check=False)
        for namespace in (self.home, self.cafe, self.world):
            for switch in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
                self.root("ip", "netns", "exec", namespace, "sysctl", "-qw", f"{switch}=1")

    def _translate(self) -> None:
        self.forward_to("192.168.50.11")
        self.rules(
            self.cafe,
            """table ip cafe {
                 chain postrouting { type nat hook postrouting priority 100; oifname "wan" masquerade; }
                 chain forward {
                   type filter hook forward priority 0; policy drop;
                   ct state established,related accept
                   iifname "inn" accept
                   ip saddr 192.0.2.0/24 tcp dport 22 accept
                 }
               }""",
        )

    def forward_to(self, server: str) -> None:
        """What comes for the VPN, the home's router passes on to this host."""
        self.rules(
            self.home,
            f"""table ip wan
                delete table ip wan
                table ip wan {{
                  chain prerouting {{
                    type nat hook prerouting priority -100;
                    iifname "wan" udp dport 51820 dnat to {server}
                  }}
                  chain postrouting {{ type nat hook postrouting priority 100; oifname "wan" masquerade; }}
                  chain forward {{
                    type filter hook forward priority 0;
                    iifname "wan" ct state new ct status & dnat == 0 drop
                  }}
                }}""",
        )

    def lead(self, *addresses: str) -> None:
        """Have the home's name lead there, or nowhere."""
        self.names.write_text("".join(f"{address} {NAME}\n" for address in addresses))
        if self._programs:
            os.kill(self._dns.pid, signal.SIGHUP)

    def move_home(self, old: str, new: str) -> None:
        """The home gets another address from its provider, and every way through its router is forgotten."""
        self.ip(self.home, f"address delete {old}/24 dev wan")
        self.ip(self.home, f"address add {new}/24 dev wan")
        for line in ("route replace 198.51.100.0/24 via 192.0.2.254", "route replace 172.20.0.0/24 via 192.0.2.2"):
            self.ip(self.home, line)

    def swallow(self, above: int | None) -> None:
        """The café loses what is larger than this, in bytes, and tells nobody; with None, nothing."""
        self.rules(self.cafe, "table ip hole\ndelete table ip hole\n")
        if above:
            hook = "type filter hook forward priority -10"
            rule = f"udp dport 51820 meta length > {above} drop"
            self.rules(self.cafe, f"table ip hole {{\nchain forward {{\n{hook}\n{rule}\n}}\n}}\n")
