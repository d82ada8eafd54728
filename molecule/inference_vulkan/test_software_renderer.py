"""A processor that plays a GPU: told to accept it, the host is verified; else verify says what it is, and fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.container import Container

DOCUMENT = "/etc/homelab-provision/inference.json"
VERIFY = Path(__file__).parents[2] / "roles" / "inference" / "verify"


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest) -> Container:
    return Container.of(request.config)


def verified(machine: Container) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "pytest", "--rootdir=.", "--override-ini=addopts=", "-pno:cacheprovider", "-q"]
    words += ["--import-mode=importlib", f"--hosts=docker://{machine.name}", "-k", "gpu", str(VERIFY)]
    return subprocess.run(words, cwd=VERIFY.parents[1], capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.negative
def test_it_is_no_gpu_unless_it_is_accepted(machine: Container) -> None:
    machine.sh(f"cp {DOCUMENT} /root/declared.json")
    try:
        machine.sh(f'sed -i \'s/"accept_software_renderer": true/"accept_software_renderer": false/g\' {DOCUMENT}')
        refused = verified(machine)
    finally:
        machine.sh(f"cp /root/declared.json {DOCUMENT}")
    assert refused.returncode == 1, refused.stdout
    assert "this is not a GPU: Vulkan0 (llvmpipe" in refused.stdout
    assert verified(machine).returncode == 0


@pytest.mark.negative
def test_without_it_the_fall_back_to_the_processor_is_seen(machine: Container) -> None:
    machine.sh(f"cp {DOCUMENT} /root/declared.json; sed -i 's/GGML_VK_VISIBLE_DEVICES/UNUSED/' {DOCUMENT}")
    try:
        told = json.loads(machine.sh("homelab-inference compare | tail -n1"))
        refused = verified(machine)
    finally:
        machine.sh(f"cp /root/declared.json {DOCUMENT}")
    assert (told["devices"], told["offloaded"]) == ([], 0)
    assert refused.returncode == 1
    assert "the processor has taken over without a word" in refused.stdout
