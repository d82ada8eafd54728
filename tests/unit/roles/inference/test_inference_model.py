"""What a model takes and reads: against figures that others have published or logged.

Tokens a second: kyuz0/amd-strix-halo-toolboxes, docs/results.json (2026-05-16); bytes for a token and the bounds at
256 GB/s were computed from the models' shapes independently. Buffers and caches: what llama.cpp logs
when it loads these models.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.roles.inference import parts
from tests.unit.roles.inference.parts import GIB

model = parts.part("model")
anchors = parts.part("anchors")
MIB = 1024**2


def llama_2_7b() -> Any:
    return parts.model(*parts.llama(32, 4096, 32, 11008, 32000))


def qwen3_30b_a3b() -> Any:
    """Its shapes (config.json); one type for all weights, where Q6_K_XL has several."""
    shapes: list[parts.Shape] = [
        ("token_embd.weight", (2048, 151936), parts.Q6_K),
        ("output.weight", (2048, 151936), parts.Q6_K),
    ]
    for layer in range(48):
        shapes += [
            (f"blk.{layer}.attn_q.weight", (2048, 4096), parts.Q6_K),
            (f"blk.{layer}.attn_k.weight", (2048, 512), parts.Q6_K),
            (f"blk.{layer}.attn_v.weight", (2048, 512), parts.Q6_K),
            (f"blk.{layer}.attn_output.weight", (4096, 2048), parts.Q6_K),
            (f"blk.{layer}.ffn_gate_exps.weight", (2048, 768, 128), parts.Q6_K),
            (f"blk.{layer}.ffn_up_exps.weight", (2048, 768, 128), parts.Q6_K),
            (f"blk.{layer}.ffn_down_exps.weight", (768, 2048, 128), parts.Q6_K),
        ]
    metadata = {
        "general.architecture": "qwen3moe",
        "qwen3moe.block_count": 48,
        "qwen3moe.embedding_length": 2048,
        "qwen3moe.attention.head_count": 32,
        "qwen3moe.attention.head_count_kv": 4,
        "qwen3moe.attention.key_length": 128,
        "qwen3moe.attention.value_length": 128,
        "qwen3moe.feed_forward_length": 6144,
        "qwen3moe.expert_count": 128,
        "qwen3moe.expert_used_count": 8,
    }
    return parts.model(metadata, shapes)


# The model, its file in GiB, GB for a token, tokens a second at most.
PUBLISHED: dict[str, tuple[Any, float, float, float]] = {
    "llama-2-7B Q4_0": (llama_2_7b, 3.56, 3.75, 68.3),
    "gpt-oss-20b": (lambda: parts.model(*parts.gpt_oss(24, 32)), 11.27, 2.56, 100),
    "gpt-oss-120b": (lambda: parts.model(*parts.gpt_oss(36, 128)), 59.02, 3.53, 72.4),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_bytes_for_a_token_are_what_was_computed_elsewhere(name: str) -> None:
    """Elsewhere without the experts' routers, which are up to 1.5 per cent more."""
    make, size, gigabytes, bound = PUBLISHED[name]
    found = make()
    assert found.weights / GIB == pytest.approx(size, rel=0.005)
    assert found.bytes_per_token() / 1e9 == pytest.approx(gigabytes, rel=0.02)
    assert anchors.BANDWIDTH["vulkan"] * 1e9 / found.bytes_per_token() == pytest.approx(bound, rel=0.02)


def test_of_a_mixture_only_the_experts_that_are_used_are_read() -> None:
    """About 2.6 GB and 98 tokens a second for Q6_K_XL, whose attention is in a larger type than here."""
    found = qwen3_30b_a3b()
    assert found.weights / GIB == pytest.approx(24.53, rel=0.06)
    assert found.bytes_per_token() / 1e9 == pytest.approx(2.6, rel=0.06)


def test_shares_of_the_bound_agree_with_the_speeds_that_were_published() -> None:
    for anchor in anchors.ANCHORS:
        if anchor.architecture in ("llama", "gpt-oss"):
            (make,) = [each[0] for each in PUBLISHED.values() if abs(each[1] - anchor.size) < 0.1]
            bound = 256e9 / make().bytes_per_token()
            assert anchor.tg128 / bound == pytest.approx(anchor.share, abs=0.015), anchor


def test_an_output_that_is_the_embeddings_is_read_whole() -> None:
    metadata, shapes = parts.llama(2, 256, 4, 512, 1024)
    tied = parts.model(metadata, [shape for shape in shapes if shape[0] != "output.weight"])
    embeddings = 256 * 1024 * 18 // 32
    assert tied.bytes_per_token() == tied.weights
    own = parts.model(metadata, shapes)
    assert own.weights - own.bytes_per_token() == embeddings - embeddings // 1024


def test_layers_that_predict_further_tokens_are_loaded_and_not_read() -> None:
    metadata, shapes = parts.llama(3, 256, 4, 512, 1024)
    plain = parts.model(metadata, shapes)
    found = parts.model(metadata | {"llama.nextn_predict_layers": 1}, shapes)
    assert found.weights == plain.weights
    assert plain.bytes_per_token() - found.bytes_per_token() == (plain.bytes_per_token() - 1024 * 210 - 144) // 3


def test_the_cache_of_a_llama() -> None:
    """`KV buffer size = 2048.00 MiB` for 4096 tokens; half a gigabyte a thousand tokens."""
    assert llama_2_7b().kv_cache(model.Use(4096)) == 2048 * MIB
    q8 = model.Use(4096, cache_type_k="q8_0", cache_type_v="q8_0")
    assert llama_2_7b().kv_cache(q8) == 2048 * MIB * 17 // 32


