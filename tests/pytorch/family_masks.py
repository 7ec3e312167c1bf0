# SPDX-License-Identifier: Apache-2.0
"""Random masks, and what all masks of a request come to."""

import torch
from attention.v1 import attention_service_pb2 as service_pb2

ATTN_MASKS = ["none", "bool 2-D", "bool 3-D", "float 2-D", "float 3-D"]
PADDING_MASKS = ["none", "none", "bool", "float"]
VALID_LENS = ["none", "none", "(N)", "(N, L)"]
CAUSALS = {
    "none": service_pb2.CAUSAL_UNSPECIFIED,
    "top left": service_pb2.CAUSAL_TOP_LEFT,
    "bottom right": service_pb2.CAUSAL_BOTTOM_RIGHT,
}
POLICIES = {
    "torch": service_pb2.MASKED_ROW_POLICY_TORCH,
    "zero": service_pb2.MASKED_ROW_POLICY_ZERO,
    "nan": service_pb2.MASKED_ROW_POLICY_NAN,
}


def draw_attn_mask(case, kind, shape):
    """A mask of kind "bool ..." or "float ...", at times with whole rows
    masked; None for "none"."""
    if kind == "none":
        return None
    mask = _draw_mask(case, "bool" in kind, shape)
    if case.chance(0.5):
        rows = torch.rand(mask.shape[:-1]) < 0.3
        mask[rows] = True if mask.dtype == torch.bool else -torch.inf
    return mask


def draw_padding_mask(case, kind, shape):
    """A key_padding_mask likewise, at times with a sequence all padding."""
    if kind == "none":
        return None
    mask = _draw_mask(case, kind == "bool", shape)
    if case.chance(0.15) and len(mask):
        mask[0] = True if mask.dtype == torch.bool else -torch.inf
    return mask


def draw_valid_lens(case, shape, num_keys):
    """Lengths, 0 and beyond the keys among them."""
    dtype = case.random.choice([torch.int32, torch.int64])
    return torch.randint(-1, num_keys + 3, shape).to(dtype)


def _draw_mask(case, is_bool, shape):
    hidden = torch.rand(shape) < case.random.choice([0.1, 0.3, 0.7])
    if is_bool:
        return hidden
    return case.normal(*shape).masked_fill(hidden, -torch.inf)


def as_added(mask, dtype):
    """What a mask adds to scores."""
    if mask.dtype == torch.bool:
        zeros = torch.zeros(mask.shape, dtype=dtype)
        return zeros.masked_fill(mask, -torch.inf)
    return mask.to(dtype)


def dense_mask(fields, shape, dtype):
    """What all masks of a request add to its scores (N, H, L, S); unbatched
    fields are those of N = 1."""
    count, _, queries, keys = shape
    mask = torch.zeros(shape, dtype=dtype)
    if (given := fields.get("attn_mask")) is not None:
        given = given.view(shape) if given.dim() == 3 else given
        mask = mask + as_added(given, dtype)
    if (given := fields.get("key_padding_mask")) is not None:
        mask = mask + as_added(given, dtype).view(count, 1, 1, keys)
    positions = torch.arange(keys)
    if (lens := fields.get("valid_lens")) is not None:
        rows = queries if lens.dim() == 2 else 1
        hidden = positions >= lens.view(count, 1, rows, 1)
        mask = mask.masked_fill(hidden, -torch.inf)
    if causal := fields.get("causal"):
        is_top_left = causal == CAUSALS["top left"]
        offset = 0 if is_top_left else keys - queries
        hidden = positions > torch.arange(queries)[:, None] + offset
        mask = mask.masked_fill(hidden, -torch.inf)
    return mask


def has_blind_row(mask):
    """Whether some row of dense_mask hides every key, there being some."""
    hides_all = (mask == -torch.inf).all(-1)
    return bool(mask.shape[-1] and hides_all.any())
