"""Whether a GPU computes, and rightly, from what the server says of it."""

from __future__ import annotations

import pytest

from tests.unit.roles import programs

compare, config = programs.inference("compare"), programs.inference("config")

# Lines of build 11669 at verbosity 4, with lavapipe.
LOG = """\
0.03.522.640 I llama_prepare_model_devices: using device Vulkan0 (llvmpipe (LLVM 21.1.8, 256 bits)) (unknown id) - 14627 MiB free
0.03.523.149 I load_tensors: offloading output layer to GPU
0.03.523.149 I load_tensors: offloading 1 repeating layers to GPU
0.03.523.150 I load_tensors: offloaded 3/3 layers to GPU
"""  # noqa: E501 - as it is said
FALLBACK = """\
warning: no usable GPU found, --gpu-layers option will be ignored
0.00.028.318 I load_tensors:          CPU model buffer size =     0.43 MiB
"""


@pytest.mark.negative
def test_a_processor_that_plays_a_gpu_is_told_from_one() -> None:
    devices, offloaded, layers = compare.read_log(LOG)
    assert (offloaded, layers) == (3, 3)
    assert compare.Measured(devices, 3, 3, 4, {}).software
    real, _, _ = compare.read_log(LOG.replace("llvmpipe (LLVM 21.1.8, 256 bits)", "AMD Radeon 8060S (RADV GFX1151)"))
    assert real == ("Vulkan0 (AMD Radeon 8060S (RADV GFX1151)) (unknown id)",)
    assert not compare.Measured(real, 3, 3, 4, {}).software


@pytest.mark.negative
def test_a_silent_fall_back_to_the_cpu_shows_no_device_and_no_layer() -> None:
    assert compare.read_log(FALLBACK) == ((), 0, 0)


def test_what_is_loaded_is_the_model_with_its_shards_and_nothing_beside() -> None:
    names = {"a-00001-of-00002.gguf": 1, "a-00002-of-00002.gguf": 20, "mmproj.gguf": 300}
    files = tuple(config.File(name, "/srv", "0" * 64, size) for name, size in names.items())
    assert compare.weights(config.Model("a", "chat", files, {})) == 21
    assert compare.weights(config.Model("a", "chat", files[2:], {})) == 300


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ({1: 0.6, 2: 0.2}, {1: 0.6, 2: 0.2}, 0.0),
        ({1: 0.6, 2: 0.2}, {1: 0.59, 2: 0.21}, 0.0125),
        ({1: 0.6, 2: 0.2}, {3: 0.6, 4: 0.2}, 1.0),
    ],
)
def test_how_far_two_answers_are_apart(one: dict[int, float], other: dict[int, float], apart: float) -> None:
    assert compare.distance(one, other) == pytest.approx(apart)
