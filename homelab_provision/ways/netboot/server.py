"""The boot server while it serves: two programs that end with us, however we end."""

from __future__ import annotations

import json
import os
import pwd
import re
import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from homelab_provision.doors.process import ProcessError, background, run
from homelab_provision.errors import ProvisionError, Refused
from homelab_provision.files import scratch
from homelab_provision.image.medium import Announcement
from homelab_provision.lab.reach import Wire
from homelab_provision.ways import Start, personal
from homelab_provision.ways.netboot import config, http_server
from homelab_provision.ways.netboot.http_server import ANNOUNCED, ASKED, LISTENING, SERVED

# What dnsmasq needs of root: ports below 1024, and to answer a machine that has no address yet.
CAPABILITIES = "+net_admin,+net_raw,+net_bind_service"
# Root's programs cannot be ended by us, and lose the parent-death signal where we are not root, or change their group.
# They follow the end of their input, and who passes it on must not be killed before he has.
WATCHED = ("setpriv", "--pdeathsig=clear", "sh", "-c", '"$@" & read -r _; kill "$!"; wait', "watched")
PORTS = {"udp": (67, 69, 4011), "tcp": (config.HTTP_PORT,)}


class Announced:
    """What the rescue has told of itself since the server runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def host_key(self) -> str | None:
        """The public host key that the rescue has made; `None`: it has not told yet. Raises `Refused` when two did."""
        keys = set(_text(self._folder / ANNOUNCED).splitlines())
        if len(keys) > 1:
            raise Refused(
                "two rescues have announced themselves for one start: one of them is not the machine's",
                hint="nothing was written or sent. Somebody on this network answers in the machine's name; a stick "
                "(--way usb) does not depend on the network",
            )
        return keys.pop() if keys else None

    def progress(self) -> str:
        """The last thing that the machine was seen to do, and what may be in its way."""
        log, asked = _text(self._folder / config.LOG), _text(self._folder / ASKED).split()
        if _text(self._folder / ANNOUNCED):
            return "its rescue has announced itself"
        if config.SITE in asked:
            return "it has loaded the rescue, which has not announced itself"
        if asked:
            return f"it is loading the rescue ({asked[-1]} last)"
        if f"/{config.LOADER} to " in log:
            return (
                "it has the loader, and has asked for no kernel: does a firewall on this computer keep away TCP port "
                f"{config.HTTP_PORT}?"
            )
        if " PXE(" in log:
            return (
                "its firmware has asked, was answered, and took no loader: does another server answer it, too, or does "
                "a firewall on this computer keep away UDP ports 69 and 4011?"
            )
        return (
            "its firmware has not asked the network: is it switched on, is its network card allowed to start it, and "
            "does a firewall on this computer let UDP port 67 through?"
        )


@contextmanager
def serving(wire: Wire, start: Start) -> Iterator[Announced]:
    """Serve a machine until the end of the context. Raises `ProvisionError` when the ports are not free."""
    refuse_taken(wire)
    with scratch() as folder, ExitStack() as programs:
        tftp = folder / "tftp"
        _lay_out(wire, start, folder, tftp)
        who = pwd.getpwuid(wire.who.uid)
        conf = folder / "dnsmasq.conf"
        conf.write_text(config.dnsmasq_config(wire, start.machine.passport.macs, tftp, folder, who.pw_name))
        http = wire.user(sys.executable, http_server.__file__, str(folder))
        for name, argv, sign in (
            ("HTTP", http, folder / LISTENING),
            ("DHCP", dnsmasq_argv(wire, conf), folder / config.PID_FILE),
        ):
            try:
                programs.enter_context(background(argv, ready=sign.exists))
            except ProcessError as error:
                raise ProvisionError(
                    f"the boot server cannot serve {name} at {wire.address.ip} ({wire.interface})",
                    hint="look who else does on this computer: `ss -lnptu`",
                    evidence=_text(folder / config.LOG) or error.evidence,
                ) from error
        yield Announced(folder)


def dnsmasq_argv(wire: Wire, conf: Path) -> Sequence[str]:
    """dnsmasq as the user that we are, with three capabilities."""
    drop = (
        "setpriv",
        f"--reuid={wire.who.uid}",
        f"--regid={wire.who.gid}",
        "--clear-groups",
        f"--inh-caps={CAPABILITIES}",
        f"--ambient-caps={CAPABILITIES}",
        "--pdeathsig=KILL",
        "--",
    )
    return wire.root(*WATCHED, *drop, "dnsmasq", "--keep-in-foreground", f"--conf-file={conf}")


def _lay_out(wire: Wire, start: Start, folder: Path, tftp: Path) -> None:
    """The files of this start. Its token is made here, and told to nobody but the machine and the HTTP server."""
    (tftp / config.GRUB_FOLDER).mkdir(parents=True)
    directory = start.rescue.directory
    shutil.copyfile(directory / "BOOTX64.EFI", tftp / config.LOADER)
    shutil.copyfile(directory / "grubnetx64.efi", tftp / "grubx64.efi")
    (tftp / config.GRUB_FOLDER / "grub.cfg").write_text(config.grub_config(wire))
    token = secrets.token_hex(16)
    announcement = Announcement(f"{config.url(wire)}/{config.ANNOUNCE}", token)
    site = folder / config.SITE
    site.write_bytes(personal(start.identity, announcement, start.medium.rescue_id))
    served = {
        "address": str(wire.address.ip),
        "port": config.HTTP_PORT,
        "macs": [mac.lower() for mac in start.machine.passport.macs],
        "token": token,
        "announce": config.ANNOUNCE,
        "files": {
            config.KERNEL: os.fspath(start.rescue.kernel),
            config.RESCUE: os.fspath(start.rescue.initrd),
            config.SITE: os.fspath(site),
        },
    }
    (folder / SERVED).write_text(json.dumps(served))


def refuse_taken(wire: Wire) -> None:
    """Raise `ProvisionError` where somebody else has the ports, before anything is started."""
    for kind, ports in PORTS.items():
        shown = run(wire.user("ss", "-Hlnp", f"--{kind}", "-4"), deadline=20).stdout
        for line in shown.splitlines():
            words = line.split()
            address, _, port = words[3].rpartition(":") if len(words) > 4 else ("", "", "")
            host, _, device = address.partition("%")
            if not port.isdigit() or int(port) not in ports or device not in ("", wire.interface):
                continue
            if host in ("0.0.0.0", "*", str(wire.address.ip)):
                raise ProvisionError(
                    f"the boot server needs {kind.upper()} port {port} at {wire.address.ip}, and it is taken: "
                    f"{_holder(line)}",
                    hint="stop that program for as long as the rebuild waits for the machine, or take another way: "
                    "--way usb",
                )


def _holder(line: str) -> str:
    """Who has a port, from a line of `ss -p`, which tells it of one's own programs, and root of all."""
    found = re.search(r'\("([^"]+)",pid=(\d+)', line)
    return f"`{found[1]}` (process {found[2]}) has it" if found else "a program of another user has it"


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""
