"""The phases of a rebuild, in order. Each is one module with one function that returns its proof."""

from __future__ import annotations

from homelab_provision.runs.phase import Phase

ORDER: tuple[Phase, ...] = tuple(phase for phase in Phase if phase is not Phase.BACKUP)
# These talk to the rescue system in the machine's memory: it has to be there (again) when they begin.
NEED_RESCUE = frozenset({Phase.IDENTIFY, Phase.FLASH})
