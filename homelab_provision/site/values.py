"""The values of a site's description: MAC addresses, serials and sizes as people write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from homelab_provision import paths
from homelab_provision.rescue.facts import serial_key
from homelab_provision.site.placeholders import is_placeholder, is_placeholder_uuid
from homelab_provision.site.sizes import parse_size

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WWN = re.compile(r"(eui|naa|uuid|nvme|t10|name)\..*[^0.-].*")  # sysfs-block, `wwid`; one of zeros is none
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_SIZE = re.compile(r"\d+(?:\.(\d+))?\s*([A-Za-z]*)")
_AGE = re.compile(r"(\d+)\s*([dh])")
_SIZE_EXPECTED = 'a size in bytes, or with a unit as in "256 GB" (10^9) or "14.7 GiB" (2^30)'
SMALLEST_DISK, LARGEST_DISK = 10**6, 10**15  # bytes
# "1 TB" may be 1000 or 1024 GB, "16 GB" of eMMC are 15.8: a rounder number than that is no measurement.
ROUNDEST = 0.03

Address = TypeVar("Address", bound=IPv4Address | IPv6Address)
# The type of a validation error whose text says what was expected (and not what is wrong).
EXPECTATION = "expectation"


def expected(text: str) -> PydanticCustomError:
    """An error for a value that is not `text`, which names what belongs there. A ValueError."""
    return PydanticCustomError(EXPECTATION, "{expected}", {"expected": text})


def _one_of(there: Callable[[], tuple[str, ...]]) -> Callable[[str], str]:
    """Accepts the names of what there is."""

    def check(text: str) -> str:
        if text not in there():
            # As for a member of an enumeration, so that a near miss is told.
            raise PydanticCustomError("enum", "not there", {"expected": ", ".join(f"'{name}'" for name in there())})
        return text

    return check


def mac_key(text: str) -> str:
    return text.strip().lower().replace("-", ":")


def _mac(text: str) -> str:
    mac = mac_key(text)
    if not _MAC.fullmatch(mac):
        raise expected("a MAC address: six pairs of hex digits, as in 52:54:00:50:70:0b")
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise expected("the MAC address of a network card (this one is a group address or zero)")
    return mac


def _serial(text: str) -> str:
    key = serial_key(text)
    if not key:
        raise expected("a serial, as the rescue or `dmidecode` shows it")
    if is_placeholder(text):
        raise expected("a serial that only this device has (this is a maker's placeholder)")
    return " ".join(text.split())


def _box_serial(text: str) -> str:
    if is_placeholder(text):
        raise expected(
            "a serial that only this box has (this is a maker's placeholder: leave the key out; `board_serial` or "
            "`uuid` tell the box as well, and without any its MAC addresses and the serials of its disks do)"
        )
    return _serial(text)


def _world_wide_name(text: str) -> str:
    name = serial_key(text)
    if not _WWN.fullmatch(name):
        raise expected("a world-wide name as the rescue shows it, as in eui.0025385b71b03f1e")
    return name


def _product_uuid(text: str) -> str:
    uuid = text.strip().lower()
    if not _UUID.fullmatch(uuid):
        raise expected("a UUID as /sys/class/dmi/id/product_uuid shows it, as in 4c4c4544-0042-3510-8052-b3c04f4b4e32")
    if is_placeholder_uuid(uuid):
        raise expected("a UUID that only this box has (this is a maker's placeholder: leave the key out)")
    return uuid


def _is_text(value: object) -> object:
    """YAML makes `no` a false, and `IPv4Address(False)` is 0.0.0.0."""
    if isinstance(value, bool | int | float):
        raise expected("an IPv4 address, as in 192.168.1.10")
    return value


def computer_address(address: Address) -> Address:
    """An address that a computer of a home can have."""
    for what, holds in (
        ("loopback", address.is_loopback),
        ("group", address.is_multicast),
        ("unspecified", address.is_unspecified),
        ("reserved or broadcast", address.is_reserved),
        ("link-local", address.is_link_local),
    ):
        if holds:
            raise expected(f"the address of a computer ({address} is a {what} address)")
    return address


def _with_prefix(value: object) -> object:
    if isinstance(value, IPv4Interface):
        return value
    if not isinstance(value, str) or "/" not in value:
        raise expected("an IPv4 address with the length of its prefix, as in 192.168.50.10/24")
    return value


def _in_a_network(interface: IPv4Interface) -> IPv4Interface:
    """An address and the network that it is in: there has to be room for a neighbour."""
    computer_address(interface.ip)
    if not 8 <= interface.network.prefixlen <= 30:
        raise expected(f"a network with neighbours: a prefix from /8 to /30, not /{interface.network.prefixlen}")
    if interface.ip == interface.network.network_address:
        raise expected(f"the address of a computer ({interface.ip} is that of the network {interface.network} itself)")
    if interface.ip == interface.network.broadcast_address:
        raise expected(f"the address of a computer ({interface.ip} is the broadcast address of {interface.network})")
    return interface


def no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise expected("a number (YAML takes yes, no, on and off for true and false)")
    return value


@dataclass(frozen=True)
class Size:
    """A capacity as somebody wrote it, in bytes, and how far the truth may be from it.

    Bytes are exact. Anything else is as precise as its last digit ("256 GB": half a GB more or less),
    but never coarser than `ROUNDEST` of the size ("1 TB" is not 1.4 TB).
    """

    text: str
    size_bytes: int
    tolerance_bytes: int

    def matches(self, seen_bytes: int) -> bool:
        return abs(seen_bytes - self.size_bytes) <= self.tolerance_bytes

    def __str__(self) -> str:
        return self.text


def written_size(value: object) -> Size:
    """Read a size: 256060514304, "256 GB", "14.7 GiB". Raises ValueError."""
    if isinstance(value, Size):
        return value
    text = str(value).strip()
    found = _SIZE.fullmatch(text)
    if isinstance(value, bool) or not found:
        raise expected(_SIZE_EXPECTED)
    decimals, unit = found.group(1) or "", found.group(2)
    try:
        size_bytes = parse_size(text)
    except ValueError:
        raise expected(_SIZE_EXPECTED) from None
    exact = unit in ("", "B")
    if size_bytes <= 0 or (exact and decimals):
        raise expected(_SIZE_EXPECTED)
    if not SMALLEST_DISK <= size_bytes <= LARGEST_DISK:
        raise expected(f"the size of a disk, from 1 MB to 1000 TB ({_SIZE_EXPECTED.removeprefix('a size ')})")
    if exact:
        return Size(text, size_bytes, 0)
    last_digit = parse_size(f"1 {unit}") / 10 ** len(decimals)
    return Size(text, size_bytes, int(min(last_digit / 2, size_bytes * ROUNDEST)))


def written_age(value: object) -> timedelta:
    """Read an age: 8d, 36h. Raises ValueError."""
    if isinstance(value, timedelta):
        return value
    found = _AGE.fullmatch(str(value).strip())
    if not found or len(found[1]) > 5 or not int(found[1]):
        raise expected("an age in days or hours, as in 8d or 36h")
    return timedelta(days=int(found[1])) if found[2] == "d" else timedelta(hours=int(found[1]))


def age_text(age: timedelta) -> str:
    """An age as people write it: 8d; 36h where it is no whole number of days."""
    return f"{age.days}d" if age == timedelta(days=age.days) else f"{int(age.total_seconds() // 3600)}h"


_SIZE_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)?\s*[A-Za-z]*$"}],
    "description": 'Bytes (exact), or as precise as it is written: "256 GB", "14.7 GiB".',
}
# What a password of the site is called in playbooks: `secret_spans`.
SECRET_PREFIX = "secret_"
# What a variable of Ansible may be called.
SecretName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
ComputerAddress = Annotated[IPv4Address, BeforeValidator(_is_text), AfterValidator(computer_address)]
NetworkAddress = Annotated[IPv4Interface, BeforeValidator(_with_prefix), AfterValidator(_in_a_network)]
# What the largest machine of a home could have, with room.
MemoryMib = Annotated[int, Field(ge=64, le=64 * 2**20), BeforeValidator(no_bool)]
Cores = Annotated[int, Field(ge=1, le=4096), BeforeValidator(no_bool)]
Gigabytes = Annotated[float, Field(gt=0, le=10**6, allow_inf_nan=False), BeforeValidator(no_bool)]
WayName = Annotated[
    str,
    AfterValidator(_one_of(paths.way_choices)),
    WithJsonSchema({"enum": list(paths.way_choices()), "title": "Way", "type": "string"}),
]
"""How a machine gets into the rescue system: the name of a module in `ways/`, or `auto`."""
OperatorName = Annotated[
    str,
    AfterValidator(_one_of(paths.operators)),
    WithJsonSchema({"enum": list(paths.operators()), "title": "Operator", "type": "string"}),
]
"""Who acts on a box: the name of a file in `operators/`."""
Mac = Annotated[
    str, AfterValidator(_mac), WithJsonSchema({"type": "string", "pattern": "^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$"})
]
Serial = Annotated[str, AfterValidator(_serial)]
WorldWideName = Annotated[str, AfterValidator(_world_wide_name)]
BoxSerial = Annotated[str, AfterValidator(_box_serial)]
ProductUuid = Annotated[str, AfterValidator(_product_uuid)]
WrittenSize = Annotated[
    Size, BeforeValidator(written_size), PlainSerializer(str, return_type=str), WithJsonSchema(_SIZE_SCHEMA)
]
WrittenAge = Annotated[
    timedelta,
    BeforeValidator(written_age),
    PlainSerializer(age_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,5}\s*[dh]$"}),
]
