"""What every medium that starts the rescue has: words for its kernel, and an initramfs that makes it this site's."""

from __future__ import annotations

from dataclasses import dataclass, field

from homelab_provision.image import cpio

# No menu and no waiting. `mitigations=off`: nothing untrusted runs in the rescue. `panic`: a broken rescue gives
# the machine back.
KERNEL_COMMAND_LINE = (
    "console=ttyS0,115200 console=tty0 quiet loglevel=4 panic=20 mitigations=off "
    "nowatchdog audit=0 apparmor=0 cryptomgr.notests"
)
# What firmware calls an entry that starts the rescue from a disk.
RESCUE_LABEL = "homelab-provision rescue"
HOST_KEY = "etc/ssh/ssh_host_ed25519_key"


@dataclass(frozen=True)
class HostKey:
    """The rescue shows a key that it brings: for a medium that nobody else can read. OpenSSH's formats."""

    private: str = field(repr=False)
    public: str


@dataclass(frozen=True)
class Announcement:
    """The rescue makes a key at every start, and tells the public half to this address (`http://…`), with a token
    that is good for one start: for a medium that comes over a wire."""

    url: str
    token: str = field(repr=False)


def personalisation(
    authorized_keys: str, shows: HostKey | Announcement, rescue_id: str, deadman_seconds: int = 600
) -> bytes:
    """The second initramfs: who may log in, and as whom the rescue answers. It may hold a private key: keep it 0600.

    `rescue_id` names the medium on the machine's console; after `deadman_seconds` without a login the machine restarts.
    """
    if not rescue_id.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ValueError(f"not a plain name for a rescue medium: {rescue_id!r}")
    conf = f"RESCUE_ID={rescue_id}\nDEADMAN_SECONDS={deadman_seconds}\n"
    keys = []
    if isinstance(shows, Announcement):
        conf += f"ANNOUNCE_URL={shows.url}\nANNOUNCE_TOKEN={shows.token}\n"
    else:
        keys = [
            cpio.regular(HOST_KEY, shows.private.encode(), 0o600),
            cpio.regular(f"{HOST_KEY}.pub", shows.public.encode()),
        ]
    entries = [
        cpio.directory("etc"),
        cpio.directory("etc/rescue"),
        cpio.regular("etc/rescue/conf", conf.encode(), 0o600),
        cpio.directory("etc/ssh"),
        *keys,
        cpio.directory("root", 0o700),
        cpio.directory("root/.ssh", 0o700),
        cpio.regular("root/.ssh/authorized_keys", authorized_keys.encode(), 0o600),
    ]
    return b"".join(cpio.archive(entries))
