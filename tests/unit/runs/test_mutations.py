"""Thousands of ways in which our own files can be broken: whatever they hold, what comes is an answer or an error.

No traceback, no waiting, no memory without end, and no word of what a sealed file holds. The seed is fixed, so that
what fails once fails again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import yaml

from homelab_provision.errors import ProvisionError
from homelab_provision.events import Notice, Outcome, RunResult
from homelab_provision.identity import identities
from homelab_provision.jobs.report import document, summary, write_report
from homelab_provision.phases.plan import Plan
from homelab_provision.runs import store
from homelab_provision.runs.store import Request, Run
from homelab_provision.site.vault.format import seal
from homelab_provision.site.vault.store import PASSWORD_VARIABLE, Vault, read_password
from homelab_provision.text import printable
from homelab_provision.ways import Medium
from tests.unit.report.journal import Journal

pytestmark = [pytest.mark.long, pytest.mark.negative]
SEED = 20261125
RUN_MUTATIONS, VAULT_MUTATIONS = 2000, 800
SECONDS_EACH = 5
MEMORY = 512 * 2**20  # bytes, at the most, of the whole process
EXTREMES = [
    "1e308", "-1e308", "NaN", "Infinity", "-1", "0", "9" * 400, "9" * 6000, "null", "true", '""', "[]", "{}",
    '"\\ud800"', '"\\u001b]52;c;eA==\\u0007"', '"' + "x" * 100_000 + '"', "[" * 2000, '{"a":' * 2000,
    '"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:59Z"', '"2026-01-01T00:00:00"', "*x", "&x y", "!x y", "|", ">", "@",
]  # fmt: skip

ENDS = {"answer": 0, "error": 0}


BITS = [b"\x1b[2J", b"\n", b"\t", b"{", b"]", b'"', b"\xff", b"\xed\xa0\x80", b": ", b"- "]


class TooSlow(BaseException):
    """A mutation took longer than `SECONDS_EACH`."""


# ---- mutations -----------------------------------------------------------------------------------------------


def mutated(content: bytes, dice: random.Random) -> bytes:
    """`content` with one to three changes of a kind that happens: torn, doubled, overwritten, edited by hand."""
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        content = dice.choice(CHANGES)(content, dice)
    return content


def flip(content: bytes, dice: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(dice.choice((1, 1, 8))):
        if changed:
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def cut(content: bytes, dice: random.Random) -> bytes:
    return content[: dice.randrange(len(content) + 1)]


def lose(content: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(content) + 1)
    return content[:start] + content[start + dice.choice((1, 2, 20, 512)) :]


def double(content: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(content) + 1)
    return content[:start] + content[start : start + dice.choice((1, 20, 4096))] * 2 + content[start:]


def blank(content: bytes, dice: random.Random) -> bytes:
    start, size = dice.randrange(len(content) + 1), dice.choice((1, 16, 512, 4096))
    return content[:start] + bytes(min(size, len(content) - start)) + content[start + size :]


def put(content: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(content) + 1)
    return content[:start] + dice.choice([dice.randbytes(8), *BITS]) + content[start:]


def lines(content: bytes, dice: random.Random) -> bytes:
    found = content.split(b"\n")
    dice.shuffle(found)
    return b"\n".join(found)


def value(content: bytes, dice: random.Random) -> bytes:
    """Another value behind a colon: JSON or YAML alike."""
    places = list(re.finditer(rb":\s*([^,{}\[\]\n]+)", content))
    if not places:
        return content
    place = dice.choice(places)
    return content[: place.start(1)] + dice.choice(EXTREMES).encode() + content[place.end(1) :]


def name(content: bytes, dice: random.Random) -> bytes:
    """Another name before a colon, so that one key is missing and one more is there."""
    places = list(re.finditer(rb"([A-Za-z_]+)\"?:", content))
    if not places:
        return content
    place = dice.choice(places)
    return content[: place.start(1)] + dice.choice((b"x", b"another", b"", b"kind", b"1")) + content[place.end(1) :]


def other(content: bytes, dice: random.Random) -> bytes:
    return dice.choice([b"", b"\n", b"[]", b"{}", b"null", b"5", b"- a\n", b"\0" * 512, dice.randbytes(2000)])


CHANGES: list[Callable[[bytes, random.Random], bytes]] = [
    flip,
    cut,
    lose,
    double,
    blank,
    put,
    lines,
    value,
    value,
    value,
    name,
    other,
]
KINDS: list[Callable[[Path], object]] = [
    os.mkfifo,
    Path.mkdir,
    lambda path: path.symlink_to("/dev/zero"),
    lambda path: path.symlink_to("/no/where"),
    lambda path: None,
]


def spoil(path: Path, dice: random.Random) -> str:
    """Break a file; returns how, to be told."""
    if dice.random() < 0.05:
        path.unlink()
        make = dice.randrange(len(KINDS))
        KINDS[make](path)
        return f"kind {make}"
    content = mutated(path.read_bytes(), dice)
    path.write_bytes(content)
    return repr(content[:300])


# ---- a process that may not grow, and answers in time --------------------------------------------------------


def alone(work: Callable[[], Iterator[str]]) -> list[str]:
    """Run the work in a process of its own, with a limit of memory; returns what went wrong."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)

    def go(tell: Connection) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (8 * MEMORY, hard))  # addresses, of which a part is never used

        def ring(*given: Any) -> None:
            raise TooSlow

        signal.signal(signal.SIGALRM, ring)
        wrong = list(work())
        if not (ENDS["answer"] and ENDS["error"]):
            wrong.append(f"the mutations are no test: they ended in {ENDS}")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        tell.send([*wrong, *([f"it grew by {grown >> 20} MiB"] if grown > MEMORY else [])])

    process = fork.Process(target=go, args=(there,))
    process.start()
    there.close()
    try:
        found: list[str] = here.recv() if here.poll(1800) else ["no end after half an hour"]
    except EOFError:
        found = ["the process died"]
    process.kill()
    process.join()
    return found