def test_the_cache_of_layers_that_look_back_over_a_window() -> None:
    """gpt-oss-20b with 8192 tokens: 192 MiB for 12 layers, and 18 MiB for the other 12 (768 cells)."""
    found = parts.model(*parts.gpt_oss(24, 32))
    assert found.kv_cache(model.Use(8192)) == (192 + 18) * MIB
    # A file may say itself which layers these are.
    metadata, shapes = parts.gpt_oss(24, 32)
    told = metadata | {"gpt-oss.attention.sliding_window_pattern": [True, True, True, False]}
    assert parts.model(told, shapes).kv_cache(model.Use(8192)) == (96 + 27) * MIB


def test_what_does_not_attend_keeps_a_state_for_each_slot() -> None:
    metadata, shapes = parts.llama(8, 256, 4, 512, 1024)
    ssm = {"ssm.inner_size": 128, "ssm.state_size": 16, "ssm.conv_kernel": 4, "ssm.group_count": 2}
    hybrid = {
        key.replace("llama.", "qwen35."): "qwen35" if key == "general.architecture" else value
        for key, value in metadata.items()
    } | {f"qwen35.{key}": value for key, value in ssm.items()}
    found = parts.model(hybrid, shapes)
    cache = 2 * 4096 * 2 * 256 * 2
    state = 6 * 4 * (3 * (128 + 2 * 2 * 16) + 16 * 128)
    assert found.kv_cache(model.Use(4096)) == cache + state
    assert found.kv_cache(model.Use(4096, parallel=3)) == cache + 3 * state


def test_layers_may_have_different_numbers_of_heads() -> None:
    metadata, shapes = parts.llama(4, 256, 4, 512, 1024)
    found = parts.model(metadata | {"llama.attention.head_count_kv": [4, 0, 2, 0]}, shapes)
    assert found.kv_cache(model.Use(256)) == 6 * 64 * 2 * 2 * 256


@pytest.mark.parametrize(
    ("make", "logged"),
    [(llama_2_7b, 70.5), (lambda: parts.model(*parts.gpt_oss(24, 32)), 398.38)],
    ids=["llama-2-7B", "gpt-oss-20b"],
)
def test_buffers_are_what_is_logged(make: Any, logged: float) -> None:
    """`compute buffer size` with a micro-batch of 512; the mask of the attention is beside it."""
    use = model.Use(4096)
    mask = 6 * 512 * 4096
    assert (make().buffers(use) - mask) / MIB == pytest.approx(logged, abs=0.01)


def test_a_small_model_as_it_was_loaded_here() -> None:
    """SmolLM2-135M in Debian's llama.cpp 0.7.0: `KV buffer size = 11.25 MiB`, `compute buffer size = 102.14 MiB`."""
    metadata, shapes = parts.llama(30, 576, 9, 1536, 49152, kv_heads=3)
    found = parts.model(metadata, [shape for shape in shapes if shape[0] != "output.weight"])
    assert found.kv_cache(model.Use(512)) == 11.25 * MIB
    assert found.buffers(model.Use(512)) / MIB == pytest.approx(102.14, rel=0.04)


def test_a_large_micro_batch_takes_much() -> None:
    """pwilkin/strix-halo#6: with 16384, about 16 GB are taken when the model is loaded."""
    metadata, shapes = parts.gpt_oss(24, 32)
    found = parts.model(metadata, shapes)
    assert 13 < found.buffers(model.Use(4096, ubatch=16384)) / 1e9 < 17


def test_a_model_for_embeddings_keeps_no_cache() -> None:
    metadata, shapes = parts.llama(2, 256, 4, 512, 1024)
    found = parts.model(metadata | {"llama.attention.causal": False}, shapes)
    assert not found.causal
    assert found.kv_cache(model.Use(4096)) == 0


def test_a_token_late_in_a_conversation_reads_the_cache_too() -> None:
    found = llama_2_7b()
    assert found.bytes_per_token(2048) - found.bytes_per_token() == 1024 * MIB


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no architecture": ({"general.architecture": 7}, "a.gguf: it does not say which architecture it has"),
    "no layers": ({"llama.block_count": 0}, "a.gguf: 0 layers, 0 of 0 experts used"),
    "too many layers": ({"llama.block_count": 2**31}, "a.gguf: llama.block_count is 2147483648, expected whole"),
    "text for a number": ({"llama.embedding_length": "wide"}, "a.gguf: llama.embedding_length is wide, expected whole"),
    "too few heads": ({"llama.attention.head_count_kv": [4, 4]}, "llama.attention.head_count_kv has 2 numbers for 3"),
    "more experts than there are": ({"llama.expert_used_count": 4}, "3 layers, 4 of 0 experts used"),
}


@pytest.mark.negative
@pytest.mark.parametrize("case", WRONG)
def test_metadata_that_contradict_themselves(case: str) -> None:
    changed, message = WRONG[case]
    metadata, shapes = parts.llama(3, 256, 4, 512, 1024)
    with pytest.raises(parts.part("errors").Trouble) as caught:
        parts.model(metadata | changed, shapes)
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.negative
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"context": 0}, "context is 0"),
        ({"parallel": True}, "parallel is True"),
        ({"ubatch": 2**40}, f"ubatch is {2**40}"),
        ({"cache_type_k": "q3_k"}, "cache_type_k is 'q3_k'"),
    ],
)
def test_a_use_that_no_server_takes(words: dict[str, Any], message: str) -> None:
    with pytest.raises(parts.part("errors").Trouble) as caught:
        model.Use(**{"context": 4096, **words})
    assert caught.value.message == message
