"""The command as a process: with streams, surroundings and files as bad as they come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.processes, pytest.mark.negative]
PROVISION = [sys.executable, "-m", "homelab_provision"]
NO_TRACEBACK = ("Traceback", "Exception ignored", "a bug in provision")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory, and in it a site without anything to ask Ansible about."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "machines.yml").write_text("machines: {}\n")
    (site / "hosts.yml").write_text("all: {}\n")
    return tmp_path


def shell(home: Path, script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which `$P` is the command; nothing in it may end in a traceback or hang."""
    clean = {"HOME": str(home), "PATH": os.environ["PATH"], "P": " ".join(PROVISION), "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-c", script],
        env={**clean, **environ},
        cwd=home,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    assert not any(word in done.stderr for word in NO_TRACEBACK), done.stderr
    return done


@pytest.mark.parametrize("words", ["--help", "runs list", "config schema", "rebuild --help"])
def test_a_reader_that_has_enough_is_no_error(home: Path, words: str) -> None:
    done = shell(home, f"$P {words} | head -0; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", ["--help", "runs list", "config schema"])
def test_a_full_disk_behind_standard_output_is_said_once(home: Path, words: str) -> None:
    done = shell(home, f"$P {words} > /dev/full")
    assert done.returncode == 1
    assert done.stderr.count("No space left on device") == 1
    assert done.stderr.startswith("error: standard output: ")


def test_closed_streams(home: Path) -> None:
    assert shell(home, "$P runs list >&-").returncode == 1
    assert "standard output" in shell(home, "$P runs list >&-").stderr
    assert shell(home, "$P runs list 2>&- <&-").returncode == 0
    assert shell(home, "$P runs show 1 2>&-").returncode == 2
    assert shell(home, "$P runs show 1 2>/dev/full").returncode == 2
    assert shell(home, "$P runs show 1 <&- >&- 2>&-").returncode == 2


@pytest.mark.parametrize(
    "environ", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=str
)
def test_a_terminal_without_utf_8(home: Path, environ: dict[str, str]) -> None:
    (home / "site" / "machines.yml").write_text("machines:\n  größe: {}\n")
    done = shell(home, "$P machines list --site site; $P runs show größe", **environ)
    assert done.returncode == 2
    assert "machines.yml:2" in done.stderr
    assert "is not a run" in done.stderr
    assert done.stderr.isascii()


def test_surroundings_that_are_missing(home: Path) -> None:
    done = shell(home, "mkdir gone; cd gone; rmdir ../gone; $P machines list")
    assert done.returncode == 2
    assert "current directory has been removed" in done.stderr
    file = home / "file"
    file.touch()
    done = shell(home, "$P runs list", XDG_STATE_HOME=str(file))
    assert done.returncode == 1
    assert f"{file}/homelab-provision" in done.stderr
    assert "Not a directory" in done.stderr


LAB = """\
lab: {router: 10.9.9.1/24}
machines: {}
"""


@pytest.mark.parametrize("machines", ["machines: {}\n", LAB], ids=["real", "lab"])
def test_reading_makes_nothing(home: Path, machines: str) -> None:
    (home / "site" / "machines.yml").write_text(machines)
    before = set(home.rglob("*"))
    words = [
        "config ca --site site",
        "config show --site site",
        "machines list --site site",
        "runs list",
        "runs show",
        "runs report",
        "image list",
        "lab status --site site",
        "doctor --site site",
        "config schema",
    ]
    for one in words:
        shell(home, f"$P {one}")
    made = {str(path.relative_to(home)) for path in set(home.rglob("*")) - before}
    assert {name for name in made if not name.startswith(".ansible")} == set()
    done = shell(home, "$P config ca --site site")
    assert done.returncode == 2
    assert "no certificate authority yet" in done.stderr


def test_escape_sequences_of_the_command_line_come_back_harmless(home: Path) -> None:
    for words in (r"runs show $'\e[2J\e]0;x\a'", r"$'no-such\e[2J'", r"rebuild h --way $'\e[2J'"):
        done = shell(home, f"$P {words}")
        assert done.returncode == 2
        assert "\x1b" not in done.stderr


