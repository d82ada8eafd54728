"""Can this computer do all of this? Checks that each say what they found and how to repair it."""

from homelab_provision.doctor.checks import Surroundings, all_checks
from homelab_provision.doctor.examination import Answer, Check, Finding, Verdict, examine, repair_packages

__all__ = ["Answer", "Check", "Finding", "Surroundings", "Verdict", "all_checks", "examine", "repair_packages"]
