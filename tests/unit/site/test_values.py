"""Sizes, serials and MAC addresses as people write them."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from homelab_provision.rescue.facts import same_serial
from homelab_provision.site.values import BoxSerial, Mac, ProductUuid, Serial, Size, written_size

MAC, SERIAL, BOX, UUID = (TypeAdapter(kind) for kind in (Mac, Serial, BoxSerial, ProductUuid))


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


# As firmware prints them: DMI dumps, and what inventory tools leave out.
PLACEHOLDERS = (
    "", "  ", "To be filled by O.E.M.", "To Be Filled By O.E.M", "Default  string", "default_string", "00000000",
    "0", "None", "N/A", "NA", "Not Specified", "Not Applicable", "Not Available", "Not Provided", "None Provided",
    "Unknown", "System Serial Number", "Chassis Serial Number", "Base Board Serial Number", "Serial Number",
    "SerialNumber", "Unspecified System Serial Number", "$(SERIAL_NUMBER)", "$(DEFAULT_STRING)", "OEM", "O.E.M.",
    "OEM Default string000", "xxxxxxx", "XXXXXXXXXXX", "........", "................", "-", "---", "123456789",
    "1234567890", "12345678", "0123456789", "0123456789ABCDEF", "1234567890123456", "SSN12345678901234567890",
    "BSN12345678901234567", "INVALID", "MB-1234567890", "empty", "Null", "TBD", "test", "<OUT OF SPEC>",
    "<BAD INDEX>", "0x00000000", "FFFFFFFF", "1111111", "No Asset Information", "Undefined", "System manufacturer",
    "abcdefgh", "Filled By OEM", "System Serial#", "Eval",
)  # fmt: skip


@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_a_placeholder_is_no_serial(text: str) -> None:
    for kind in (SERIAL, BOX):
        with pytest.raises(ValidationError):
            kind.validate_python(text)


@pytest.mark.parametrize(
    "text",
    [
        "7XK2M33",
        "LAB5070A",
        "S3YJNX0K-42",
        "0xdeadbeef",
        "0x0d0cd407",
        "00012340",
        "WD-WCC4E1234567",
        "123",
        "PF0ABC12",
        "FRANDACPA1234567",
        "5CD123456X",
        "2102E4D3A1B7",
        "1000000001",
        "MXL12345678",
        "NA7T0X11",
        "SN850X-1",
    ],
)
def test_a_real_serial_is_taken(text: str) -> None:
    assert BOX.validate_python(text) == SERIAL.validate_python(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",
        "fefefefe-fefe-fefe-fefe-fefefefefefe",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "56f49712-ffff-ffff-ffff-ffffffffffff",
        "Not Settable",
        "4c4c4544",
        "",
    ],
)
def test_a_placeholder_is_no_uuid(text: str) -> None:
    with pytest.raises(ValidationError):
        UUID.validate_python(text)


def test_a_uuid_has_one_form() -> None:
    for text in ("4C4C4544-0042-3510-8052-B3C04F4B4E32", "76006b9c-c49c-0000-0000-000000000000"):
        assert UUID.validate_python(f" {text}") == text.lower()


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
