# SPDX-License-Identifier: Apache-2.0
"""What is measured: the grid of rows, and what a row asks for.

Notation: N batch, L query length, S key length, E embed_dim, H heads.
"""

import dataclasses

# N, L, E, H of plain self-attention.
SELF = [(1, 1, 768, 12), (64, 1, 1024, 1), (1, 16, 128, 8),
        (64, 10, 128, 8), (4, 100, 512, 8), (2, 50, 256, 4),
        (1, 128, 768, 12), (8, 128, 768, 12),
        (1, 512, 768, 12), (8, 512, 768, 12), (1, 2048, 1024, 16),
        (1, 8192, 1024, 16)]
# Head sizes 32, 64, 80, 128 of one width.
HEADS = [(4, 128, 640, heads) for heads in (20, 10, 8, 5)]
CAUSAL = [(1, 512, 768, 12), (1, 2048, 1024, 16)]
# Stacks of encoder layers: N, L, E, H, and the other fields.
ENCODERS = [
    ((1, 100, 512, 8), {"layers": 6, "feed_forward": 2048}),
    ((1, 128, 768, 12), {"layers": 12, "feed_forward": 3072,
                         "activation": "gelu"}),
    ((8, 128, 768, 12), {"layers": 1, "feed_forward": 3072,
                         "activation": "gelu"}),
]
# The largest differences from the core's answers, as a part of its largest
# magnitude, with which another answer is the same computation.
TOLERANCES = {"float32": 1e-4, "bfloat16": 3e-2}
DTYPES = tuple(TOLERANCES)
# Rows, depth, columns of the products whose fastest is the peak.
PEAK_SIZES = [(1024, 1024, 1024), (2048, 1024, 4096)]


@dataclasses.dataclass(frozen=True)
class Case:
    """One computation. The core's worker reads the same fields.

    Inputs query (N, L, E), key = value (N, S, E); key is query unless cross.
    """

    batch_size: int
    query_length: int
    key_length: int
    embed_dim: int
    num_heads: int
    dtype: str = "float32"
    cross: bool = False
    causal: bool = False
    padded: bool = False  # the second half of every sequence's keys
    weights: str = "none"  # "average", "per_head"
    projected: bool = True  # False: attention alone
    layers: int = 0  # of torch.nn.TransformerEncoder; 0: attention
    feed_forward: int = 0  # width inside the layers
    activation: str = "relu"  # or "gelu", by the error function

    @property
    def head_dim(self):
        return self.embed_dim // self.num_heads

    @property
    def name(self):
        """A row's name, such as "causal 1,512,768,12"."""
        lengths = str(self.query_length)
        if self.cross:
            lengths += f">{self.key_length}"
        words = [word for word, said in (
            (f"encoder-{self.layers}", self.layers > 0),
            ("attention", not self.projected), ("cross", self.cross),
            ("causal", self.causal), ("padded", self.padded),
            (f"weights-{self.weights}", self.weights != "none")) if said]
        if not words:
            words = ["self"]
        return (f"{' '.join(words)} {self.batch_size},{lengths},"
                f"{self.embed_dim},{self.num_heads}")

    @property
    def scores(self):
        """Number of scores, hidden ones included."""
        return (self.batch_size * self.num_heads * self.query_length *
                self.key_length)

    @property
    def visible(self):
        """The part of the scores that the formula needs."""
        if self.causal:
            return (self.query_length + 1) / (2 * self.query_length)
        if self.padded:
            return self.visible_keys / self.key_length
        return 1.0

    @property
    def visible_keys(self):
        """Keys of a sequence that are not padding."""
        return self.key_length // 2 if self.padded else self.key_length

    @property
    def operations(self):
        """Floating-point operations of the multiplications needed."""
        attention = 4 * self.scores * self.head_dim * self.visible
        if not self.projected:
            return attention
        rows = self.batch_size * (self.query_length + self.visible_keys)
        layer = attention + 4 * rows * self.embed_dim**2
        layer += (4 * self.batch_size * self.query_length * self.embed_dim
                  * self.feed_forward)
        return layer * max(1, self.layers)


def self_case(shape, dtype, **fields):
    """A case whose keys are its queries."""
    batch_size, length, embed_dim, heads = shape
    return Case(batch_size, length, length, embed_dim, heads, dtype, **fields)


def rows(dtype):
    """The rows of one dtype, in the order of the table."""
    found = [self_case(shape, dtype) for shape in SELF]
    found += [Case(4, 64, 512, 512, 8, dtype, cross=True)]
    found += [self_case(shape, dtype) for shape in HEADS]
    found += [self_case(shape, dtype, causal=True) for shape in CAUSAL]
    found += [self_case((8, 512, 768, 12), dtype, padded=True)]
    found += [self_case((1, 512, 768, 12), dtype, weights=weights)
              for weights in ("average", "per_head")]
    return found + [self_case(shape, dtype, **fields)
                    for shape, fields in ENCODERS]
