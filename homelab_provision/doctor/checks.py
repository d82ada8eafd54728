"""Everything that `provision doctor` looks at."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from homelab_provision.doctor.examination import Answer, Check, Verdict
from homelab_provision.doctor.tools import tool_checks
from homelab_provision.doors.process import run
from homelab_provision.image.cache import current_images
from homelab_provision.image.host_image import age_of
from homelab_provision.image.mirror import complete, find_mirror
from homelab_provision.image.rescue import SUITE as RESCUE_SUITE
from homelab_provision.report.wording import bytes_text
from homelab_provision.site.document import read_document
from homelab_provision.site.machines import MACHINES_FILE, read_machines
from homelab_provision.site.models import IMAGE_MAX_AGE

SECURITY_DEADLINE = 8.0  # one request, where apt does not name the archive
# CVE-2026-3172 is mended in it.
PGVECTOR = (0, 8, 2)
SITE_DEADLINE = 20.0  # Ansible takes a second to start, several on a slow computer
# A rescue, an image while it is built, and the sparse disks of a lab.
SPACE_WANTED, SPACE_NEEDED = 12 * 10**9, 4 * 10**9


@dataclass(frozen=True)
class Surroundings:
    """Where to look. `load_site` and `open_vault` raise `ProvisionError`; without a site they are left out.

    `accelerator` tells the remembered answer of the KVM probe, or `None` if nobody has tried yet.
    """

    cache: Path
    state: Path
    namespace: str = "hlp-lab"
    accelerator: Callable[[], str | None] = lambda: None
    load_site: Callable[[], str] | None = None
    open_vault: Callable[[], str] | None = None
    site: Path | None = None
    root: Path = Path("/")


def all_checks(around: Surroundings) -> list[Check]:
    """All checks, in the order in which they are shown."""
    lab = [
        Check("lab", "KVM", partial(kvm, around)),
        Check("lab", "tap device", partial(tap_device, around)),
        Check("lab", "root", administrator),
        Check("lab", "namespace", partial(namespace, around)),
        Check("lab", "forwarding", partial(forwarding, around)),
        Check("lab", "docker daemon", docker_daemon),
    ]
    store = [
        Check("store", "cache", partial(space, around.cache)),
        Check("store", "state", partial(space, around.state)),
        Check("store", "permissions", partial(permissions, around.state)),
        Check("store", "locks", partial(locks, around.state / "locks")),
        Check("store", "images", partial(images, around.cache, around.site)),
        Check("store", "security updates", partial(security_updates, around.root), SECURITY_DEADLINE),
    ]
    site = [
        Check("site", name, partial(_told, tell), SITE_DEADLINE)
        for name, tell in (("description", around.load_site), ("vault", around.open_vault))
        if tell
    ]
    if around.site:
        site.append(Check("site", "kept from git", partial(kept_from_git, around.site)))
    return [*tool_checks(around.root), *lab, *store, *site]


def kept_from_git(site: Path) -> Answer:
    """A repository is soon pushed somewhere: the vault's password must not be in it. Nothing of the site's git runs."""
    git = ["git", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-C", os.fspath(site)]
    if shutil.which("git") is None:
        return Answer(Verdict.OK, "no git here")
    listed = run([*git, "ls-files", "-z", "--", ".vault-password*", "vault"], deadline=5, check=False)
    if listed.returncode:
        if "not a git repository" in listed.stderr:
            return Answer(Verdict.OK, "the site is in no git repository")
        silence = f"git does not say what it tracks: {listed.stderr.strip()}"
        return Answer(Verdict.WARN, silence, "look at it with `git ls-files`")
    tracked = [name for name in listed.stdout.split("\0") if name]
    if passwords := [name for name in tracked if name.startswith(".vault-password")]:
        return Answer(
            Verdict.FAIL,
            f"git tracks the vault's password: {', '.join(passwords)}",
            f"git -C {site} rm --cached {passwords[0]}; if it was ever pushed, seal the vault with another one "
            "(ansible-vault rekey) and make new keys (docs/how-to/lost-and-stolen.md)",
        )
    ignored = run([*git, "check-ignore", "--quiet", ".vault-password"], deadline=5, check=False).returncode == 0
    if not ignored:
        return Answer(
            Verdict.WARN,
            "nothing keeps the vault's password from `git add`",
            f"echo .vault-password >>{site}/.gitignore",
        )
    return Answer(Verdict.OK, "the password is ignored" + (", the sealed vault is tracked" if tracked else ""))


def kvm(around: Surroundings) -> Answer:
    """A device that opens proves nothing; only the remembered answer of the probe does."""
    device = around.root / "dev/kvm"
    if overruled := os.environ.get("PROVISION_LAB_ACCEL"):
        return Answer(Verdict.OK, f"{overruled}, as PROVISION_LAB_ACCEL says")
    if not device.exists():
        return Answer(
            Verdict.WARN,
            "no /dev/kvm: lab machines are emulated, about ten times slower",
            "switch virtualisation on in the firmware of this computer",
        )
    if not os.access(device, os.R_OK | os.W_OK):
        return Answer(
            Verdict.WARN,
            "/dev/kvm is closed to you: lab machines are emulated, about ten times slower",
            'sudo adduser "$USER" kvm   # then log in again',
        )
    match around.accelerator():
        case None:
            return Answer(Verdict.OK, "/dev/kvm opens; whether a kernel boots in it is tried at the first `lab up`")
        case "kvm":
            return Answer(Verdict.OK, "works: a kernel booted in it")
        case _:
            return Answer(Verdict.WARN, "/dev/kvm opens, but a kernel does not boot in it: lab machines are emulated")


def tap_device(around: Surroundings) -> Answer:
    """Lab machines hang on taps."""
    if (around.root / "dev/net/tun").exists():
        return Answer(Verdict.OK, "/dev/net/tun")
    return Answer(Verdict.WARN, "no /dev/net/tun: no lab", "sudo modprobe tun")


def administrator() -> Answer:
    """The lab's network is made by root, and nothing can ask for a password in the middle of a run."""
    if os.geteuid() == 0:
        return Answer(Verdict.OK, "you are root")
    if shutil.which("sudo") and run(["sudo", "-n", "true"], deadline=2, check=False).returncode == 0:
        return Answer(Verdict.OK, "sudo asks for no password now")
    return Answer(Verdict.WARN, "the lab's network needs root, and sudo would ask for a password", "sudo -v")


