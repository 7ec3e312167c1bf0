# SPDX-License-Identifier: Apache-2.0
"""AttentionClient with PyTorch's tensors."""

import pytest
import torch
from attention_client import ForwardRequest

CONFIG = {
    "multi_head_attention": {"embed_dim": 16, "num_heads": 2, "batch_first": True}
}


@pytest.fixture(scope="module")
def layer():
    torch.manual_seed(0)
    return torch.nn.MultiheadAttention(16, 2, batch_first=True).eval()


@pytest.fixture(scope="module", autouse=True)
def served(client, layer):
    client.upload("tensors", CONFIG, layer.state_dict())


@torch.no_grad()
def test_tensors_are_answered_with_tensors(client, layer):
    query, key, value = torch.rand(2, 3, 16), torch.rand(2, 5, 16), torch.rand(2, 5, 16)

    result = client.forward("tensors", query, key, value, need_weights=True)

    output, weights = layer(query, key, value)
    torch.testing.assert_close(result.output, output)
    torch.testing.assert_close(result.weights, weights)


@torch.no_grad()
def test_a_ragged_batch_of_tensors_is_answered_with_tensors(client, layer):
    sequences = [torch.rand(3, 16), torch.rand(5, 16)]

    result = client.forward("tensors", sequences)

    for got, sequence in zip(result.output, sequences):
        torch.testing.assert_close(got, layer(sequence, sequence, sequence)[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_answers_in_the_querys_dtype(client, dtype):
    query = torch.rand(4, 16)

    output = client.forward("tensors", query.to(dtype)).output

    assert output.dtype == dtype
    want = client.forward("tensors", query).output
    torch.testing.assert_close(output.float(), want, rtol=0.02, atol=0.02)


def test_transposed_tensors_are_packed(client):
    query = torch.rand(16, 4).T
    assert not query.is_contiguous()

    output = client.forward("tensors", query).output

    assert torch.equal(output, client.forward("tensors", query.contiguous()).output)


def test_bfloat16_weights_are_uploaded_as_such(client, layer, name):
    weights = {key: weight.bfloat16() for key, weight in layer.state_dict().items()}

    assert client.upload(name, CONFIG, weights).weights_dtype == "bfloat16"


@torch.no_grad()
def test_streams_tensors(client, layer):
    queries = [torch.rand(4, 16) for _ in range(70)]

    results = client.forward_many(ForwardRequest("tensors", q) for q in queries)

    for query, result in zip(queries, results):
        torch.testing.assert_close(result.output, layer(query, query, query)[0])


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int16], ids=str
)
def test_valid_lens_are_whole_numbers_of_any_dtype(client, dtype):
    query = torch.rand(2, 4, 16)
    lengths = torch.tensor([4, 2])

    got = client.forward("tensors", query, valid_lens=lengths.to(dtype)).output

    want = client.forward("tensors", query, valid_lens=lengths).output
    assert torch.equal(got, want)
    with pytest.raises(ValueError, match=r"valid_lens\[1\]: .*got 1\.5"):
        client.forward("tensors", query, valid_lens=torch.tensor([4, 1.5]))
