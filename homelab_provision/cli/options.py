"""Options that several commands share."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click

from homelab_provision.errors import UsageError
from homelab_provision.text import one_line, printable

SITE_VARIABLE = "PROVISION_SITE"
# Of 256 colours: a terminal's theme changes the first sixteen alone.
_WHITE_ON_BLACK, _AS_BEFORE = "\x1b[38;5;231;48;5;16m", "\x1b[0m"
F = TypeVar("F", bound=Callable[..., Any])


def find_site(given: Path | None) -> Path:
    """The site's directory: the option, `PROVISION_SITE`, the current directory, or the clone's virtual lab."""
    if given is None and (named := os.environ.get(SITE_VARIABLE)):
        given = Path(named)
    places = [given] if given else [_here(), _here() / "inventories" / "lab"]
    for place in places:
        if os.path.lexists(place / "machines.yml"):  # whatever it is, and whether it can be read, is told with the site
            return place.resolve()
    raise UsageError(
        f"no site here: {places[0] / 'machines.yml'} does not exist",
        hint="go into the directory that describes your homelab, or name it: --site DIR",
    )


def site_if_any(given: Path | None) -> Path | None:
    """The same for what does without a site; one that is named has to be there."""
    try:
        return find_site(given)
    except UsageError:
        if given:
            raise
        return None


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError(
            "the current directory has been removed", hint="go into one that exists, or name the site: --site DIR"
        ) from None


def site_option(command: F) -> F:
    option = click.option(
        "--site",
        "site_dir",
        type=click.Path(path_type=Path, file_okay=False),
        help=f"Directory of the homelab's description.  [default: ${SITE_VARIABLE}, or here]",
    )
    return option(command)


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")(command)


def print_json(document: Any) -> None:
    print_text(json.dumps(document, indent=2, default=str))


def print_table(rows: list[list[str]], header: list[str]) -> None:
    """Aligned columns on standard output."""
    for line in table_lines(rows, header):
        print_text(line)


def table_lines(rows: list[list[str]], header: list[str]) -> list[str]:
    """Aligned columns; whatever stands in a cell stays in its cell."""
    table = [header, *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def print_text(text: str) -> None:
    """Data for a person, on standard output. This, `print_picture` and `tell` are the only writers of the commands."""
    _write(sys.stdout, text)


def print_picture(text: str, instead: str) -> None:
    """A picture made of blocks, on standard output; on a terminal white on black, whatever its own colours are.

    Raises UsageError where it would come out torn, with a hint at what helps `instead`.
    """
    lines, here = printable(text).splitlines(), sys.stdout.isatty()
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        raise UsageError(f"no block can be shown here ({sys.stdout.encoding} has none)", hint=instead) from None
    width, columns = max(map(len, lines)), shutil.get_terminal_size().columns
    if here and columns < width:
        raise UsageError(f"the picture is {width} columns wide, the terminal {columns}", hint=instead)
    for line in lines:
        sys.stdout.write(f"{_WHITE_ON_BLACK}{line}{_AS_BEFORE}\n" if here else f"{line}\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """A word to the person who watches, on standard error."""
    _write(sys.stderr, text)


def _write(stream: TextIO, text: str) -> None:
    stream.write(printable(text) + "\n")
    stream.flush()
