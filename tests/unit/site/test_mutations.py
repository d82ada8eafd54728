"""Thousands of ways to write a site wrongly: what comes is the site, or errors that each name a line.

Ansible itself reads every inventory, in a process that has loaded it already and is copied for each mutation: so
nothing of one is left for the next, and time and memory of each have a limit. The seed is fixed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from homelab_provision import paths
from homelab_provision.doors.process import Completed, ProcessError
from homelab_provision.site.inventory import LISTING
from homelab_provision.site.loading import load_site
from homelab_provision.site.problems import SiteError

pytestmark = [pytest.mark.long, pytest.mark.negative, pytest.mark.processes]
SEED = 20261125
MUTATIONS = int(os.environ.get("MUTATIONS", "1100"))  # of each site
SECONDS_EACH, MEMORY = 20, 2**30

VALUES = [
    "", "~", "yes", "no", "0", "-1", "1e400", ".inf", "-.inf", ".nan", "0x1F", "0o17", "1_000", "12:30:45",
    "2026-11-25",
    "1 B", "0 GB", "999999999999 TB", "[]", "{}", "[1, 2]", "{a: 1}", "{use:keep}",
    "!!python/object/apply:os.system [id]",
    "!vault x", "!unsafe x", "!!binary aGk=", "!!set {a, b}", "*nowhere", "&a [*a]", "|", ">-", "'", '"\\u0000"',
    '"\\ud800"', "\x1b[2J", "\ufeff", "\u202e", "a" * 5000, "192.168.1.10", "192.168.1.0/24", "0.0.0.0/0", "::1",
    "127.0.0.1/8", "255.255.255.255", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "../x", "/", "a b",
    "{{ lookup('pipe', 'id') }}",
    "web[1:3]", "web[000000:999999]", "[a:z][a:z][a:z][a:z]", "high",
    "{{ undefined }}", "{%", "%YAML 9.9", "? x", "- x", "@x", "`x`", "#", "<<: 5", "<<: *x",
]  # fmt: skip
WORDS = [
    "provision_network",
    "povision_network",
    "vars",
    "var",
    "hosts",
    "host",
    "children",
    "machines",
    "passport",
    "rescue",
    "site",
    "secrets",
    "all",
    "web[1:999999999]",
    "[a:z][a:z][a:z][a:z]",
    "ansible_group_priority",
    "x" * 300,
    "<<",
    "null",
    "1",
    "on",
    "../x",
    "a b",
]


# ---- changes to a text ---------------------------------------------------------------------------------------


def mutated(text: str, dice: random.Random) -> str:
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        text = dice.choice(CHANGES)(text, dice)
    return text


def line_changed(change: Callable[[list[str], int, random.Random], None]) -> Callable[[str, random.Random], str]:
    def apply(text: str, dice: random.Random) -> str:
        lines = text.split("\n")
        change(lines, dice.randrange(len(lines)), dice)
        return "\n".join(lines)

    return apply


def value(lines: list[str], at: int, dice: random.Random) -> None:
    key, colon, _ = lines[at].partition(": ")
    lines[at] = f"{key}: {dice.choice(VALUES)}" if colon else f"{lines[at]} {dice.choice(VALUES)}"


def inner_value(lines: list[str], at: int, dice: random.Random) -> None:
    """One value of a flow mapping or list."""
    marks = [n for n, char in enumerate(lines[at]) if char in ":,[{"]
    if marks:
        start = dice.choice(marks) + 1
        end = next((n for n in range(start, len(lines[at])) if lines[at][n] in ",]}"), len(lines[at]))
        lines[at] = f"{lines[at][:start]} {dice.choice(VALUES)}{lines[at][end:]}"


def key(lines: list[str], at: int, dice: random.Random) -> None:
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    _, colon, rest = lines[at].partition(":")
    lines[at] = f"{indent}{dice.choice([*WORDS, *VALUES])}{colon}{rest}"


def drop(lines: list[str], at: int, dice: random.Random) -> None:
    del lines[at : at + dice.choice((1, 1, 1, 3))]
    lines.append("")


def double(lines: list[str], at: int, dice: random.Random) -> None:
    lines.insert(dice.randrange(len(lines) + 1), lines[at])


def indent(lines: list[str], at: int, dice: random.Random) -> None:
    lines[at] = dice.choice(("  ", " ", "\t", "    ", "- ", "")) + lines[at].lstrip()


def no_value(lines: list[str], at: int, dice: random.Random) -> None:
    lines[at] = lines[at].partition(":")[0] + ":"


def insert(lines: list[str], at: int, dice: random.Random) -> None:
    lines.insert(
        at, dice.choice(("---", "...", "x: y", "  x: y", "\tx: y", "- x", "%TAG ! x", "? [a, b]\n: c", "<<: {a: 1}"))
    )


def torn(text: str, dice: random.Random) -> str:
    return text[: dice.randrange(len(text) + 1)]


def char(text: str, dice: random.Random) -> str:
    at = dice.randrange(len(text) + 1)
    return text[:at] + dice.choice("{}[]:,-'\"#&*!|>%@`\t\r\n\x00\x1b\u2028 ä😀") + text[at + dice.choice((0, 1)) :]


def swapped(text: str, dice: random.Random) -> str:
    at = dice.randrange(max(1, len(text) - 1))
    return text[:at] + text[at + 1 : at + 2] + text[at : at + 1] + text[at + 2 :]


CHANGES: list[Callable[[str, random.Random], str]] = [
    *map(line_changed, (value, value, inner_value, inner_value, key, drop, double, indent, no_value, insert)),
    torn,
    char,
    char,
    swapped,
]


# ---- one reading in a process of its own -----------------------------------------------------------------------


def ansible_in_process(argv: list[Any], *, env: Mapping[str, str], **_: object) -> Completed:
    """What the listing prints, by the same code, loaded already."""
    from homelab_provision.site.listing import Listing

    out, err = io.StringIO(), io.StringIO()
    words = [str(word) for word in argv]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli = Listing(words[words.index(str(LISTING)) :])
            cli.parse()
            cli.run()
        status = 0
    except SystemExit as left:
        status = int(left.code or 0)
    except Exception as error:  # as Ansible's own `cli_executor` does
        status = 1
        err.write(f"[ERROR]: {error}\n")
    if status:
        raise ProcessError("failed", returncode=status, stdout=out.getvalue(), stderr=err.getvalue())
    return Completed(tuple(words), 0, out.getvalue(), err.getvalue(), 0.0)


def reading(root: Path) -> dict[str, Any]:
    """How reading the site ended."""
    try:
        load_site(root)
    except SiteError as error:
        return {
            "end": "error",
            "text": error.message,
            "without_line": [str(problem) for problem in error.problems if problem.line < 1],
        }
    except BaseException:
        return {"end": "traceback", "text": traceback.format_exc()}
    return {"end": "site", "text": "", "without_line": []}


def apart(root: Path) -> dict[str, Any]:
    """The same in a copy of this process, with limits."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.alarm(SECONDS_EACH)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        with os.fdopen(writer, "w") as answer:
            json.dump(reading(root), answer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    return dict(json.loads(said)) if said else {"end": f"killed by {os.WTERMSIG(status)}", "text": ""}


@pytest.fixture(scope="module")
def prepared() -> Iterator[None]:
    """Ansible is loaded once, with the environment that its program would get."""
    from homelab_provision.doors.ansible import surroundings

    before = dict(os.environ)
    with surroundings() as around, pytest.MonkeyPatch.context() as patch:
        os.environ.update(around.environment)
        os.environ["ANSIBLE_INVENTORY_ENABLED"] = "yaml"
        os.environ["ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED"] = "true"
        os.environ["ANSIBLE_VARS_ENABLED"] = "host_group_vars"
        import homelab_provision.site.listing  # noqa: F401 - for the copies of this process

        patch.setattr("homelab_provision.site.inventory.run", ansible_in_process)
        yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("name", ["example", "lab"])
def test_whatever_is_written_is_a_site_or_an_error_with_a_line(prepared: None, tmp_path: Path, name: str) -> None:
    good = paths.content("inventories") / name
    files = [file.relative_to(good) for file in sorted(good.rglob("*.yml")) if "vault" not in file.parts]
    site = tmp_path / "site"
    shutil.copytree(good, site, ignore=shutil.ignore_patterns(".vault-p*", "vault"))
    assert apart(site)["end"] == "site"
    dice = random.Random(f"{SEED} {name}")
    ends: dict[str, int] = {}
    faults: list[str] = []
    for number in range(MUTATIONS):
        file = dice.choice([Path("hosts.yml"), Path("machines.yml"), *files])
        text = mutated((good / file).read_text(), dice)
        (site / file).write_text(text, errors="surrogatepass")
        told = apart(site)
        ends[told["end"]] = ends.get(told["end"], 0) + 1
        if told["end"] not in ("site", "error") or told["without_line"] or "Traceback" in told["text"]:
            faults.append(
                f"--- {number} {file}: {told['end']} {told.get('without_line')}\n{told['text'][-1500:]}\n{text}"
            )
        shutil.copy(good / file, site / file)
    print(ends, file=sys.stderr)
    (tmp_path / "faults").write_text("\n".join(faults))
    assert not faults, f"{len(faults)} of {MUTATIONS}: {tmp_path}/faults\n" + "\n".join(
        fault[:1200] for fault in faults[:5]
    )
    assert min(ends["site"], ends["error"]) > MUTATIONS // 20, "the changes are all of one kind"
