"""What a site is told of a GPU that is none, or that does not compute; the rest of the verification needs a host."""

from __future__ import annotations

import importlib.util
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from homelab_provision import paths
from tests.unit.roles.inference import parts

spec = importlib.util.spec_from_file_location(
    "verify_inference", paths.content("roles") / "inference" / "verify" / "test_inference.py"
)
assert spec
assert spec.loader
verify = importlib.util.module_from_spec(spec)
spec.loader.exec_module(verify)

GPU: dict[str, Any] = {
    "devices": ["Vulkan0 (AMD Radeon 8060S (RADV GFX1151)) (unknown id)"],
    "software": False,
    "offloaded": 33,
    "layers": 33,
    "distance": 0.01,
}
PLAYED = {**GPU, "devices": ["Vulkan0 (llvmpipe (LLVM 21.1.8, 256 bits))"], "software": True}
ROCM = {"backend": "rocm"}
STRICT, LENIENT = {"accept_software_renderer": False}, {"accept_software_renderer": True}


def test_a_gpu_is_one() -> None:
    verify.test_a_gpu_computes_and_nothing_that_plays_one(GPU, STRICT, {"gpu_files": 1})
    verify.test_the_gpu_answers_as_the_processor_does(GPU)


def test_a_processor_that_plays_one_is_accepted_where_that_is_said() -> None:
    verify.test_a_gpu_computes_and_nothing_that_plays_one(PLAYED, LENIENT, {"gpu_files": 0})


@pytest.mark.negative
@pytest.mark.parametrize(
    ("compared", "accepts", "files", "said"),
    [
        (PLAYED, STRICT, 1, "this is not a GPU: Vulkan0 \\(llvmpipe"),
        ({**GPU, "devices": [], "offloaded": 0, "layers": 0}, LENIENT, 0, "taken over without a word"),
        ({**GPU, "offloaded": 20}, STRICT, 1, "not all layers are on the GPU"),
        ({**GPU, "offloaded": 0, "layers": 0}, LENIENT, 1, "not all layers are on the GPU"),
        ({**PLAYED, "offloaded": 0}, LENIENT, 1, "not all layers are on the GPU"),
        (GPU, STRICT, 0, "the server in service has no GPU open"),
    ],
)
def test_everything_else_is_said_and_fails(compared: Any, accepts: Any, files: int, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        verify.test_a_gpu_computes_and_nothing_that_plays_one(compared, accepts, {"gpu_files": files})


@pytest.mark.negative
def test_a_gpu_that_is_wrong_fails() -> None:
    with pytest.raises(AssertionError):
        verify.test_the_gpu_answers_as_the_processor_does({**GPU, "distance": 0.7})


@pytest.mark.negative
def test_a_model_that_is_elsewhere_than_in_the_memory_of_the_gpu_fails() -> None:
    verify.test_the_model_is_in_the_memory_of_the_gpu({"gpu_memory": 91, "weights": 100}, STRICT)
    with pytest.raises(AssertionError):
        verify.test_the_model_is_in_the_memory_of_the_gpu({"gpu_memory": 89, "weights": 100}, STRICT)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("framework-desktop", ROCM, ""),
        ("old-kernel", {}, ""),  # older ones go with Vulkan
        ("old-kernel", ROCM, "6.18.4 or newer"),
        ("not-restarted", {}, "no ttm.pages_limit; .* mem_info_gtt_total of card1 is 62.5 GiB"),
        ("framework-desktop", {"gtt_gib": 96}, "ttm.pages_limit=28311552"),
        ("denied-firmware", {}, "the GPU runs MES 0x83"),
        ("leftovers", {}, "HSA_OVERRIDE_GFX_VERSION is set"),
        ("carve-out", {}, "the BIOS keeps 96.0 GiB"),
        ("no-gpu", {}, "no GPU"),
    ],
)
def test_a_host_that_is_not_as_planned_fails(
    name: str, settings: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = parts.host(name, tmp_path)
    document = root / "etc/homelab-provision/inference.json"
    document.parent.mkdir()
    document.write_text(json.dumps({"preflight": settings}))
    parts.part("preflight").preflight(["--root", str(root), "--json"])
    found = json.loads(capsys.readouterr().out)
    told = {"backend": settings.get("backend", "vulkan")}
    with pytest.raises(AssertionError, match=said) if said else nullcontext():
        verify.test_the_gpu_is_as_the_role_has_planned_it(found, told)


@pytest.mark.negative
def test_a_kernel_that_shows_rocm_no_gpu_fails() -> None:
    with pytest.raises(AssertionError, match="/sys/class/kfd"):
        verify.test_the_gpu_is_as_the_role_has_planned_it({"findings": [], "hardware": {"gfx_targets": []}}, ROCM)
