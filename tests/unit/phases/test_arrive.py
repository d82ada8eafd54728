"""Who answers under the key of the host: the system of this run, an older one, or the rescue. SSH is a stand-in."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from homelab_provision.doors.ssh import RESCUE, Answer
from homelab_provision.events import discard
from homelab_provision.phases import arrive

NONCE, ADDRESS = "nonce-of-this-run", "192.0.2.10"


class Ssh:
    """The host answers with `release`, under its own key; the rescue has gone."""

    def __init__(self, release: object, boot: str) -> None:
        self.said = f"{json.dumps(release)}\n{boot}\n"

    def forget(self, host: str) -> None:
        pass

    def answer(self, host: str) -> Answer:
        return Answer.SILENT if host == RESCUE else Answer.OURS

    def wait(self, host: str, **options: Any) -> Answer:
        return Answer.OURS

    def run(self, host: str, *words: str, **options: Any) -> Any:
        return SimpleNamespace(stdout=self.said)


def rebuild(release: object, boot: str = "boot-of-the-disk") -> Any:
    key = SimpleNamespace(public="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA")
    machines = {"wyse-a": SimpleNamespace(plays="db-wyse"), "wyse-b": SimpleNamespace(plays=None)}
    return SimpleNamespace(
        plan=SimpleNamespace(host="db-wyse", machine="wyse-b", address=ADDRESS, nonce=NONCE),
        ssh=Ssh(release, boot),
        emit=discard,
        run=SimpleNamespace(
            id="0042", proven=lambda: {"boot": SimpleNamespace(proof={"boot_id": "boot-of-the-rescue"})}
        ),
        site=SimpleNamespace(machines=machines),
        machine=machines["wyse-b"],
        operator=SimpleNamespace(start_from_disk=lambda machine: None),
        session=SimpleNamespace(identities=SimpleNamespace(hosts={"db-wyse": SimpleNamespace(host_key=key)})),
    )


def test_the_system_of_this_run_has_arrived() -> None:
    proof = arrive.run(rebuild({"run": "0042", "nonce": NONCE}))
    assert (proof["nonce"], proof["boot_id"]) == (NONCE, "boot-of-the-disk")


@pytest.mark.negative
@pytest.mark.parametrize(
    ("release", "whose"), [({"run": "0007", "nonce": "older"}, "run 0007"), ({}, "no run of this toolkit")]
)
def test_an_old_system_that_answers_instead_of_the_new_one_is_named(release: object, whose: str) -> None:
    with pytest.raises(arrive.NotArrived) as caught:
        arrive.run(rebuild(release))
    assert f"an old system of db-wyse answers at {ADDRESS}: it comes from {whose}" in caught.value.message
    assert caught.value.hint == "switch off the old machine (wyse-a), then run again with --resume"


@pytest.mark.negative
def test_the_rescue_is_not_taken_for_the_disk() -> None:
    with pytest.raises(arrive.NotArrived, match="answers from the rescue system"):
        arrive.run(rebuild({"run": "0042", "nonce": NONCE}, boot="boot-of-the-rescue"))
