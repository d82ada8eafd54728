"""flash: the image goes onto the disk, is read back, becomes the host, and gets its partition table last."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from homelab_provision.doors.ssh import RESCUE
from homelab_provision.errors import ProvisionError, Refused
from homelab_provision.events import Notice, Progress, Proof, step
from homelab_provision.identity.identities import renew_signing
from homelab_provision.identity.seed import File, archive, files
from homelab_provision.image.image import Image, load_image
from homelab_provision.image.layout import KeptData, Layout, kept_data, plan_layout
from homelab_provision.image.medium import RESCUE_LABEL
from homelab_provision.machine.facts import MachineFacts
from homelab_provision.machine.target import Target
from homelab_provision.paths import PACKAGE
from homelab_provision.phases.confirm import BOOT_ID_FILE
from homelab_provision.phases.context import Rebuild
from homelab_provision.phases.identify import FACTS_FILE, FACTS_SCRIPT, judge
from homelab_provision.rescue.facts import same_serial
from homelab_provision.runs.store import Damaged
from homelab_provision.text import json_object

WRITER = PACKAGE / "rescue" / "writer.py"
BESIDE = (FACTS_SCRIPT, WRITER.with_name("stream.py"))  # what it imports
PLAN_FILE = "flash.json"
PLACE = "/run/rescue"
BOOT_LABEL = "homelab"
PIPE_BYTES = 65536
# Slower than this many bytes a second, a disk or a network is broken.
SLOWEST = 500_000


class FlashFailed(ProvisionError):
    """The disk was not written as a whole. It carries no partition table, so it does not boot half written."""


def run(rebuild: Rebuild) -> Proof:
    """Write, personalise, commit. The writer itself looks at the disk's serial, name and size before each of them."""
    target = _target(rebuild)
    image = load_image(rebuild.plan.image)
    kept = _kept(rebuild, target) if rebuild.plan.keep_data else None
    layout = plan_layout(target.size_bytes, image.root_fs_bytes, keep=kept, identity=rebuild.run.id)
    _place(rebuild, target, image, layout)
    with step(rebuild.emit, "write the image"), image.payload.open("rb") as payload:
        written = _writer(rebuild, "write", deadline=300 + image.content_bytes / SLOWEST, stdin=payload)
    with step(rebuild.emit, "make it the host"):
        _personalise(rebuild, archive(_identity(rebuild, image)))
    with step(rebuild.emit, "write the partition table"):
        committed = _writer(rebuild, "commit", deadline=120)
    return {
        "disk": target.serial,
        "image": image.digest,
        "read_back_bytes": written["bytes"],
        "digests": written["digests"],
        "table": committed["table"],
        "boot_entry": committed["boot_entry"],
    }


def _target(rebuild: Rebuild) -> Target:
    """The disk that `identify` chose, judged again; the rescue must still be the very one that it looked at."""
    facts = rebuild.run.need(FACTS_FILE, MachineFacts)
    boot_id = rebuild.ssh.run(RESCUE, "cat", BOOT_ID_FILE, deadline=30).stdout.strip()
    if boot_id != facts.boot_id:
        raise _exchanged(rebuild)
    return judge(rebuild, facts)


def _exchanged(rebuild: Rebuild) -> Refused:
    return Refused(
        f"the machine in the rescue was restarted or exchanged since {rebuild.plan.machine} was identified",
        hint="run again with --resume: it is identified anew",
    )


def _kept(rebuild: Rebuild, target: Target) -> KeptData:
    """Where the data lies that has to stay. After an interrupted write this run still knows it, or the disk's mark."""
    if rebuild.run.has(PLAN_FILE):
        plan = rebuild.run.need_object(PLAN_FILE)
        try:
            part = plan["layout"]["partitions"][-1]
            if plan["keep_data"] and same_serial(plan["serial"], target.serial) and plan.get("wwn") == target.wwn:
                return KeptData(part["start"], part["sectors"], part["uuid"])
        except (LookupError, TypeError) as error:
            raise Damaged(
                rebuild.run.id, f"{PLAN_FILE}: the layout is not what was written there ({error!r})"
            ) from None
    facts = rebuild.run.need_object(FACTS_FILE)
    found = kept_data(next(disk for disk in facts["disks"] if disk["path"] == target.path))
    if found is None:
        raise Refused(
            f"--keep-data: {target.path} carries no data partition of ours, so there is nothing to keep",
            hint="rebuild without --keep-data; the data then comes back from the backup",
        )
    return found


