"""What the boot server's programs are told. Pure: `server` starts them."""

from __future__ import annotations

from pathlib import Path

from homelab_provision.image.medium import KERNEL_COMMAND_LINE
from homelab_provision.lab.reach import Wire

# Fixed, so that a firewall on the controller can let it pass: beside it 67, 69 and 4011 of UDP.
HTTP_PORT = 8470
# Debian's GRUB for the network looks for its configuration below this, beside itself.
GRUB_FOLDER = "grub"
LOADER = "bootx64.efi"
# x64 firmware calls itself 7 (as RFC 4578 was corrected, and all do) or 9.
ARCHITECTURES = (7, 9)
KERNEL, RESCUE, SITE = "vmlinuz", "rescue.img", "site.img"
ANNOUNCE = "announce"
PID_FILE, LOG, LEASES = "dnsmasq.pid", "dnsmasq.log", "dnsmasq.leases"


def url(wire: Wire) -> str:
    """Where the HTTP server answers."""
    return f"http://{wire.address.ip}:{HTTP_PORT}"


def grub_config(wire: Wire) -> str:
    """Kernel and rescue over HTTP: GRUB's TFTP takes minutes for them. What fails gives the machine back."""
    base = f"(http,{wire.address.ip}:{HTTP_PORT})"
    return (
        f"linux {base}/{KERNEL} {KERNEL_COMMAND_LINE}\n"
        f"initrd {base}/{RESCUE} {base}/{SITE}\n"
        "boot\n"
        'echo "The rescue system could not be started; trying the next boot device."\n'
        "sleep 10\n"
        "exit\n"
    )


def dnsmasq_config(wire: Wire, macs: tuple[str, ...], tftp: Path, folder: Path, user: str) -> str:
    """DHCP that gives no addresses (the router does) and tells only these machines what to load; TFTP for that.

    `folder` is for what the program itself writes.
    """
    menu = "homelab-provision rescue"
    lines = [
        "port=0",
        f"interface={wire.interface}",
        "bind-interfaces",
        f"user={user}",
        f"dhcp-range={wire.address.network.network_address},proxy,{wire.address.netmask}",
        *(f"dhcp-host={mac},set:armed" for mac in macs),
        "dhcp-ignore=tag:!armed",
        *(f'pxe-service=tag:armed,{number},"{menu}",{LOADER}' for number in ARCHITECTURES),
        "enable-tftp",
        f"tftp-root={tftp}",
        "tftp-no-fail",
        "log-dhcp",
        f"log-facility={folder / LOG}",
        f"dhcp-leasefile={folder / LEASES}",
        f"pid-file={folder / PID_FILE}",
    ]
    return "\n".join(lines) + "\n"
