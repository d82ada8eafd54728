"""The operator `wol`: what a packet can do, and who is told the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from homelab_provision.events import Event, Notice
from homelab_provision.operators import operator_called
from tests.unit.site.sites import MACHINES, site_of

WOL = "    plays: db-wyse\n    operator: wol\n"


def test_a_host_of_the_site_wakes_a_machine_that_the_controller_does_not_reach(tmp_path: Path) -> None:
    site = site_of(MACHINES.replace("    plays: db-wyse\n", f"{WOL}    wake_through: web-wyse\n"))
    asked: list[tuple[str, list[str]]] = []
    told: list[str] = []

    def at_host(host: str, argv: Sequence[str], input: str, deadline: float) -> None:
        compile(input, "wake", "exec")
        asked.append((host, list(argv)))

    def tell(event: Event) -> None:
        assert isinstance(event, Notice)
        told.append(event.text)

    machine = site.machine("wyse-a")
    operator = operator_called("wol")(site, tmp_path, tell, at_host)
    operator.start_from_network(machine)
    assert asked == [("web-wyse", ["python3", "-", *machine.passport.macs])]
    assert "wyse-a was woken over the network" in told[0]
    assert "choose the network card" in told[1]
    operator.start_from_disk(machine)
    assert len(asked) == 2
    operator.start_from_stick(machine, tmp_path / "stick")
    assert len(asked) == 2, "nobody but a person plugs a stick"
    assert "plug in the rescue stick" in told[-1]
