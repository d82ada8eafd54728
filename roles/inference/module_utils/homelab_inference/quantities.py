"""Tensor types of ggml: how many weights are in a block, and how many bytes that takes.

From `GGMLQuantizationType` and `GGML_QUANT_SIZES` of the package gguf 0.19.0 (ggml-org/llama.cpp,
gguf-py/gguf/constants.py), and for Q2_0 from ggml's own ggml-common.h.
"""

from __future__ import annotations

GIB = 1024**3
MIB = 1024**2

# number in a file: (name, weights in a block, bytes of a block)
TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}
# What llama-server takes for --cache-type-k and --cache-type-v (common/arg.cpp, kv_cache_types).
CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
_BY_NAME = {name.lower(): (weights, size) for name, weights, size in TENSOR_TYPES.values()}


def cache_bytes(kind: str, numbers: int) -> int:
    """Bytes that so many numbers take in a KV cache of this type. Raises `KeyError` for a type there is none of."""
    weights, size = _BY_NAME[kind]
    return -(-numbers // weights) * size
