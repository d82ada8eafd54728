"""Sizes are read as they are printed on disks, and never guessed."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from homelab_provision.site.sizes import ByteCount, format_size, parse_size

SIZE = TypeAdapter(ByteCount)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256 GB", 256 * 10**9),
        ("16GiB", 16 * 2**30),
        ("14.7 GiB", 15784004812),
        ("1.5 TB", 1_500_000_000_000),
        ("64 kB", 64_000),
        ("64 KiB", 65_536),
        ("512 B", 512),
        (" 4096 ", 4096),
    ],
)
def test_reads_what_is_printed_on_disks(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "16G", "sixteen GB", "-1 GB", "1,5 GB", "16 GB of RAM", "1e9"])
def test_does_not_guess(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|unit"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (511, "511 B"),
        (2**28, "256 MiB"),
        (12 * 2**30, "12 GiB"),
        (256 * 10**9, "256 GB"),
        (256_060_514_304, "256.1 GB"),
        (15_784_004_812, "15.8 GB"),
        (1_500_000_000_000, "1.5 TB"),
    ],
)
def test_writes_short_and_exact_where_it_can(size: int, text: str) -> None:
    assert format_size(size) == text


def test_a_model_takes_strings_and_numbers() -> None:
    assert SIZE.validate_python("1 KiB") == SIZE.validate_python(1024) == 1024
    for wrong in ("nothing", 0, -5, 1.5):
        with pytest.raises(ValidationError):
            SIZE.validate_python(wrong)
