"""The wheel, in an environment that has never seen the sources: what a user of pipx gets."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.packaging, pytest.mark.processes]


# What somebody may have beside the sites of a clone, and must not be given away.
PLANTED = {
    "inventories/lab/.vault-password": "hunter2",
    "inventories/lab/vault/site.yml": "$ANSIBLE_VAULT;1.1;AES256",
    "inventories/example/.vault-password": "hunter2",
    "inventories/example/vault/secrets.yml": "$ANSIBLE_VAULT;1.1;AES256",
    "inventories/example/notes.txt": "hunter2",
    "inventories/home/hosts.yml": "all: {}",
    "roles/postgres/files/root/usr/local/sbin/__pycache__/x.cpython-311.pyc": "compiled",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel and the source archive of a copy of the tree in which somebody has worked."""
    folder = tmp_path_factory.mktemp("built")
    tree = folder / "tree"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    for name, text in PLANTED.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, tree], check=True, capture_output=True)
    return folder


@pytest.mark.negative
def test_what_is_built_holds_no_secret_and_nothing_compiled(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as packed:
        names = {
            "wheel": zipfile.ZipFile(wheel).namelist(),
            "source": [name.partition("/")[2] for name in packed.getnames()],
        }
    for what, found in names.items():
        of_a_site = re.compile(r"inventories/.*(/vault/|\.vault-password)|__pycache__")
        bad = [name for name in found if of_a_site.search(name)]
        assert bad == [], what
    assert [name for name in names["wheel"] if "notes.txt" in name or "inventories/home" in name] == []
    for site in ("example", "lab"):
        assert f"homelab_provision/content/inventories/{site}/.gitignore" in names["wheel"]


@pytest.fixture(scope="module")
def provision(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a fresh environment into which only the wheel was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    venv.create(folder / "env", with_pip=True)
    (wheel,) = built.glob("*.whl")
    install: list[str | Path] = [
        folder / "env/bin/python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "-c",
        ROOT / "requirements.lock",
        wheel,
    ]
    subprocess.run(install, check=True, cwd=folder)
    return folder / "env/bin/provision"


def run(provision: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([provision, *words], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_help_names_the_commands(provision: Path, tmp_path: Path) -> None:
    shown = run(provision, "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "rebuild" in shown.stdout


@pytest.mark.parametrize("name", ["lab", "example"])
def test_copied_site_is_understood_from_any_directory(provision: Path, tmp_path: Path, name: str) -> None:
    site = tmp_path / "homelab"
    shutil.copytree(ROOT / "inventories" / name, site, ignore=shutil.ignore_patterns(".vault*", "vault"))
    shown = run(provision, "config", "show", cwd=site)
    assert shown.returncode == 0, shown.stderr
    assert "db-wyse" in shown.stdout


def test_playbooks_and_roles_are_in_the_wheel(provision: Path) -> None:
    script = (
        "from homelab_provision import paths; from homelab_provision.image.host_image import recipe_for;"
        "assert (paths.content('playbooks') / 'site.yml').is_file();"
        "assert (paths.content('playbooks') / 'library').is_dir();"
        "assert paths.content('ansible.cfg').is_file();"
        "assert 'nftables' in recipe_for(['base']).packages"
    )
    subprocess.run([provision.with_name("python"), "-c", script], check=True, cwd="/")


@pytest.mark.negative
def test_mistake_in_the_site_is_shown_with_its_line_and_exit_code_2(provision: Path, tmp_path: Path) -> None:
    site = tmp_path / "homelab"
    shutil.copytree(ROOT / "inventories" / "lab", site, ignore=shutil.ignore_patterns(".vault*", "vault"))
    machines = site / "machines.yml"
    machines.write_text(machines.read_text().replace("serial: LAB5070A", "serail: LAB5070A", 1))
    shown = run(provision, "config", "show", cwd=site)
    assert shown.returncode == 2
    assert "machines.yml:" in shown.stderr
    assert "serail" in shown.stderr
    assert "Traceback" not in shown.stderr