def namespace(around: Surroundings) -> Answer:
    """The lab's DHCP server answers only inside its namespace; a namespace of that name must be the lab's own."""
    name = around.namespace
    if not (around.root / "run/netns" / name).exists():
        return Answer(Verdict.OK, f"`{name}` is free")
    if (around.state / "lab" / name).is_dir():
        return Answer(Verdict.OK, f"`{name}` belongs to the lab, which is up")
    return Answer(
        Verdict.WARN,
        f"a network namespace `{name}` exists that this user's lab did not make",
        f"sudo ip netns delete {name}   # if nothing needs it",
    )


def forwarding(around: Surroundings) -> Answer:
    """Lab machines reach the outside only through a host that forwards; the lab switches its uplink on itself."""
    switch = around.root / "proc/sys/net/ipv4/ip_forward"
    if not switch.exists():
        return Answer(Verdict.WARN, "this kernel has no IPv4 forwarding: lab machines will not reach the outside")
    on = switch.read_text().strip() == "1"
    return Answer(Verdict.OK, "on" if on else "off; the lab switches it on for its uplink and off again")


def docker_daemon() -> Answer:
    """Only the tests of roles need it."""
    if shutil.which("docker") is None:
        return Answer(Verdict.WARN, "no docker: roles cannot be tested in containers", "sudo apt-get install docker.io")
    done = run(["docker", "version", "--format", "{{.Server.Version}}"], deadline=2, check=False)
    if done.returncode == 0:
        return Answer(Verdict.OK, f"answers, version {done.stdout.strip()}")
    output = (done.stderr.strip().splitlines() or ["no answer"])[-1]
    mend = (
        'sudo adduser "$USER" docker   # then log in again' if "permission" in output else "sudo systemctl start docker"
    )
    return Answer(Verdict.WARN, f"roles cannot be tested in containers: {output}", mend)


def space(directory: Path) -> Answer:
    """Room on the file system that holds a directory, which need not exist yet."""
    standing = next(place for place in (directory, *directory.parents) if place.exists())
    free = shutil.disk_usage(standing).free
    found = f"{bytes_text(free)} free at {directory}"
    if free < SPACE_NEEDED:
        return Answer(Verdict.FAIL, f"{found}; {bytes_text(SPACE_NEEDED)} are needed", f"df -h {standing}")
    if free < SPACE_WANTED:
        return Answer(Verdict.WARN, f"{found}; {bytes_text(SPACE_WANTED)} are comfortable", f"df -h {standing}")
    return Answer(Verdict.OK, found)


