"""Rebuild the machines of a homelab: from a blank disk to a proven host, in one command."""

__version__ = "0.2.0"
