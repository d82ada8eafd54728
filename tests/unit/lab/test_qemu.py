"""The command line of QEMU, from the description of a machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from homelab_provision.errors import ProvisionError
from homelab_provision.lab.qemu import Accel, Launch, build_argv, find_firmware, quote, smbios
from homelab_provision.site.virtual import LabMachine

FOLDER = Path("/lab/machines/box")


def described(*disks: dict[str, Any], **changes: Any) -> LabMachine:
    return LabMachine.model_validate(
        {"smbios": {"serial": "7XK2Q13"}, "mac": "52:54:00:aa:bb:01", "disks": disks, **changes}
    )


def argv(machine: LabMachine, **changes: Any) -> tuple[str, ...]:
    launch: dict[str, Any] = {
        "guest": "hlp-lab/box",
        "firmware_code": Path("/usr/share/OVMF/OVMF_CODE_4M.fd"),
        "firmware_variables": FOLDER / "variables.fd",
        "disks": {disk.name: FOLDER / f"disks/{disk.name}.raw" for disk in machine.disks},
        "tap": "tap-box",
        "pidfile": FOLDER / "qemu.pid",
        "console_log": FOLDER / "logs/now.log",
        "accel": Accel.TCG,
    }
    return build_argv(machine, Launch(**{**launch, **changes}))


def values(words: tuple[str, ...], option: str) -> list[str]:
    return [words[place + 1] for place, word in enumerate(words) if word == option]


def device(words: tuple[str, ...], ident: str) -> dict[str, str]:
    """The properties of the device with an id; its driver under "driver"."""
    for value in values(words, "-device"):
        driver, *rest = value.removeprefix("driver=").split(",")
        properties = dict(one.split("=", 1) for one in rest)
        if properties.get("id") == ident:
            return {"driver": driver, **properties}
    raise AssertionError(f"no device {ident} in {words}")


def blocks(words: tuple[str, ...]) -> dict[str, Any]:
    return {block["node-name"]: block for block in map(json.loads, values(words, "-blockdev"))}


def test_a_wyse() -> None:
    words = argv(
        described(
            {
                "name": "system",
                "serial": "50026B7",
                "size_bytes": "16 GB",
                "wwn": 0x5000C500A1B2C3D4,
                "model": "KINGSTON RBUSNS8180DS3128GJ",
            }
        )
    )
    assert words[0] == "qemu-system-x86_64"
    assert values(words, "-machine") == ["q35,smm=off,pflash0=firmware,pflash1=variables"]
    assert values(words, "-accel") == ["tcg,thread=multi,tb-size=512"]
    assert values(words, "-cpu") == ["Denverton,model-id=Intel(R) Celeron(R) J4105 CPU @ 1.50GHz"]
    assert (values(words, "-smp"), values(words, "-m")) == (["2"], ["2048M"])
    assert device(words, "disk-system") == {
        "driver": "ide-hd",
        "id": "disk-system",
        "drive": "file-system",
        "bus": "ide.0",
        "serial": "50026B7",
        "model": "KINGSTON RBUSNS8180DS3128GJ",
        "wwn": "0x5000c500a1b2c3d4",
        "rotation_rate": "1",
        "bootindex": "10",
    }
    assert values(words, "-pidfile") == ["/lab/machines/box/qemu.pid"]
    assert "-daemonize" in words


def test_kvm_keeps_the_cpu_that_lacks_avx() -> None:
    words = argv(described(), accel=Accel.KVM)
    assert values(words, "-accel") == ["kvm"]
    assert values(words, "-cpu")[0].startswith("Denverton,")


def test_the_strings_of_the_real_box() -> None:
    tables = dict(zip(["0", "1", "2", "3"], values(smbios(described().smbios), "-smbios"), strict=True))
    assert tables["0"] == "type=0,vendor=Dell Inc.,version=1.29.0,date=07/09/2024,uefi=on"
    assert tables["1"].startswith("type=1,manufacturer=Dell Inc.,product=Wyse 5070 Thin Client,serial=7XK2Q13,uuid=")
    assert tables["1"].endswith(",sku=080C,family=Wyse Thin Client 5000 Series")
    assert tables["2"] == "type=2,manufacturer=Dell Inc.,product=0HC3G4,version=A00,serial=/7XK2Q13/"
    assert tables["3"] == "type=3,manufacturer=Dell Inc.,serial=7XK2Q13,sku=080C"


def test_commas_are_doubled_wherever_a_string_comes_from_a_description() -> None:
    assert quote("Dell, Inc.,") == "Dell,, Inc.,,"
    machine = described(
        {"name": "a", "serial": "S,removable=on", "size_bytes": "1 GiB", "bus": "usb"},
        {"name": "b", "serial": "T,T", "size_bytes": "1 GiB", "model": "M,M"},
        smbios={"serial": "X,uuid=1"},
        cpu_name="Some CPU, 1 GHz",
    )
    line = " ".join(argv(machine, console_log=Path("/a,b/log")))
    for expected in ("serial=S,,removable=on,", "serial=T,,T,", "model=M,,M", "serial=X,,uuid=1,", "CPU,, 1 GHz"):
        assert expected in line
    assert "logfile=/a,,b/log," in line


def test_each_bus_has_its_device() -> None:
    words = argv(
        described(
            {"name": "ssd", "bus": "usb", "serial": "U1", "size_bytes": "1 GiB"},
            {"name": "key", "bus": "usb", "serial": "U2", "size_bytes": "1 GiB", "removable": True},
            {"name": "one", "bus": "sata", "serial": "S1", "size_bytes": "1 GiB"},
            {"name": "two", "bus": "sata", "serial": "S2", "size_bytes": "1 GiB"},
            {"name": "emmc", "bus": "mmc", "size_bytes": "1 GiB"},
            {"name": "fast", "bus": "nvme", "serial": "N1", "size_bytes": "1 GiB"},
            {"name": "virt", "bus": "virtio", "serial": "V1", "size_bytes": "1 GiB"},
        )
    )
    drivers = {
        name: device(words, f"disk-{name}")["driver"] for name in ("ssd", "key", "one", "two", "emmc", "fast", "virt")
    }
    assert drivers == {
        "ssd": "usb-storage",
        "key": "usb-storage",
        "one": "ide-hd",
        "two": "ide-hd",
        "emmc": "sd-card",
        "fast": "nvme",
        "virt": "virtio-blk-pci",
    }
    assert device(words, "disk-ssd")["removable"] == "off"
    assert device(words, "disk-key")["removable"] == "on"
    assert (device(words, "disk-one")["bus"], device(words, "disk-two")["bus"]) == ("ide.0", "ide.1")
    # A firmware looks at the inner disks before it looks at USB, whatever the order of description.
    assert int(device(words, "disk-virt")["bootindex"]) < int(device(words, "disk-ssd")["bootindex"])
    assert {f"file-{name}" for name in drivers} <= blocks(words).keys()


def test_disks_are_raw_and_their_flushes_count() -> None:
    block = blocks(argv(described({"name": "system", "serial": "S1", "size_bytes": "1 GiB"})))["file-system"]
    assert (block["driver"], block["read-only"]) == ("raw", False)
    assert block["cache"] == {"direct": False, "no-flush": False}
    assert block["file"]["filename"] == "/lab/machines/box/disks/system.raw"


def test_a_stick_comes_first_and_is_never_written() -> None:
    machine = described({"name": "system", "serial": "S1", "size_bytes": "1 GiB"})
    assert "stick" not in blocks(argv(machine))
    words = argv(machine, stick=Path("/images/rescue, new.img"), boot_from_network=True)
    assert blocks(words)["stick"]["read-only"] is True
    assert blocks(words)["stick"]["file"]["filename"] == "/images/rescue, new.img"
    order = [int(device(words, ident)["bootindex"]) for ident in ("stick", "lan", "disk-system")]
    assert order == sorted(order)


def test_the_network_is_asked_for_a_system_only_when_wanted() -> None:
    assert "bootindex" not in device(argv(described()), "lan")
    assert device(argv(described()), "lan")["romfile"] == ""
    words = argv(described(), boot_from_network=True)
    assert "romfile" not in device(words, "lan")
    assert device(words, "lan")["mac"] == "52:54:00:aa:bb:01"
    assert values(words, "-netdev") == ["tap,id=net,ifname=tap-box,script=no,downscript=no"]


def test_secure_boot_locks_the_firmwares_variables() -> None:
    words = argv(described(secure_boot=True))
    assert values(words, "-machine")[0].startswith("q35,smm=on,")
    assert "driver=cfi.pflash01,property=secure,value=on" in values(words, "-global")
    assert "-global" not in argv(described())
    assert blocks(words)["firmware"]["read-only"] is True
    assert blocks(words)["variables"]["read-only"] is False


def test_firmware_is_looked_for_where_distributions_put_it() -> None:
    everywhere = find_firmware(False, lambda path: True)
    assert everywhere.code == Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
    secure = find_firmware(True, lambda path: True)
    assert (secure.code.name, secure.variables.name) == ("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd")
    elsewhere = find_firmware(False, lambda path: "edk2" in str(path))
    assert elsewhere.variables == Path("/usr/share/edk2/ovmf/OVMF_VARS.fd")


def test_a_host_without_firmware_is_told_what_to_install() -> None:
    with pytest.raises(ProvisionError, match="Secure Boot") as caught:
        find_firmware(True, lambda path: False)
    assert caught.value.hint == "apt install ovmf"
