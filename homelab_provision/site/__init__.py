"""A site: a directory that describes one homelab, loaded and validated into frozen models."""

from homelab_provision.rescue.facts import same_serial
from homelab_provision.site.assignment import record_player
from homelab_provision.site.description import MachineRow, describe, machine_rows
from homelab_provision.site.lab_check import lab_contradictions
from homelab_provision.site.loading import load_site
from homelab_provision.site.machines import machines_schema
from homelab_provision.site.models import (
    Backup,
    Disk,
    DiskUse,
    Firmware,
    Host,
    Machine,
    Needs,
    Network,
    Passport,
    Site,
)
from homelab_provision.site.problems import Problem, SiteError
from homelab_provision.site.values import Size, written_size

__all__ = [
    "Backup",
    "Disk",
    "DiskUse",
    "Firmware",
    "Host",
    "Machine",
    "MachineRow",
    "Needs",
    "Network",
    "Passport",
    "Problem",
    "Site",
    "SiteError",
    "Size",
    "describe",
    "lab_contradictions",
    "load_site",
    "machine_rows",
    "machines_schema",
    "record_player",
    "same_serial",
    "written_size",
]
