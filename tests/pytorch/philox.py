# SPDX-License-Identifier: Apache-2.0
"""The project's generator of reproducible tensors, bit for bit as in C++.

core/tensor/philox.cc and core/tensor/random_tensor.cc are the other half;
philox_test.py and tests/core/tensor/philox_test.cc hold both to the same
vectors. Source of the generator: Salmon, Moraes, Dror, Shaw, "Parallel random
numbers: as easy as 1, 2, 3", SC'11, section 3.3.
"""

import numpy as np

_MASK32 = np.uint64(0xFFFFFFFF)
_SHIFT32 = np.uint64(32)
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox4x32(key, counters):
    """Map counters (n, 4) to words (n, 4), both uint32, under a 64-bit key."""
    words = [counters[:, column].astype(np.uint64) for column in range(4)]
    key0, key1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(_ROUNDS):
        product0 = _MULTIPLIERS[0] * words[0]
        product1 = _MULTIPLIERS[1] * words[2]
        words = [
            (product1 >> _SHIFT32) ^ words[1] ^ np.uint64(key0),
            product1 & _MASK32,
            (product0 >> _SHIFT32) ^ words[3] ^ np.uint64(key1),
            product0 & _MASK32,
        ]
        key0 = (key0 + _WEYL[0]) & 0xFFFFFFFF
        key1 = (key1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack(words, axis=1).astype(np.uint32)


def random_words(count, seed, stream):
    """The first `count` words (uint32) of a stream."""
    blocks = np.arange((count + 3) // 4, dtype=np.uint64)
    counters = np.zeros((len(blocks), 4), dtype=np.uint32)
    counters[:, 0] = blocks & _MASK32
    counters[:, 1] = blocks >> _SHIFT32
    counters[:, 2] = stream
    return philox4x32(seed, counters).reshape(-1)[:count]


def random_array(dtype, shape, seed, stream=0, scale=1.0):
    """Uniform values in [-scale, scale); bfloat16 as its bits in uint16."""
    words = random_words(int(np.prod(shape, dtype=np.int64)), seed, stream)
    unit = (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23)
    values = (np.float32(scale) * (unit - np.float32(1.0))).reshape(shape)
    if dtype == "bfloat16":
        return _bfloat16_bits(values)
    return values.astype(dtype)


def _bfloat16_bits(values):
    bits = values.view(np.uint32)
    half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return ((bits + half) >> np.uint32(16)).astype(np.uint16)
