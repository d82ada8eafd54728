"""restore: put each service's data back from its newest good backup."""

from __future__ import annotations

from homelab_provision.events import Proof
from homelab_provision.phases.context import Rebuild


def run(rebuild: Rebuild) -> Proof:
    """No role keeps data yet, so there is nothing to put back; the phase says so in its proof."""
    return {"restored": [], "data": "kept" if rebuild.plan.keep_data else "new"}
