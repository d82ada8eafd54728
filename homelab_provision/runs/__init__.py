"""Runs: what was asked, what was decided, and what happened, recorded so that it can be resumed."""

from homelab_provision.runs.store import (
    Damaged,
    Request,
    Run,
    everything,
    history,
    last_of,
    load,
    locked,
    named,
    start,
)

__all__ = ["Damaged", "Request", "Run", "everything", "history", "last_of", "load", "locked", "named", "start"]
