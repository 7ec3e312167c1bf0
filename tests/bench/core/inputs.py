# SPDX-License-Identifier: Apache-2.0
"""The tensors of a case, as raw files every worker reads.

All are float32 values that the case's dtype has exactly, so every worker
computes from the same numbers. Weights have torch's names and layout.
"""

import math
import pathlib

import numpy as np

SEED = 20260
# What hides a score where it is added: softmax makes it zero.
MASKED = np.float32(-3.0e38)


def round_to_bfloat16(values):
    """Round float32 values to the nearest bfloat16, ties to even."""
    bits = values.view(np.uint32)
    half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return ((bits + half) & np.uint32(0xFFFF0000)).view(np.float32)


def bfloat16_bits(values):
    """The bits of float32 values that bfloat16 has exactly, as uint16."""
    return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)


def from_bfloat16_bits(bits):
    """The float32 values of bfloat16 bits."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _attention_shapes(width):
    return {"in_proj_weight": (3 * width, width), "in_proj_bias": (3 * width,),
            "out_proj.weight": (width, width), "out_proj.bias": (width,)}


def _layer_shapes(width, inner):
    """Those of an encoder layer."""
    found = {f"self_attn.{name}": shape
             for name, shape in _attention_shapes(width).items()}
    return found | {
        "linear1.weight": (inner, width), "linear1.bias": (inner,),
        "linear2.weight": (width, inner), "linear2.bias": (width,),
        "norm1.weight": (width,), "norm1.bias": (width,),
        "norm2.weight": (width,), "norm2.bias": (width,)}


def inside(tensors, prefix):
    """The tensors below a prefix, by their names there."""
    return {name.removeprefix(prefix): tensor
            for name, tensor in tensors.items() if name.startswith(prefix)}


def shapes(case):
    """Names and shapes of a case's floating tensors."""
    width = case.embed_dim
    found = {"query": (case.batch_size, case.query_length, width)}
    if case.cross:
        found["key"] = (case.batch_size, case.key_length, width)
    if case.layers:
        layer = _layer_shapes(width, case.feed_forward)
        found |= {f"layers.{index}.{name}": shape
                  for index in range(case.layers)
                  for name, shape in layer.items()}
    elif case.projected:
        found |= _attention_shapes(width)
    return found


def _values(generator, name, shape, case):
    values = generator.random(shape, dtype=np.float32) * 2 - 1
    values *= np.float32(_scale(name, shape, case))
    if ".norm" in name and name.endswith("weight"):
        values += np.float32(1)
    return values


def _scale(name, shape, case):
    # Uniform values whose projections have a variance of about one, and
    # scores that tell keys apart, so that an answer depends on every part.
    if name.endswith("bias"):
        return 0.02
    if ".norm" in name:
        return 0.1
    if case.layers and name.endswith("weight"):
        # What a layer normalisation gives has a variance of one already.
        return math.sqrt(3.0 / shape[1])
    if name.endswith("weight"):
        return 3.0 / math.sqrt(case.embed_dim)
    return 1.0


def make(case, special=None):
    """Make a case's tensors; `special` fills or spoils the query."""
    generator = np.random.default_rng(SEED)
    tensors = {}
    for name, shape in shapes(case).items():
        values = _values(generator, name, shape, case)
        if name == "query" and special is not None:
            spoil(values, special)
        if case.dtype == "bfloat16":
            values = round_to_bfloat16(values)
        tensors[name] = values
    return tensors


def spoil(query, special):
    """Put (kind, value) into a query: all of it, or one row of a sequence."""
    where, value = special
    if where == "everywhere":
        query[:] = np.copysign(np.float32(value), query)
    else:
        query[:, query.shape[1] // 2, :] = np.float32(value)


def key_padding(case):
    """The mask of padded keys, (N, S): True where padding."""
    mask = np.zeros((case.batch_size, case.key_length), dtype=bool)
    mask[:, case.visible_keys:] = True
    return mask


def score_mask(case, tensors):
    """What graphs add to the scores, (1 or N, 1, 1 or L, S), or None."""
    if case.causal:
        size = (case.query_length, case.key_length)
        return np.triu(np.full(size, MASKED), 1)[None, None]
    if case.padded:
        mask = tensors["key_padding"][:, None, None, :]
        return np.where(mask, MASKED, np.float32(0))
    return None


def write(case, folder, special=None):
    """Write a case's tensors for the workers."""
    folder = pathlib.Path(folder)
    for name, values in make(case, special).items():
        values.tofile(folder / f"{name}.f32")
    if case.padded:
        key_padding(case).tofile(folder / "key_padding.u8")


def read(case, folder):
    """Read what write() wrote: a dictionary of arrays."""
    folder = pathlib.Path(folder)
    tensors = {name: np.fromfile(folder / f"{name}.f32",
                                 dtype=np.float32).reshape(shape)
               for name, shape in shapes(case).items()}
    tensors.setdefault("key", tensors["query"])
    if case.padded:
        tensors["key_padding"] = np.fromfile(
            folder / "key_padding.u8",
            dtype=bool).reshape(case.batch_size, case.key_length)
    return tensors
