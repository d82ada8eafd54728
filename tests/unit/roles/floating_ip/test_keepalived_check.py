"""Which keepalived.conf is refused: with a stand-in for keepalived that ends as it does, and with the real one."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from homelab_provision import paths

pytestmark = pytest.mark.processes
FILE = paths.content("roles") / "floating_ip/files/early/usr/local/lib/homelab-provision/homelab_keepalived_check.py"
_spec = importlib.util.spec_from_file_location("homelab_keepalived_check", FILE)
assert _spec
assert _spec.loader
program = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(program)

GOOD = """
global_defs {
    enable_script_security
    script_user nobody
}
vrrp_instance dns {
    version 3
    interface lo
    virtual_router_id 53
    priority 100
    advert_int 0.3
    virtual_ipaddress {
        192.0.2.53/24
    }
}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = tmp_path / "keepalived.conf"
    written.write_text(GOOD)
    return written


def stand_in(folder: Path, status: int, said: str) -> str:
    made = folder / "stand-in"
    made.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\nexit {status}\n")
    made.chmod(0o755)
    return str(made)


def test_what_is_clean_is_taken(file: Path) -> None:
    assert program.objection(str(file), stand_in(file.parent, 0, "")) is None


@pytest.mark.negative
@pytest.mark.parametrize("status", [1, 4, 5, 6, 139])
def test_every_other_status_is_a_refusal(file: Path, status: int) -> None:
    said = f"({file.name}: Line 3) Unknown keyword 'word'\n" * 2
    told = program.objection(str(file), stand_in(file.parent, status, said))
    assert told == (
        f"keepalived does not take it as it is (status {status}): (keepalived.conf: Line 3) Unknown keyword 'word'"
    )


@pytest.mark.negative
def test_what_systemd_would_skip_is_a_refusal(file: Path) -> None:
    file.write_text("\n")
    assert "is empty" in program.objection(str(file), stand_in(file.parent, 0, ""))
    file.unlink()
    assert "No such file" in program.objection(str(file), stand_in(file.parent, 0, ""))


@pytest.mark.negative
def test_no_keepalived_is_a_refusal(file: Path) -> None:
    file_missing = str(file.parent / "no-such-program")
    assert program.objection(str(file), file_missing).endswith(f"No such file or directory: '{file_missing}'")


REAL = shutil.which("keepalived") or "/usr/sbin/keepalived"


@pytest.mark.skipif(not Path(REAL).exists(), reason="keepalived is not installed; the scenario floating_ip has it")
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("", "", None),
        ("priority 100", "priority 100\n    no_such_word", "no_such_word"),
        ("interface lo", "interface missing0", "missing0"),
        ("    enable_script_security\n    script_user nobody\n", "", None),
    ],
)
def test_the_real_one(file: Path, old: str, new: str, said: str | None) -> None:
    file.write_text(GOOD.replace(old, new, 1) if old else GOOD)
    told = program.objection(str(file), REAL)
    assert (told is None) if said is None else (said in (told or ""))