def judged(look: Callable[[], object], told: str, secret: str | None = None) -> Iterator[str]:
    """What is wrong with how `look` ended; `told` says what was done to the files."""
    signal.alarm(SECONDS_EACH)
    try:
        look()
        ENDS["answer"] += 1
    except (ProvisionError, OSError) as error:
        ENDS["error"] += 1
        words = "".join(traceback.format_exception(error)) + (getattr(error, "evidence", None) or "")
        if secret and secret in words:
            yield f"a secret is told: {words[-300:]}\n  {told}"
        if isinstance(error, OSError) and not error.filename:
            yield f"no file is named: {error!r}\n  {told}"
    except TooSlow:
        yield f"too slow: {told}"
    except Exception:
        yield f"{''.join(traceback.format_exc().splitlines(keepends=True)[-6:])}  {told}"
    finally:
        signal.alarm(0)


def report(wrong: list[str]) -> None:
    assert not wrong, f"{len(wrong)} mutations went wrong, such as:\n" + "\n".join(wrong[:5])


# ---- runs ----------------------------------------------------------------------------------------------------


def recorded() -> Run:
    """A run with everything in it that a run may have."""
    run = store.start(Request(command="rebuild", site=Path("/site"), host="db-wyse", onto="wyse-b"))
    journal = Journal()
    for resumed in (False, True):
        journal.run(resumed=resumed)
        journal.phase("preflight", 2.0, machine="wyse-b")
        journal.begin("flash")
        journal.step("write the image", 20.0)
        journal.step("write the image/check", 3.0)
        journal.phase("flash", 2.0, disk="SYS-B")
        journal.begin("converge")
        journal.task("base : Install", 2.0, Outcome.CHANGED)
        journal.task("base : Fail", 2.0, Outcome.FAILED, "no route")
        journal.phase("verify", 1.0, result=Outcome.FAILED, error="not so")
        journal.end(RunResult.FAILED, 32.5, "not so")
    for event in [*journal.events, Notice(text="a word")]:
        run.append(event)
    plan = Plan(
        host="db-wyse",
        machine="wyse-b",
        address="192.168.50.10",
        way="usb",
        operator="person",
        disk_serials=("SYS-B",),
        erase=frozenset("A"),
        keep_data=False,
        image=Path("/image"),
        image_digest="d" * 64,
        medium=Medium(rescue_id="r", path=Path("/stick")),
        nonce="n",
    )
    run.write("plan.json", plan.model_dump_json(indent=2))
    run.write("console.log", "login:\n" * 50)
    cases = '<testcase classname="base.verify" name="a" time="0.1"/><testcase name="b"><failure>no</failure></testcase>'
    (run.folder("verify") / "testinfra.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    return run


def look_at(first: Run, broken: Run) -> None:
    listed = [document(run) for run in store.everything()]
    assert json.loads(json.dumps(listed, allow_nan=False)) == listed
    if broken.directory.is_dir():
        assert [one["run"] for one in listed] == [first.id, broken.id]
    assert listed[0]["result"] == "failed"
    assert summary(first).note == "not so"
    shown = write_report(store.load("latest")).read_text()
    assert printable(shown) == shown
    assert len(shown) < 2_000_000
    store.last_of("db-wyse", Path("/site")).proven()


def test_no_damage_to_a_run_is_more_than_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["request.json", "plan.json", "journal.jsonl", "journal.jsonl", "console.log", "verify/testinfra.xml"]

    def work() -> Iterator[str]:
        dice = random.Random(SEED)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        first, broken = recorded(), recorded()
        sound = {name: (broken.directory / name).read_bytes() for name in set(names)}
        for number in range(RUN_MUTATIONS):
            target = broken.directory / dice.choice(names)
            told = f"mutation {number} of {target.name}: {spoil(target, dice)}"
            yield from judged(lambda: look_at(first, broken), told)
            target.rmdir() if target.is_dir() and not target.is_symlink() else target.unlink(missing_ok=True)
            target.write_bytes(sound[str(target.relative_to(broken.directory))])

    report(alone(work))


# ---- the vault -----------------------------------------------------------------------------------------------

SECRET = "hunter2"


def test_no_damage_to_a_vault_is_more_than_an_error_that_keeps_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    vault = Vault.of(tmp_path, name="lab", create=True)
    identities.load(vault, "lab")
    vault.write("secrets", {"secret_a": SECRET, "secret_b": f"{SECRET}: *x", "mine": f"{SECRET} # no"})
    password = read_password(vault.password_file)
    sealed = {name: (vault.folder / f"{name}.yml").read_bytes() for name in ("site", "secrets")}
    clear = {
        name: yaml.safe_dump(values, explicit_start=True).encode()
        for name, values in vault.read(["site", "secrets"]).items()
    }

    def work() -> Iterator[str]:
        dice = random.Random(SEED)
        for number in range(VAULT_MUTATIONS):
            name = dice.choice(("site", "secrets"))
            file = vault.folder / f"{name}.yml"
            if dice.random() < 0.3:  # the file as it lies there
                told = spoil(file, dice)
            else:  # what somebody types into `ansible-vault edit`
                content = mutated(clear[name], dice)
                file.write_text(seal(content.decode(errors="replace"), password))
                told = repr(content[:300])
            secret = SECRET if name == "secrets" else "b3BlbnNzaC1rZXktdjE"  # how every private key begins
            yield from judged(lambda: identities.load(vault, "lab"), f"mutation {number} of {name}: {told}", secret)
            for one, content in sealed.items():
                path = vault.folder / f"{one}.yml"
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
                path.write_bytes(content)

    report(alone(work))
