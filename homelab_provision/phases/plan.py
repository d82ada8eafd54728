"""What preflight decides and every later phase follows."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from homelab_provision.data.backups import PlannedBackup
from homelab_provision.image.host_image import image_line
from homelab_provision.ways import Medium


class Plan(BaseModel):
    """The plan of a rebuild. It never changes within a run; a resumed run follows it to the letter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    machine: str
    address: str
    way: str
    operator: str
    disk_serials: tuple[str, ...]  # of the passport's disks that may be written
    erase: frozenset[str]
    keep_data: bool
    image: Path
    image_digest: str
    image_created: datetime | None = None
    image_security: bool = True
    medium: Medium
    nonce: str
    backups: tuple[PlannedBackup, ...] = ()  # of the roles that keep data; what they hold is put back by `restore`
    doubts: tuple[str, ...] = ()  # what speaks against the backups; the user accepted it

    def lines(self) -> dict[str, str]:
        """The plan for a person to read: label → text."""
        return {
            "host": f"{self.host} at {self.address}",
            "machine": f"{self.machine}, through {self.way} ({self.operator})",
            "disk": " or ".join(self.disk_serials),
            "erases": "the root file system; the data partition stays" if self.keep_data else "the whole disk",
            "image": image_line(self.image_digest, self.image_created, self.image_security),
            "data": self._data(),
            **({"doubts": "; ".join(self.doubts)} if self.doubts else {}),
        }

    def _data(self) -> str:
        if self.keep_data:
            return "stays on its partition"
        if self.backups:
            return "; ".join(backup.line() for backup in self.backups)
        return "begins empty"
