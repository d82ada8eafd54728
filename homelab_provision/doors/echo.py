"""Ask everybody on a link for an echo, and print who answered: one IPv6 link-local address a line.

    python3 -P echo.py eth0

A process of its own, so that it can be started inside the lab's namespace; it knows the standard library only. Many
computers have no `ping`, and this needs no right where the kernel lets everybody ask (`ping_group_range`).
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time

# Every node of a link listens to this address (RFC 4291, 2.7.1); ICMPv6 echo (RFC 4443, 4.1 and 4.2).
ALL_NODES, REQUEST, REPLY = "ff02::1", 128, 129
ROUNDS, PAUSE = 3, 0.7  # how often, and seconds after each; whoever was asleep answers the second time


def main(link: str) -> int:
    try:
        asker = _socket()
    except PermissionError:
        print("this user may not ask for an echo: the kernel's ping_group_range leaves the group out", file=sys.stderr)
        return 1
    number, found = os.getpid() & 0xFFFF, {}
    target = (ALL_NODES, 0, 0, socket.if_nametoindex(link))
    for turn in range(ROUNDS):
        asker.sendto(struct.pack("!BBHHH", REQUEST, 0, 0, number, turn), target)  # the kernel adds the checksum
        give_up = time.monotonic() + PAUSE
        while (left := give_up - time.monotonic()) > 0:
            asker.settimeout(left)
            try:
                data, sender = asker.recvfrom(256)
            except TimeoutError:
                break
            if data[:1] == bytes([REPLY]):
                found[sender[0].partition("%")[0]] = True
    print("\n".join(address for address in found if address.startswith("fe80:")))
    return 0


def _socket() -> socket.socket:
    """One for everybody if the kernel has that, else root's."""
    try:
        return socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6)
    except PermissionError:
        return socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
