# SPDX-License-Identifier: Apache-2.0
"""PyTorch modules whose forward pass a server computes.

    model = attention_client.torch.offload(model.eval(), "127.0.0.1:50051")

They take the place of torch.nn.MultiheadAttention and
torch.nn.TransformerEncoderLayer: same arguments, shapes, answers and errors, with
weights that live on the server. For inference: a gradient cannot pass through
them, and they have no parameters.
"""

try:
    __import__("torch")
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        'attention_client.torch needs PyTorch: pip install "attention-client[torch]"',
        name="torch",
    ) from error

from ._attention import RemoteMultiheadAttention
from ._encoder import RemoteTransformerEncoderLayer
from ._functional import scaled_dot_product_attention
from ._offload import offload, unload
from ._remote import RemoteModule

__all__ = [
    "RemoteModule",
    "RemoteMultiheadAttention",
    "RemoteTransformerEncoderLayer",
    "offload",
    "scaled_dot_product_attention",
    "unload",
]