def _place(rebuild: Rebuild, target: Target, image: Image, layout: Layout) -> None:
    """Put the writer, what it imports and its plan into the rescue's memory; the run keeps a copy of the plan."""
    plan = {
        "disk": target.path,
        "serial": target.serial,
        "wwn": target.wwn,
        "size_bytes": target.size_bytes,
        "run": rebuild.run.id,
        "host": rebuild.plan.host,
        "keep_data": rebuild.plan.keep_data,
        "layout": layout.as_plan(),
        "digest_algorithm": image.digest_algorithm,
        "extents": [extent.model_dump(mode="json") for extent in image.extents],
        "boot_label": BOOT_LABEL,
        "stale_labels": [RESCUE_LABEL],
    }
    text = json.dumps(plan)
    rebuild.run.write(PLAN_FILE, text)
    parcel = {PLAN_FILE: File(text)} | {script.name: File(script.read_text()) for script in (WRITER, *BESIDE)}
    rebuild.ssh.run(RESCUE, "tar", "-x", "-C", PLACE, input=archive(parcel), deadline=60)


def _identity(rebuild: Rebuild, image: Image) -> Mapping[str, Any]:
    release = {
        "host": rebuild.plan.host,
        "run": rebuild.run.id,
        "nonce": rebuild.plan.nonce,
        "image": image.digest,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return files(
        rebuild.host,
        renew_signing(rebuild.session.vault, rebuild.plan.host, rebuild.session.identities.hosts[rebuild.plan.host]),
        rebuild.session.identities.site,
        mac=rebuild.machine.passport.macs[0],
        release=release,
    )


def _personalise(rebuild: Rebuild, parcel: bytes) -> None:
    """Send the host's identity, once the other end of the very connection that it goes through has named the boot id
    of the machine that was identified. A connection that somebody else took over in the meantime gets nothing."""
    identified = rebuild.run.need(FACTS_FILE, MachineFacts).boot_id
    receiver, sender = os.pipe()
    with os.fdopen(receiver, "rb") as out, os.fdopen(sender, "wb", buffering=0) as into:
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, max(len(parcel), PIPE_BYTES))  # so that writing never waits
        named: list[str] = []

        def hear_name(line: str) -> None:
            if not named:
                named.append(line.strip())
                if named[0] == identified:
                    into.write(parcel)
                into.close()

        script = f'cat {BOOT_ID_FILE}; exec "$0" "$@"'
        try:
            _writer(rebuild, "personalise", before=("sh", "-c", script), hear=hear_name, deadline=600, stdin=out)
        finally:
            if named and named[0] != identified:  # whatever it says of itself
                raise _exchanged(rebuild) from None


def _writer(
    rebuild: Rebuild,
    name: str,
    *,
    deadline: float,
    before: tuple[str, ...] = (),
    hear: Callable[[str], None] = lambda line: None,
    **feed: Any,
) -> dict[str, Any]:
    """Run one step of the writer in the rescue; its last word is returned. `before` are words that run it."""
    last: dict[str, Any] = {}

    def on_line(line: str) -> None:
        hear(line)
        output = json_object(line) or {}
        last.update(output)
        if "total" in output:
            rebuild.emit(Progress(name="write the image", done=output["done"], total=output["total"]))
        elif "warning" in output:
            rebuild.emit(Notice(level="warning", text=output["warning"]))

    argv = (*before, "python3", f"{PLACE}/{WRITER.name}", name, f"{PLACE}/{PLAN_FILE}")
    done = rebuild.ssh.run(RESCUE, *argv, deadline=deadline, check=False, on_line=on_line, **feed)
    if done.returncode != 0 or "result" not in last:
        raise FlashFailed(
            f"writing the disk of {rebuild.plan.machine} failed: {last.get('error', 'the connection broke')}",
            evidence=done.stderr or None,
            hint="the disk has no partition table and does not boot half written; go on with --resume",
        )
    return last
