"""What a run's journal calls its phases."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    PREFLIGHT = "preflight"
    BOOT = "boot"
    IDENTIFY = "identify"
    FLASH = "flash"
    ARRIVE = "arrive"
    CONVERGE = "converge"
    RESTORE = "restore"
    VERIFY = "verify"
    BACKUP = "backup"  # no part of a rebuild: a run of its own
