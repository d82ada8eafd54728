"""What the flash writer gets to know, and the writer itself, as they travel to the rescue system."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import homelab_provision
from homelab_provision.image.image import Image
from homelab_provision.image.layout import Layout

# Where the agent is unpacked in the rescue, and how its steps are called there.
AGENT_DIRECTORY = "/run/rescue"
AGENT_MODULES = ("__init__.py", "rescue_facts.py", "flash_writer.py")
PLAN_PATH = f"{AGENT_DIRECTORY}/plan.json"
BOOT_LABEL = "homelab"


def agent_argv(step: str) -> list[str]:
    """The command that runs a step (`write`, `personalise`, `commit`) in the rescue."""
    return ["env", f"PYTHONPATH={AGENT_DIRECTORY}", "python3", "-m", "homelab_provision.flash_writer", step, PLAN_PATH]


def agent_archive(plan: str) -> bytes:
    """The agent and its plan as a tar archive, to be unpacked in `AGENT_DIRECTORY`."""
    package = Path(homelab_provision.__file__).parent
    files = {f"homelab_provision/{name}": (package / name).read_bytes() for name in AGENT_MODULES}
    files["plan.json"] = plan.encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o600
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def flash_plan(
    image: Image, layout: Layout, *, path: str, serial: str, size_bytes: int, root_uuid: str, keep_data: bool = False
) -> str:
    """The plan of a flash as JSON; see the writer's own description."""
    return json.dumps({
        "disk": {"path": path, "serial": serial, "size_bytes": size_bytes},
        "layout": layout.as_plan(),
        "extents": [[e.partition, e.offset, e.length, e.digest] for e in image.extents],
        "digest_algorithm": image.digest_algorithm,
        "keep_data": keep_data,
        "root_uuid": root_uuid,
        "boot_label": BOOT_LABEL,
    })  # fmt: skip
