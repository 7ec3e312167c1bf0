# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention by its formula, in float64: an oracle that needs no PyTorch.

concat_h(softmax(Q_h K_h^T / sqrt(D) + M) V_h) W_o + b_o, Vaswani et al. 2017,
section 3.2.2. Batched inputs are batch first.
"""

import numpy as np

WIDTH, HEADS = 16, 4
CONFIG = {
    "multi_head_attention": {
        "embed_dim": WIDTH,
        "num_heads": HEADS,
        "batch_first": True,
    }
}


def make_weights(seed=0, dtype=np.float32):
    """A state dict for CONFIG."""
    random = np.random.default_rng(seed)
    shapes = {
        "in_proj_weight": (3 * WIDTH, WIDTH),
        "in_proj_bias": (3 * WIDTH,),
        "out_proj.weight": (WIDTH, WIDTH),
        "out_proj.bias": (WIDTH,),
    }
    return {
        name: random.uniform(-0.5, 0.5, shape).astype(dtype)
        for name, shape in shapes.items()
    }


def attention(weights, query, hidden=None):
    """Self-attention of (L, E); `hidden` is True where (L, L) is masked.

    Returns the output (L, E) and the weights of each head (H, L, L).
    """
    weights = {name: w.astype(np.float64) for name, w in weights.items()}
    rows = query.astype(np.float64) @ weights["in_proj_weight"].T
    projected = np.split(rows + weights["in_proj_bias"], 3, axis=-1)
    size = WIDTH // HEADS
    q, k, v = (
        part.reshape(len(query), HEADS, size).swapaxes(0, 1) for part in projected
    )
    scores = q @ k.swapaxes(1, 2) / np.sqrt(size)
    if hidden is not None:
        scores = np.where(hidden, -np.inf, scores)
    probabilities = np.exp(scores - scores.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    context = (probabilities @ v).swapaxes(0, 1).reshape(len(query), WIDTH)
    output = context @ weights["out_proj.weight"].T + weights["out_proj.bias"]
    return output, probabilities


def assert_close(got, want):
    """At torch.testing's tolerances for float32."""
    np.testing.assert_allclose(got, want, rtol=1.3e-6, atol=1e-5)
