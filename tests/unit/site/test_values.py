"""Sizes, serials and MAC addresses as people write them."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from homelab_provision.site import Size, same_serial, written_size
from homelab_provision.site.values import Mac, Serial

MAC, SERIAL = TypeAdapter(Mac), TypeAdapter(Serial)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("256060514304", 256060514304),
        (256060514304, 256060514304),
        ("256 GB", 256060514304),
        ("256GB", 256060514304),
        ("256.1 GB", 256060514304),
        ("1 TB", 1000204886016),
        ("1 TB", 1024209543168),
        ("4 TB", 4000787030016),
        ("16 GB", 15758000128),
        ("14.7 GiB", 15758000128),
        ("29.1 GiB", 31268536320),
        ("7.28 GiB", 7818182656),
    ],
)
def test_a_written_size_means_the_disk(text: object, seen: int) -> None:
    assert written_size(text).matches(seen)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("256060514304", 256060514304 + 512),
        ("256 GB", 240057409536),
        ("256 GB", 275 * 10**9),
        ("256.06 GB", 256 * 10**9),
        ("1 TB", 1_400_000_000_000),
        ("1 TB", 960197124096),
        ("14.7 GiB", 31268536320),
        ("128 GB", 120034123776),
    ],
)
def test_and_no_other_disk(text: object, seen: int) -> None:
    assert not written_size(text).matches(seen)


@pytest.mark.parametrize("text", ["", "big", "16G", "0", "0 GB", "-1 GB", "1,5 TB", "1.5", "GB", True, None, 1.5])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="256 GB"):
        written_size(text)


def test_a_size_is_printed_as_it_was_written() -> None:
    assert str(written_size("14.7 GiB")) == "14.7 GiB"
    assert written_size(Size("1 B", 1, 0)) == Size("1 B", 1, 0)


def test_serials_are_compared_as_people_copy_them() -> None:
    assert same_serial("  WD-WCC4  ", "wd-wcc4")
    assert not same_serial("WD-WCC4", "WD-WCC41")


@pytest.mark.parametrize("text", ["", "  ", "To be filled by O.E.M.", "Default  string", "00000000", "None"])
def test_a_placeholder_is_no_serial(text: str) -> None:
    with pytest.raises(ValidationError):
        SERIAL.validate_python(text)


def test_a_serial_keeps_its_zeros_and_its_case() -> None:
    assert SERIAL.validate_python(" 0012aB ") == "0012aB"


@pytest.mark.parametrize("text", ["52:54:00:50:70:0B", "52-54-00-50-70-0b", " 52:54:00:50:70:0b"])
def test_mac_addresses_have_one_form(text: str) -> None:
    assert MAC.validate_python(text) == "52:54:00:50:70:0b"


@pytest.mark.parametrize(
    "text", ["52:54:00:50:70", "52:54:00:50:70:0g", "525400507000", "01:00:5e:00:00:01", "00:00:00:00:00:00"]
)
def test_what_is_no_mac_address_of_a_card(text: str) -> None:
    with pytest.raises(ValidationError):
        MAC.validate_python(text)