def permissions(state: Path) -> Answer:
    """Journals and consoles are nobody else's business."""
    if not state.exists():
        return Answer(Verdict.OK, f"{state} is made at the first run")
    folders = [
        state,
        *(path for path in (*state.glob("*"), *state.glob("*/*")) if path.is_dir() and not path.is_symlink()),
    ]
    strange = [path for path in folders if path.stat().st_uid != os.geteuid()]
    if strange:
        return Answer(Verdict.FAIL, f"{strange[0]} belongs to another user", f'sudo chown -R "$USER" {state}')
    open_ = [path for path in folders if path.stat().st_mode & 0o077]
    if open_:
        return Answer(Verdict.WARN, f"others can read {open_[0]}", f"chmod -R go= {state}")
    return Answer(Verdict.OK, f"only you can read {state}")


def locks(directory: Path) -> Answer:
    """Who holds what. The kernel frees a lock when its holder dies; a child left behind may still keep it."""
    held = [(path, holder) for path in sorted(directory.glob("*.lock")) if (holder := _holder(path)) is not None]
    orphans = [path for path, pid in held if pid and not Path(f"/proc/{pid}").exists()]
    if orphans:
        return Answer(
            Verdict.WARN,
            f"`{orphans[0].stem}` is still held by what a dead run left behind",
            f"sudo fuser -v {orphans[0]}   # shows the process to stop",
        )
    if held:
        return Answer(
            Verdict.OK, "held by a run that is going on: " + ", ".join(f"{path.stem} (pid {pid})" for path, pid in held)
        )
    return Answer(Verdict.OK, "none held")


def _holder(path: Path) -> int | None:
    """The pid that a held lock names (0 if it names none), `None` if the lock is free."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            return int(json.loads(path.read_text())["pid"])
        except (ValueError, KeyError, TypeError):
            return 0
    finally:
        os.close(handle)
    return None


def images(cache: Path, site: Path | None = None) -> Answer:
    """An image in the cache means that a rebuild needs neither a mirror nor the minutes to build it; an old one lacks
    what was mended since. How old it may be, the site says."""
    max_age = read_machines(read_document(site, MACHINES_FILE)).settings.image_max_age if site else IMAGE_MAX_AGE
    found = sorted(current_images(cache), key=lambda image: image.created)
    if not found:
        return Answer(Verdict.WARN, "no image built yet; the first rebuild does it", "provision image build")
    oldest, newest = found[0], found[-1]
    many = f"{len(found)} cached, the newest " if len(found) > 1 else "cached: "
    if age_of(oldest) > max_age:
        return Answer(
            Verdict.WARN,
            f"image {oldest.short} is {age_of(oldest).days} days old: it lacks what Debian has mended since",
            "provision image build --anew",
        )
    if bare := [image for image in found if not image.security]:
        return Answer(
            Verdict.WARN,
            f"image {bare[0].short} is without Debian's security updates",
            "name the security archive in this computer's apt; provision image build --anew",
        )
    for image in found:
        for package, version in image.packages.items():
            if package.startswith("postgresql-") and package.endswith("-pgvector") and _upstream(version) < PGVECTOR:
                return Answer(
                    Verdict.WARN,
                    f"image {image.short} carries pgvector {version}, older than 0.8.2 (CVE-2026-3172)",
                    "provision image build --anew   # once Debian has it",
                )
    return Answer(Verdict.OK, f"{many}{newest.short}")


def security_updates(root: Path) -> Answer:
    """Images get security updates from the archive that this computer's apt names, or from one beside its mirror."""
    mirror = find_mirror(apt=root / "etc/apt", os_release=root / "etc/os-release")
    if mirror is None:
        return Answer(Verdict.OK, "from the archive that mmdebstrap knows")
    if mirror.security:
        return Answer(Verdict.OK, "from the archive that apt names")
    if (complete(mirror, RESCUE_SUITE) or mirror).security:
        return Answer(Verdict.OK, "from the archive beside apt's mirror")
    return Answer(
        Verdict.WARN,
        "apt names no archive of security updates, and there is none beside its mirror: images "
        "are built without them, and hosts written from them get none",
        "add Debian's security archive to this computer's apt",
    )


def _upstream(version: str) -> tuple[int, ...]:
    """The numbers of an upstream version: 0.8.0-1 → (0, 8, 0)."""
    plain = version.split(":")[-1].split("-")[0]
    return tuple(int(number) for number in re.findall(r"\d+", plain)[:3])


def _told(tell: Callable[[], str]) -> Answer:
    return Answer(Verdict.OK, tell())
