"""What firmware says where nobody wrote a serial or a UUID into it: it is on thousands of boxes and identifies none.

Gathered from what inventory tools leave out (systemd's hwdb, inxi, netdata, fwupd, lists of WMI users) and from DMI
dumps. Rules stand where a list would have no end.
"""

from __future__ import annotations

import re

# Letters and digits of the whole text.
_WORDS = frozenset(
    {
        "abc123",
        "assettag",
        "atag",
        "badindex",
        "blank",
        "boardserial",
        "chassisserial",
        "default",
        "dummy",
        "empty",
        "eval",
        "example",
        "fixme",
        "msserial",
        "na",
        "nil",
        "no",
        "noassetinformation",
        "noassettag",
        "noenclosure",
        "none",
        "noneprovided",
        "noserial",
        "null",
        "number",
        "oem",
        "outofspec",
        "placeholder",
        "reserved",
        "sample",
        "serial",
        "serialno",
        "sn",
        "standard",
        "systemmanufacturer",
        "systemproductname",
        "systemserial",
        "systemversion",
        "tba",
        "tbd",
        "test",
        "unavailable",
        "undefined",
        "unknow",
        "unknown",
        "unset",
        "unspecified",
        "123412341234",
    }
)
# Letters and digits of a part of the text: no real serial has them.
_PHRASES = (
    "defaultstring",
    "filledby",
    "invalid",
    "notapplicable",
    "notavailable",
    "notdefined",
    "notpresent",
    "notprovided",
    "notset",
    "notspecified",
    "notsupported",
    "serialnumber",
    "tobefilled",
    "oemdefault",
    "notassigned",
    "noserialnum",
)
_COUNTING = ("0123456789" * 4, "0123456789abcdef" * 2, "123456789abcdef", "abcdefghijklmnopqrstuvwxyz")
_UUIDS = frozenset(
    {
        "00020003000400050006000700080009",
        "03000200040005000006000700080009",
        "000102030405060708090a0b0c0d0e0f",
        "030201000504070608090a0b0c0d0e0f",
        "07090201010303010807060504030201",
        "0123456789abcdef0123456789abcdef",
        "12345678123456781234567812345678",
        "123456781234567890abcddeefaabbcc",
        "12345678123412341234123456789abc",
        "11111111222233334444555555555555",
        "01234567891011121314151617181920",
        "deadbeefdeadbeefdeadbeefdeadbeef",
        "4c4c454400002010802080c04f202020",
        "dc698397fa544cf282c8b1b5307a6a7f",
        "8e275844178f44a8aceba7d7e5178c63",
        "890e2d14cacd45d1ae66bc80e8bfeb0f",
    }
)


def is_placeholder(text: str) -> bool:
    """Whether a serial is none: only punctuation, one character over and over, counting, or words that say so."""
    key = re.sub(r"[\W_]", "", text.casefold())
    digits = key.lstrip("abcdefghijklmnopqrstuvwxyz")
    return (
        not key
        or key == "0"
        or (len(key) > 1 and set(key) <= {"0", "x"})
        or (len(key) > 3 and len(set(key)) == 1)
        or (len(key) > 3 and any(key in row for row in _COUNTING))
        # SSN12345678901234567890 is printed by boards that never got a serial.
        or (len(key) - len(digits) <= 4 and len(digits) > 9 and digits in _COUNTING[0])
        or key in _WORDS
        or any(phrase in key for phrase in _PHRASES)
    )


def is_placeholder_uuid(text: str) -> bool:
    """Whether a product UUID is on more than one box. (ASRock's end in zeros, but begin with the MAC address.)"""
    key = text.casefold().replace("-", "")
    return len(set(key)) <= 2 or key in _UUIDS or key[8:] in ("f" * 24, "0" * 24)
