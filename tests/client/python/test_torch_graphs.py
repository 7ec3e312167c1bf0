# SPDX-License-Identifier: Apache-2.0
"""Models with remote layers under torch.compile, torch.export and tracing."""

import copy
import io
import subprocess
import sys

import pytest
import torch
from attention_client.torch import offload, scaled_dot_product_attention
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

E, H, N, L = 16, 4, 3, 5


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(101)
    torch._dynamo.reset()


class Model(nn.Module):
    """An encoder layer, and an attention among layers that stay."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(E, H, 32, batch_first=True)
        self.linear = nn.Linear(E, E)
        self.attention = nn.MultiheadAttention(E, H, batch_first=True)

    def forward(self, x):
        x = torch.relu(self.linear(self.encoder(x)))
        output, weights = self.attention(x, x, x)
        return output.sin(), weights


@pytest.fixture
def here():
    return Model().eval()


@pytest.fixture
def there(here, client):
    return offload(copy.deepcopy(here), client)


def exported(model, x, **options):
    return torch.export.export(model, (x,), **options).module()


def saved_and_loaded(model, x):
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(model, (x,)), buffer)
    buffer.seek(0)
    return torch.export.load(buffer).module()


def traced_and_loaded(model, x):
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, (x,)), buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


GRAPHS = {
    "compile": lambda m, x: torch.compile(m, backend="eager", fullgraph=True),
    "compile, aot": lambda m, x: torch.compile(m, backend="aot_eager", fullgraph=True),
    "export": lambda m, x: exported(m, x, strict=False),
    "strict export": lambda m, x: exported(m, x, strict=True),
    "saved export": saved_and_loaded,
    "jit.trace": lambda m, x: torch.jit.trace(m, (x,)),
    "saved trace": traced_and_loaded,
    "fx": lambda m, x: torch.fx.symbolic_trace(m),
    "make_fx": lambda m, x: make_fx(m)(x),
}


@pytest.mark.parametrize("graph", GRAPHS)
@torch.no_grad()
def test_a_graph_computes_anew_what_the_model_computes(here, there, graph):
    recorded = GRAPHS[graph](there, torch.rand(N, L, E))

    for _ in range(2):
        x = torch.rand(N, L, E)
        torch.testing.assert_close(recorded(x), here(x))


@torch.no_grad()
def test_any_length_and_batch(here, there):
    compiled = torch.compile(there, backend="aot_eager", fullgraph=True, dynamic=True)
    sizes = {0: torch.export.Dim("batch", min=2), 1: torch.export.Dim("length", min=2)}
    dynamic = exported(there, torch.rand(N, L, E), dynamic_shapes=(sizes,))

    for shape in ((N, L, E), (2, 7, E), (6, 3, E)):
        x = torch.rand(shape)
        torch.testing.assert_close(compiled(x), here(x))
        torch.testing.assert_close(dynamic(x), here(x))


class Options(nn.Module):
    """An attention called with everything."""

    def __init__(self, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(
            E, H, kdim=6, vdim=7, add_zero_attn=True, **options
        )

    def forward(self, query, key, value, mask, padding):
        options = {"attn_mask": mask, "key_padding_mask": padding}
        return self.attention(query, key, value, average_attn_weights=False, **options)


@pytest.mark.parametrize("batch_first", [False, True])
@torch.no_grad()
def test_shapes_that_are_recorded_are_those_computed(client, batch_first):
    here = Options(batch_first=batch_first).eval()
    there = offload(copy.deepcopy(here), client)
    query, key, value = torch.rand(N, L, E), torch.rand(N, 7, 6), torch.rand(N, 7, 7)
    if not batch_first:
        query, key, value = (each.transpose(0, 1) for each in (query, key, value))
    mask, padding = torch.rand(L, 7), torch.rand(N, 7) < 0.2
    inputs = (query, key, value, mask, torch.where(padding, -torch.inf, 0.0))

    recorded = torch.compile(there, backend="aot_eager", fullgraph=True)

    torch.testing.assert_close(recorded(*inputs), here(*inputs))
    program = torch.export.export(there, inputs)
    fakes = [node.meta["val"] for node in program.graph.nodes if "val" in node.meta]
    shapes = [tuple(fake.shape) for fake in fakes if torch.is_tensor(fake)]
    for want in here(*inputs):
        assert tuple(want.shape) in shapes


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@torch.no_grad()
def test_autocast_is_recorded_with_its_dtype(here, there, backend):
    compiled = torch.compile(there, backend=backend)
    x = torch.rand(N, L, E)

    with torch.autocast("cpu", torch.bfloat16):
        want, got = here(x), compiled(x)

    for one, other in zip(got, want):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=0, atol=16 * 2**-8)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_gradient_is_refused_when_it_is_asked_for(there, backend):
    compiled = torch.compile(there, backend=backend)
    x = torch.rand(N, L, E, requires_grad=True)

    output, _ = compiled(x)

    with pytest.raises(RuntimeError, match="inference only.*no_grad"):
        output.sum().backward()


def test_a_graph_keeps_no_inputs_for_a_gradient_it_refuses(there):
    def bytes_kept(function):
        kept = {}

        def keep(tensor):
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            function()
        return sum(kept.values())

    x = torch.rand(N, L, E, requires_grad=True)
    mask = torch.zeros(L, L)
    attention = torch.compile(there.attention, backend="eager")

    assert bytes_kept(lambda: attention(x, x, x, attn_mask=mask)) < x.nbytes


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_what_follows_can_be_trained(client, backend):
    model = nn.Sequential(nn.TransformerEncoderLayer(E, H, 32), nn.Linear(E, 1))
    model = offload(model, client)

    torch.compile(model, backend=backend)(torch.rand(L, N, E)).sum().backward()

    assert model[1].weight.grad is not None


def test_dropout_is_drawn_anew_in_every_call(client):
    layer = nn.MultiheadAttention(E, H, dropout=0.5)
    remote = offload(copy.deepcopy(layer), client)
    x = torch.rand(L, N, E)
    compiled = torch.compile(remote, backend="aot_eager", fullgraph=True)

    with torch.no_grad():
        drawn = [compiled(x, x, x)[0] for _ in range(3)]
        torch.manual_seed(7)
        first = compiled(x, x, x)[0]
        torch.manual_seed(7)
        again = compiled(x, x, x)[0]

    assert not torch.equal(drawn[1], drawn[2])
    assert torch.equal(first, again)


def test_a_fault_is_found_when_a_graph_runs(there):
    x = torch.rand(N, L, E)
    dynamic = torch.jit.trace(there, (x,), check_trace=False)

    with pytest.raises(RuntimeError, match="must match|same dtype"):
        dynamic(x.half())


@torch.no_grad()
def test_a_whole_transformer_is_compiled(client):
    here = nn.Transformer(E, H, 1, 1, 32, batch_first=True).eval()
    there = torch.compile(offload(copy.deepcopy(here), client), backend="eager")
    source, target = torch.rand(N, L, E), torch.rand(N, 3, E)
    mask = nn.Transformer.generate_square_subsequent_mask(3)

    want = here(source, target, tgt_mask=mask)

    torch.testing.assert_close(there(source, target, tgt_mask=mask), want)


@pytest.mark.parametrize("nested", [False, True])
@torch.no_grad()
def test_a_compiled_encoder_takes_padding(client, nested):
    layer = nn.TransformerEncoderLayer(E, H, 32, batch_first=True)
    here = nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested).eval()
    there = torch.compile(offload(copy.deepcopy(here), client), backend="eager")
    x = torch.rand(N, L, E)
    padding = torch.arange(L) >= torch.tensor([[L], [3], [1]])

    got = there(x, src_key_padding_mask=padding)

    want = here(x, src_key_padding_mask=padding)
    torch.testing.assert_close(got[~padding], want[~padding])


class Function(nn.Module):
    def __init__(self, function, **options):
        super().__init__()
        self.function, self.options = function, options

    def forward(self, query, key, value):
        return self.function(query, key, value, is_causal=True, **self.options)


@pytest.mark.parametrize(
    "graph", ["compile", "compile, aot", "export", "jit.trace", "fx", "make_fx"]
)
@torch.no_grad()
def test_the_function_is_recorded_too(client, graph):
    here = Function(F.scaled_dot_product_attention)
    there = Function(scaled_dot_product_attention, client=client)
    inputs = torch.rand(3, 2, H, L, E)
    recorded = {
        "compile": lambda: torch.compile(there, backend="eager", fullgraph=True),
        "compile, aot": lambda: torch.compile(
            there, backend="aot_eager", fullgraph=True
        ),
        "export": lambda: torch.export.export(there, tuple(inputs)).module(),
        "jit.trace": lambda: torch.jit.trace(there, tuple(inputs)),
        "fx": lambda: torch.fx.symbolic_trace(there),
        "make_fx": lambda: make_fx(there)(*inputs),
    }[graph]()

    inputs = torch.rand(3, 2, H, L, E)
    torch.testing.assert_close(recorded(*inputs), here(*inputs))


@torch.no_grad()
def test_vmap_calls_for_each(client):
    here = nn.MultiheadAttention(E, H).eval()
    there = offload(copy.deepcopy(here), client)
    x = torch.rand(2, L, N, E)

    got = torch.vmap(lambda each: there(each, each, each)[0])(x)

    torch.testing.assert_close(
        got, torch.stack([here(each, each, each)[0] for each in x])
    )


@torch.no_grad()
def test_a_masked_function_under_vmap(client):
    query, key, value = torch.rand(3, 2, N, H, L, E)
    masks = torch.rand(2, N, 1, L, L) < 0.7

    def there(*inputs):
        return scaled_dot_product_attention(*inputs, client=client)

    got = torch.vmap(there)(query, key, value, masks)

    want = F.scaled_dot_product_attention(query, key, value, masks)
    torch.testing.assert_close(got, want)


def test_a_script_is_refused_with_what_works(there):
    with pytest.raises(RuntimeError, match="TorchScript cannot: use torch.jit.trace"):
        torch.jit.script(there)


_LOAD = """
import sys, torch
import attention_client.torch
x = torch.linspace(-1, 1, 3 * 5 * 16).reshape(3, 5, 16)
if sys.argv[2] == "trace":
    model = torch.jit.load(sys.argv[1])
else:
    model = torch.export.load(sys.argv[1]).module()
print(*model(x)[0][0, 0].tolist())
"""


@pytest.mark.parametrize("kind", ["trace", "export"])
@torch.no_grad()
def test_another_process_loads_a_graph_and_calls_the_server(
    here, there, tmp_path, kind
):
    x = torch.linspace(-1, 1, N * L * E).reshape(N, L, E)
    path = tmp_path / ("model.pt" if kind == "trace" else "model.pt2")
    if kind == "trace":
        torch.jit.save(torch.jit.trace(there, (torch.rand(N, L, E),)), path)
    else:
        torch.export.save(torch.export.export(there, (torch.rand(N, L, E),)), path)

    result = subprocess.run(
        [sys.executable, "-c", _LOAD, str(path), kind], capture_output=True, text=True
    )

    assert result.returncode == 0, result.stderr
    got = torch.tensor([float(number) for number in result.stdout.split()])
    torch.testing.assert_close(got, here(x)[0][0, 0])
