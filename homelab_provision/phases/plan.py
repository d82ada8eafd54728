"""What preflight decides and every later phase follows."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict


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
    rescue_id: str
    stick: Path
    nonce: str
    backup: str | None = None

    def lines(self) -> dict[str, str]:
        """The plan for a person to read: label → text."""
        return {
            "host": f"{self.host} at {self.address}",
            "machine": f"{self.machine}, through {self.way} ({self.operator})",
            "disk": " or ".join(self.disk_serials),
            "erases": "the root file system; the data partition stays" if self.keep_data else "the whole disk",
            "image": self.image_digest,
            "data": self.backup or "no role of this host keeps data yet",
        }
