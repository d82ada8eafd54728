"""What a site is told of a GPU that is none, or that does not compute; the rest of the verification needs a host."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from homelab_provision import paths

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
