"""Which machine shall play a host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from homelab_provision.errors import ExitCode, ProvisionError, Refused, UsageError
from homelab_provision.machine.placement import Verdict, fits, judge, pick_machine
from homelab_provision.site.models import Host, Machine, Needs, Part, Passport, Site

DB = Host(name="db", provisioned=True, needs=Needs(disk_gb=200, memory_mib=8000, cores=4, cpu_flags=("aes",)))
NAS = Host(name="nas")


def passport(name: str, **changed: Any) -> Passport:
    papers = {
        "serial": f"{name}-serial",
        "macs": ["52:54:00:00:00:01"],
        "memory_mib": 8192,
        "cores": 4,
        "cpu_flags": ["aes"],
        "disks": [{"serial": f"{name}-disk", "size": "256 GB"}],
        **changed,
    }
    return Passport.model_validate(papers)


def machine(name: str, plays: str | None = None, distrusted_as: tuple[str, ...] = (), **changed: Any) -> Machine:
    return Machine(name=name, plays=plays, distrusted_as=distrusted_as, passport=passport(name, **changed))


def site(*machines: Machine, shelf: tuple[Part, ...] = ()) -> Site:
    hosts: Mapping[str, Host] = {host.name: host for host in (DB, NAS, Host(name="web", provisioned=True))}
    known = {machine.name: machine for machine in machines}
    return Site(Path("/srv/lab"), "lab", hosts, known, {part.name: part for part in shelf})


def pick(
    machines: list[Machine],
    onto: str | None = None,
    *,
    reachable: tuple[str, ...] = (),
    host: Host = DB,
    answer: str | None = None,
) -> str:
    def ask(offered: list[Machine]) -> Machine:
        return next(machine for machine in offered if machine.name == answer)

    return pick_machine(
        site(*machines), host, onto, lambda machine: machine.name in reachable, ask if answer else None
    ).name


A, B, C = machine("a", plays="db"), machine("b"), machine("c")
SMALL = machine("small", memory_mib=4096, disks=[{"serial": "e", "size": "14.7 GiB"}])


def test_its_own_machine_if_it_can_be_reached() -> None:
    assert pick([A, B], reachable=("a", "b")) == "a"


def test_else_the_one_spare_that_fits() -> None:
    assert pick([A, B, SMALL]) == "b"
    assert pick([B]) == "b"


def test_a_spare_need_not_be_reachable_and_the_player_of_another_host_is_none() -> None:
    assert pick([A, B, machine("w", plays="web")], reachable=("w",)) == "b"


def test_where_several_fit_somebody_is_asked() -> None:
    assert pick([A, B, C, SMALL], answer="c") == "c"


@pytest.mark.negative
def test_nobody_to_ask() -> None:
    with pytest.raises(Refused, match="several spares could play `db`: b, c") as caught:
        pick([A, B, C, SMALL])
    assert caught.value.hint == "choose one: `--onto b`"


@pytest.mark.negative
def test_none_fits() -> None:
    distrusted = machine("old", distrusted_as=("db",))
    with pytest.raises(Refused, match="no machine can play `db`") as caught:
        pick([A, SMALL, distrusted, machine("w", plays="web")])
    assert caught.value.exit_code == ExitCode.REFUSED
    assert caught.value.evidence == (
        "`a` plays it, but cannot be reached\n"
        "`small` does not fit: disk: 15.8 GB, needs 200 GB; memory: 4096 MiB, needs 8000 MiB\n"
        "`old` was `db` once and is taken for it only by name: `--onto old`"
    )
    assert caught.value.hint is not None
    assert "`--onto a` if it is only switched off" in caught.value.hint


@pytest.mark.negative
def test_no_spares_at_all() -> None:
    with pytest.raises(Refused) as caught:
        pick([machine("w", plays="web")])
    assert caught.value.evidence == "there are no spares"


def test_a_machine_that_is_distrusted_as_one_host_may_play_another() -> None:
    assert pick([machine("old", distrusted_as=("web",))]) == "old"


def test_the_users_word_counts() -> None:
    assert pick([A, B, C], "c", reachable=("a",)) == "c"
    assert pick([A, B], "a") == "a"
    assert pick([A, machine("old", distrusted_as=("db",))], "old") == "old"


@pytest.mark.negative
@pytest.mark.parametrize(
    ("onto", "error", "said"),
    [
        ("w", Refused, "`w` plays `web`: it cannot become `db`"),
        ("small", Refused, "`small` does not fit `db`: disk: 15.8 GB"),
        ("aa", UsageError, "has no machine `aa`"),
    ],
)
def test_but_not_for_everything(onto: str, error: type[ProvisionError], said: str) -> None:
    with pytest.raises(error, match=said):
        pick([A, B, SMALL, machine("w", plays="web")], onto)


@pytest.mark.negative
def test_a_host_that_may_not_be_rebuilt() -> None:
    with pytest.raises(Refused, match="not in the group `provisioned`"):
        pick([A, B], "b", host=NAS)


@pytest.mark.parametrize(
    ("needs", "reasons"),
    [
        (Needs(), []),
        (Needs(disk_gb=256, memory_mib=8192, cores=4, cpu_flags=("aes",)), []),
        (Needs(disk_gb=256.1), ["disk: 256 GB, needs 256.1 GB"]),
        (Needs(memory_mib=8193), ["memory: 8192 MiB, needs 8193 MiB"]),
        (Needs(cores=8), ["cores: 4, needs 8"]),
        (Needs(cpu_flags=("aes", "avx", "avx2")), ["CPU: its passport names no avx, avx2"]),
    ],
)
def test_fits(needs: Needs, reasons: list[str]) -> None:
    assert fits(needs, B) == reasons


def test_what_a_passport_leaves_out_is_not_assumed() -> None:
    bare = machine("bare", memory_mib=None, cores=None, cpu_flags=[])
    assert fits(Needs(memory_mib=64, cores=1), bare) == [
        "memory: not in its passport, needs 64 MiB",
        "cores: not in its passport, needs 1",
    ]


def test_only_disks_that_may_be_flashed_count_and_only_uefi_boots() -> None:
    keeper = machine(
        "k", firmware="bios", disks=[{"serial": "x1", "size": "16 GB"}, {"serial": "x2", "size": "1 TB", "use": "keep"}]
    )
    assert fits(Needs(disk_gb=100), keeper) == ["disk: 16 GB, needs 100 GB", "firmware: bios, needs uefi"]


# ---- what `machines check` says, by the same judgement -----------------------------------------------------------


def part(name: str, kind: str, *models: str, **more: Any) -> Part:
    return Part.model_validate({"name": name, "kind": kind, "models": models or ("wyse5070",), **more})


SHELF = (
    part("ram-64", "memory", memory_mib=65536, modules=2),
    part("ram-16", "memory", memory_mib=16384, modules=2),
    part("ram-4", "memory", memory_mib=4096),
    part("ssd-small", "disk", disk_gb=120),
    part("ssd-256", "disk", disk_gb=256),
    part("other-ssd", "disk", "optiplex", disk_gb=250),
    part("brick", "power", "wyse5070", "wyse3040"),
)


def wyse(name: str, **more: Any) -> Machine:
    own: dict[str, Any] = {
        key: more.pop(key) for key in ("free_memory_slots", "power_supply", "plays", "distrusted_as") if key in more
    }
    return machine(name, **more).model_copy(update={"model": "wyse5070", **own})


def judged(box: Machine, shelf: tuple[Part, ...] = SHELF) -> tuple[Verdict, tuple[str, ...], list[str]]:
    found = judge(site(box, shelf=shelf), DB, box)
    return found.verdict, found.lacks, [str(fitting) for fitting in found.fittings]


def test_a_judgement_of_every_kind() -> None:
    verdicts = [judged(box)[0] for box in (A, B, machine("w", plays="web"), machine("o", distrusted_as=("db",)))]
    assert verdicts == [Verdict.PLAYS, Verdict.FITS, Verdict.TAKEN, Verdict.BY_NAME]
    assert judged(wyse("eight", cores=2)) == (Verdict.LACKS, ("cores: 2, needs 4",), [])


def test_the_smallest_part_of_the_shelf_that_is_enough_and_goes_in() -> None:
    small = wyse("small", memory_mib=4096, disks=[{"serial": "e", "size": "14.7 GiB"}])
    assert judged(small) == (
        Verdict.WITH_PARTS,
        ("disk: 15.8 GB, needs 200 GB", "memory: 4096 MiB, needs 8000 MiB"),
        ["ssd-256 (256 GB, as its system disk)", "ram-16 (16384 MiB in place of what is in it)"],
    )
    assert judged(small, SHELF[3:4] + SHELF[5:])[0] is Verdict.LACKS  # too small, and into another box


def test_memory_is_added_where_a_slot_is_free() -> None:
    assert judged(wyse("half", memory_mib=4096, free_memory_slots=1))[2] == ["ram-4 (4096 MiB beside its 4096 MiB)"]
    none = wyse("unknown", memory_mib=None, free_memory_slots=2)  # what is in it is not known: nothing is added to it
    assert judged(none)[2] == ["ram-16 (16384 MiB in place of what is in it)"]


def test_a_box_without_a_power_supply_plays_nothing_until_it_has_one() -> None:
    dark = wyse("dark", power_supply=False)
    assert judged(dark) == (Verdict.WITH_PARTS, ("power supply: it has none",), ["brick (power supply)"])
    assert judged(dark, ())[0] is Verdict.LACKS
    with pytest.raises(Refused, match="power supply: it has none"):
        pick([dark], "dark")
    assert pick([dark, B]) == "b"


def test_one_mended_lack_of_two_is_not_enough() -> None:
    verdict, lacks, fittings = judged(wyse("both", memory_mib=4096, cpu_flags=[]))
    assert verdict is Verdict.LACKS
    assert lacks == ("memory: 4096 MiB, needs 8000 MiB", "CPU: its passport names no aes")
    assert fittings == ["ram-16 (16384 MiB in place of what is in it)"]


@pytest.mark.negative
def test_a_rebuild_that_finds_nobody_names_the_part_that_would_help() -> None:
    with pytest.raises(Refused) as caught:
        pick_machine(site(wyse("small", memory_mib=4096), shelf=SHELF), DB, None, lambda machine: False, None)
    assert caught.value.evidence == (
        "`small` does not fit: memory: 4096 MiB, needs 8000 MiB; "
        "it would with ram-16 (16384 MiB in place of what is in it)"
    )
