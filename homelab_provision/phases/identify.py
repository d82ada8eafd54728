"""identify: is this the machine that the plan names, and which of its disks may be written?"""

from __future__ import annotations

from pydantic import JsonValue, ValidationError

from homelab_provision.doors.ssh import RESCUE, Ssh
from homelab_provision.errors import Refused
from homelab_provision.events import Proof, step
from homelab_provision.machine.disk_content import kept_content
from homelab_provision.machine.facts import MachineFacts
from homelab_provision.machine.match import require_match
from homelab_provision.machine.target import Target, choose_target
from homelab_provision.paths import PACKAGE
from homelab_provision.phases.confirm import confirm
from homelab_provision.phases.context import Rebuild
from homelab_provision.site.sizes import format_size

FACTS_SCRIPT = PACKAGE / "rescue" / "facts.py"
FACTS_FILE = "facts.json"


def read_facts(rebuild: Rebuild) -> MachineFacts:
    """Ask the rescue what machine it runs on. The answer is kept in the run's directory."""
    shown = ask_facts(rebuild.ssh)
    rebuild.run.write(FACTS_FILE, shown)
    return understand(shown, f"all that it says is in {rebuild.run.directory / FACTS_FILE}")


def ask_facts(ssh: Ssh) -> str:
    """What the rescue says of its machine, as JSON."""
    return ssh.run(RESCUE, "python3", "-", input=FACTS_SCRIPT.read_bytes(), deadline=300).stdout


def understand(shown: str, where: str) -> MachineFacts:
    """The answer of `ask_facts`; `where` tells whom it puzzles where it can be read."""
    try:
        return MachineFacts.model_validate_json(shown)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Refused(
            "what the rescue says of its machine cannot be understood",
            evidence=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            hint=f"{where}; the stick may be of another version",
        ) from None


def judge(rebuild: Rebuild, facts: MachineFacts) -> Target:
    """Compare the machine with its passport and choose the disk; raises `Refused` unless everything matches."""
    require_match(rebuild.machine, facts, rebuild.site.machines.values())
    return choose_target(
        rebuild.machine.passport, facts, rebuild.plan.erase, run=rebuild.run.id, keep_data=rebuild.plan.keep_data
    )


def lost(target: Target, facts: MachineFacts, *, keep_data: bool) -> tuple[str, ...]:
    """What will be gone from the disk, a line each."""
    if not keep_data:
        return target.content
    seen = next(disk for disk in facts.disks if disk.name == target.name)
    kept = set(kept_content(seen))
    return tuple(line for line in target.content if line not in kept)


def run(rebuild: Rebuild) -> Proof:
    """Refuse, or ask for the last word; from here on the plan and the disk are known to belong together."""
    confirmed = confirm(rebuild)
    with step(rebuild.emit, "read the machine"):
        facts = read_facts(rebuild)
    if confirmed is not None and facts.boot_id != confirmed:
        raise Refused(
            f"another rescue answers at {rebuild.ssh.addresses[RESCUE]} than the one whose code was confirmed",
            hint="nothing was written or sent; run again with --resume",
        )
    target = judge(rebuild, facts)
    disk = (
        f"{target.path} ({target.model or target.transport}, serial {target.serial}, {format_size(target.size_bytes)})"
    )
    losses: list[JsonValue] = [*lost(target, facts, keep_data=rebuild.plan.keep_data)] or ["nothing: the disk is blank"]
    rebuild.say(f"passport matches: {rebuild.machine.name}, {rebuild.machine.passport.known_by}")
    rebuild.say(f"will write {disk}; this erases {'; '.join(map(str, losses))}")
    if not rebuild.consent:
        rebuild.person.confirm(
            f"Type `{rebuild.plan.host}` to write {disk} of {rebuild.machine.name}", rebuild.plan.host
        )
    return {
        "machine": rebuild.machine.name,
        "serial": facts.dmi.product_serial,
        "disk": target.serial,
        "path": target.path,
        "size_bytes": target.size_bytes,
        "erases": losses,
        "allowed_by": str(target.allowed_by),
    }
