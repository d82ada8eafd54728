"""Who is started while another one is. Way, operator and SSH are stand-ins."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from homelab_provision.doors.ssh import Answer
from homelab_provision.phases import boot

MACHINES = ("wyse-a", "wyse-b", "wyse-c")


class Start:
    """Machines that are started; `most` of them were on their way at one moment."""

    def __init__(self) -> None:
        self.on_their_way, self.most = 0, 0
        self.said: list[str] = []
        self.together = threading.Event()

    @contextmanager
    def serving(self, start: Any) -> Iterator[Any]:
        self.on_their_way += 1
        self.most = max(self.most, self.on_their_way)
        if self.on_their_way == len(MACHINES):
            self.together.set()
        self.together.wait(0.3)  # whoever can come meanwhile, comes
        yield SimpleNamespace(host_key=lambda: None)
        self.on_their_way -= 1

    def rebuild(self, machine: str, way: str, operator: str) -> Any:
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"
        ssh = SimpleNamespace(
            answer=lambda alias: Answer.SILENT,
            wait=lambda alias, **options: Answer.OURS,
            run=lambda alias, *words, **options: SimpleNamespace(stdout="rescue 1\nboot-id\n"),
            addresses={"rescue": "192.0.2.1"},
            pinned={"rescue": key},
        )
        return SimpleNamespace(
            ssh=ssh,
            plan=SimpleNamespace(way=way, operator=operator, host="db-wyse"),
            machine=SimpleNamespace(name=machine),
            operator=SimpleNamespace(patience=10.0),
            way=SimpleNamespace(prepare=lambda *words: None, serving=self.serving),
            site=SimpleNamespace(name="home"),
            session=SimpleNamespace(identities=SimpleNamespace(site=None)),
            emit=lambda event: None,
            say=self.said.append,
        )


@pytest.mark.parametrize(
    ("way", "operator", "most"),
    [("usb", "lab", len(MACHINES)), ("usb", "person", 1), ("netboot", "lab", 1), ("netboot", "person", 1)],
)
def test_one_machine_is_started_after_the_other_where_hands_or_ports_are_there_once(
    monkeypatch: pytest.MonkeyPatch, way: str, operator: str, most: int
) -> None:
    monkeypatch.setattr(boot, "build_rescue", lambda *words: SimpleNamespace(directory=Path("/rescue")))
    starts = Start()
    proofs: list[Any] = []

    def start(machine: str) -> None:
        proofs.append(boot.run(starts.rebuild(machine, way, operator)))

    threads = [threading.Thread(target=start, args=[machine]) for machine in MACHINES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [proof["boot_id"] for proof in proofs] == ["boot-id"] * len(MACHINES)
    assert starts.most == most
    waited = [line for line in starts.said if "one at a time" in line]
    assert len(waited) == (len(MACHINES) - 1 if most == 1 else 0)
