"""What others have measured on the Ryzen AI Max+ 395 with 128 GB, as data, each with where it is published.

Nothing of it was measured by this project, which has no such machine. `size` is the file's in GiB and tells a model
from others of its kind; `pp512` and `tg128` are tokens a second as llama-bench counts them, with an empty context.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Backend(StrEnum):
    VULKAN = "vulkan"
    ROCM = "rocm"
    CPU = "cpu"


# GB/s. The memory: 256 bits of LPDDR5X at 8000 MT/s. What a program reads of it with the GPU was measured as about 215
# (lhl/strix-halo-testing); with the CPU, 100 to 125 (the same), of which the lower is taken.
BANDWIDTH = {Backend.VULKAN: 256.0, Backend.ROCM: 256.0, Backend.CPU: 100.0}

KYUZ0 = (
    "kyuz0/amd-strix-halo-toolboxes, docs/results.json, 2026-05-16: kernel 6.19.12, llama.cpp b9187/b9193, ROCm 7.2.3"
)
KYUZ0_2025 = "kyuz0/amd-strix-halo-toolboxes, 2025-11: llama.cpp b7034, ROCm 7 release candidate"
LHL = "lhl/strix-halo-testing, 2025-07, Vulkan"


@dataclass(frozen=True)
class Anchor:
    """One published measurement."""

    model: str
    architecture: str
    size: float
    backend: Backend
    pp512: float
    tg128: float
    # What generating reached of its bound, BANDWIDTH / bytes for a token, where those are known.
    share: float | None
    source: str

    @property
    def of_experts(self) -> bool:
        return self.architecture in ("gpt-oss", "qwen3moe", "qwen35moe")


ANCHORS = (
    Anchor("llama-2-7B Q4_0", "llama", 3.56, Backend.VULKAN, 1338, 55.7, 0.82, KYUZ0),
    Anchor("llama-2-7B Q4_0", "llama", 3.56, Backend.ROCM, 1545, 50.6, 0.74, KYUZ0),
    Anchor("gpt-oss-20b mxfp4", "gpt-oss", 11.27, Backend.VULKAN, 1692, 79.8, 0.80, KYUZ0),
    Anchor("gpt-oss-20b mxfp4", "gpt-oss", 11.27, Backend.ROCM, 1786, 73.1, 0.73, KYUZ0),
    Anchor("gpt-oss-120b mxfp4", "gpt-oss", 59.02, Backend.VULKAN, 720, 56.6, 0.78, KYUZ0),
    Anchor("gpt-oss-120b mxfp4", "gpt-oss", 59.02, Backend.ROCM, 626, 51.8, 0.72, KYUZ0),
    Anchor("Qwen3-30B-A3B Q6_K_XL", "qwen3moe", 24.53, Backend.VULKAN, 853, 66.9, 0.68, KYUZ0_2025),
    Anchor("Qwen3-30B-A3B Q6_K_XL", "qwen3moe", 24.53, Backend.ROCM, 625, 57.4, 0.59, KYUZ0_2025),
    Anchor("Qwen3-30B-A3B Q4_K_XL", "qwen3moe", 16.5, Backend.VULKAN, 646, 78.0, 0.54, LHL),
    Anchor("Qwen3.6-35B-A3B Q4_K_XL", "qwen35moe", 21.27, Backend.VULKAN, 1114, 60.4, None, KYUZ0),
    Anchor("Qwen3.6-35B-A3B Q4_K_XL", "qwen35moe", 21.27, Backend.ROCM, 1120, 51.5, None, KYUZ0),
    # Of this one, only a limit is known: at most 0.88 and 0.91.
    Anchor("Qwen3.6-27B Q8_K_XL", "qwen35", 33.31, Backend.VULKAN, 275, 6.30, None, KYUZ0),
    Anchor("Qwen3.6-27B Q8_K_XL", "qwen35", 33.31, Backend.ROCM, 367, 6.51, None, KYUZ0),
)
# How far below a published figure a measurement may be before it is remarked on (other kernels, builds, power limits).
SLACK = 0.25
# Sizes of the same model differ a little from one maker of files to the next.
SAME = 0.03


def anchors_of(architecture: str, size: float, backend: Backend) -> Iterator[Anchor]:
    """The published measurements of this very model, by its architecture and the size of its file in GiB."""
    for anchor in ANCHORS:
        alike = abs(size - anchor.size) <= SAME * anchor.size
        if anchor.backend is backend and anchor.architecture == architecture and alike:
            yield anchor


def shares(architecture: str, backend: Backend, of_experts: bool) -> tuple[float, float] | None:
    """The least and the most of the bound that models of this architecture have reached, or of this kind, if any."""
    known = [anchor for anchor in ANCHORS if anchor.backend is backend and anchor.share is not None]
    alike = [anchor for anchor in known if anchor.architecture == architecture]
    found = [anchor.share or 0 for anchor in alike or known if anchor.of_experts == of_experts]
    return (min(found), max(found)) if found else None