def test_a_bug_is_named_and_kept_but_not_shown(home: Path) -> None:
    script = (
        "import homelab_provision.cli as cli, homelab_provision.runs.store as runs, sys\n"
        "def fail(): raise ZeroDivisionError('hunter2')\n"
        "runs.everything = fail\n"
        "sys.argv = ['provision', 'runs', 'list']\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "a bug in provision: ZeroDivisionError" in done.stderr
    assert "hunter2" not in done.stderr
    (log,) = (home / ".local" / "state" / "homelab-provision" / "bugs").iterdir()
    assert "hunter2" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


# ---- files that are none -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hosts.yml", "machines.yml", "group_vars/all.yml", "host_vars/a.yml"])
@pytest.mark.parametrize(
    "make", ["mkfifo {}", "mkdir {}", "ln -s /dev/zero {}", "ln -s /no/where {}", "printf '\\377\\376' > {}"]
)
def test_a_site_with_something_else_in_the_place_of_a_file(home: Path, name: str, make: str) -> None:
    done = shell(home, f"cd site; mkdir -p group_vars host_vars; rm -f {name}; {make.format(name)}; $P machines list")
    # A directory of variables is Ansible's own way, and a link to nothing among them is none of them.
    assert done.returncode == 2 or "_vars" in name
    assert done.returncode in (0, 2)
    assert done.returncode == 0 or name in done.stderr


def test_state_that_cannot_be_written(home: Path) -> None:
    """A read-only and a full file system, in a mount namespace of its own."""
    request = '{"command": "rebuild", "site": "/site", "host": "db"}'
    script = (
        "import sys; from homelab_provision import cli\nfrom homelab_provision.runs import store as runs\n"
        "request = runs.Request.model_validate_json(sys.argv.pop())\n"
        "def rebuild(*words, **options): return runs.start(request)\n"
        "from homelab_provision.jobs import rebuild as job; job.rebuild = rebuild\n"
        "cli.main()\n"
    )
    (home / "start.py").write_text(script)
    words = f"{sys.executable} start.py rebuild db --site site --yes '{request}'"
    for mount, fill, why in (
        ("-o ro", "true", "Read-only file system"),
        ("-o size=64k", "cat /dev/zero 2> /dev/null > state/filler; true", "No space left on device"),
    ):
        inside = (
            f"mkdir -p state; mount -t tmpfs {mount} none state && {{ {fill}; }}; "
            f"XDG_STATE_HOME=$PWD/state PYTHONPATH={os.pathsep.join(filter(None, sys.path))} {words}; exit $?"
        )
        done = shell(home, 'unshare --user --map-root-user --mount bash -c "$INSIDE"', INSIDE=inside)
        if "unshare" in done.stderr or "mount:" in done.stderr:
            pytest.skip(f"no mount namespace here: {done.stderr}")
        assert done.returncode == 1, done.stderr
        assert why in done.stderr
        assert "homelab-provision" in done.stderr


def test_a_missing_program_is_named(home: Path) -> None:
    bin_dir = home / "bin"
    bin_dir.mkdir()
    for name in ("bash", "env"):
        (bin_dir / name).symlink_to(f"/usr/bin/{name}")
    script = (
        "from homelab_provision.doors.process import *\n"
        "import homelab_provision.doors.process as p, sys\n"
        "from homelab_provision import cli\n"
        "p.SYSTEM_PROGRAMS = ()\n"
        "def missing(*words, **options): interact(['ssh', 'db'])\n"
        "from homelab_provision.runs import store; store.everything = missing\n"
        "sys.argv = ['provision', 'runs', 'list']\n"
        "cli.main()\n"
    )
    (home / "missing.py").write_text(script)
    pythonpath = os.pathsep.join(filter(None, sys.path))
    done = shell(home, f"PATH={bin_dir} PYTHONPATH={pythonpath} {sys.executable} missing.py")
    assert done.returncode == 1
    assert "`ssh` is not installed" in done.stderr
    assert "provision doctor" in done.stderr


def test_many_hosts_at_once(home: Path) -> None:
    hosts = " ".join(f"host-{number}" for number in range(400))
    done = shell(home, f"$P apply {hosts} --site site")
    assert done.returncode == 2
    assert "host-0" in done.stderr


CLEANING = """
import signal, sys, time
from homelab_provision import cli
for number in (signal.SIGHUP, signal.SIGTERM):  # whoever runs the tests in the background may have them ignored
    signal.signal(number, signal.SIG_DFL)
cli._end_like_ctrl_c()
try:
    print("at work", flush=True)
    time.sleep(30)
except KeyboardInterrupt:
    print("cleaning up", flush=True)
    time.sleep(1)
    print("clean", flush=True)
"""


@pytest.mark.parametrize("signs", [("TERM", "TERM"), ("HUP", "TERM")])
def test_whoever_kills_twice_does_not_disturb_the_cleaning_up(signs: tuple[str, str]) -> None:
    with subprocess.Popen([sys.executable, "-c", CLEANING], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        for said, sign in zip(("at work", "cleaning up"), signs, strict=True):
            assert child.stdout.readline().strip() == said
            child.send_signal(signal.Signals[f"SIG{sign}"])
        assert child.stdout.read().strip() == "clean"
        assert child.wait(10) == 0
