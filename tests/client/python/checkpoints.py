# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as other programs write them, with random weights.

`separate` gives the state dict of torch's layers with query, key and value apart;
`renamed` gives it the names of a family.
"""

import json
import pathlib
import struct

DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "uint8": "U8",
    "bool": "BOOL",
}

# What ViT's encoder layers are called by HuggingFace, behind "vit.encoder.layer.0.".
VIT = {
    "self_attn.q_proj": "attention.attention.query",
    "self_attn.k_proj": "attention.attention.key",
    "self_attn.v_proj": "attention.attention.value",
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "layernorm_before",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "layernorm_after",
}


def write_safetensors(path, tensors, metadata=None):
    """Written on its own, so that the reader is judged by another's file."""
    header = {"__metadata__": metadata} if metadata else {}
    data = b""
    for name, tensor in tensors.items():
        raw = to_bytes(tensor)
        header[name] = {
            "dtype": DTYPES[str(tensor.dtype).replace("torch.", "")],
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)
    return str(path)


def to_bytes(tensor):
    if hasattr(tensor, "detach"):
        import torch

        flat = tensor.detach().contiguous().reshape(-1)
        return flat.view(torch.uint8).numpy().tobytes()
    return tensor.tobytes()


def separate(state_dict):
    """q_proj, k_proj and v_proj instead of in_proj."""
    made = {}
    for name, tensor in state_dict.items():
        holder, _, kind = name.rpartition("in_proj_")
        if kind in ("weight", "bias"):
            for part, piece in zip("qkv", tensor.chunk(3)):
                made[f"{holder}{part}_proj.{kind}"] = piece.clone()
        else:
            made[name] = tensor
    return made


def renamed(state_dict, names, prefix=""):
    """Each name by the longest of `names` that it begins with; what has none stays."""
    made = {}
    for name, tensor in state_dict.items():
        own = max(
            (n for n in names if f"{name}.".startswith(f"{n}.")), key=len, default=""
        )
        stored = names[own] + name[len(own) :] if own else name
        made[prefix + stored] = tensor
    return made


def randomise(module):
    """Every parameter anew: defaults of 0 and 1 would hide a wrong mapping."""
    import torch

    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.3)
    return module.eval()
